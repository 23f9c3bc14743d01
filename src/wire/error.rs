//! Why octets are no message, and why a message cannot be put into octets.

use super::MAX_NAME_LEN;

/// Why a frame (or a beacon's frames) is no message of this protocol.
///
/// Cheap to make and to copy: a peer that sends nonsense must not cost an allocation for each piece of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A frame without octets.
    #[error("the frame is empty")]
    Empty,
    /// The first octet is the id of no message.
    #[error("no message has the id 0x{0:02X}")]
    UnknownId(u8),
    /// A version of the protocol other than [`VERSION`](super::VERSION).
    #[error("protocol version {0} is not supported")]
    Version(u8),
    /// The frame ends before the field does, or a length or count runs past the end.
    #[error("{message}: the frame ends before the end of its {field}")]
    Truncated {
        /// The message's name.
        message: &'static str,
        /// The field that is not complete.
        field: &'static str,
    },
    /// A name of more than [`MAX_NAME_LEN`] octets.
    #[error("{message}: the {field} is longer than {MAX_NAME_LEN} octets")]
    TooLong {
        /// The message's name.
        message: &'static str,
        /// The field that holds the name.
        field: &'static str,
    },
    /// A name with a NUL in it.
    #[error("{message}: the {field} contains a NUL")]
    Nul {
        /// The message's name.
        message: &'static str,
        /// The field that holds the name.
        field: &'static str,
    },
    /// A beacon with too few frames.
    #[error("{message}: {got} frames where {expected} are needed")]
    Frames {
        /// The beacon's name.
        message: &'static str,
        /// The number of frames that such a beacon has.
        expected: usize,
        /// The number of frames that came.
        got: usize,
    },
    /// A beacon's frame that is not what has to be there.
    #[error("{message}: the {field} is not valid")]
    Invalid {
        /// The beacon's name.
        message: &'static str,
        /// The frame that is wrong.
        field: &'static str,
    },
}

/// Why a message cannot be put on the wire: the caller gave names that the protocol cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A name of more than [`MAX_NAME_LEN`] octets.
    #[error("{message}: the {field} is longer than {MAX_NAME_LEN} octets")]
    TooLong {
        /// The message's name.
        message: &'static str,
        /// The field that holds the name.
        field: &'static str,
    },
    /// A name with a NUL in it.
    #[error("{message}: the {field} contains a NUL")]
    Nul {
        /// The message's name.
        message: &'static str,
        /// The field that holds the name.
        field: &'static str,
    },
    /// More subjects than a count of four octets can tell.
    #[error("CONSUMER-HELLO: too many subjects")]
    TooManySubjects,
    /// The id of a message that carries no [`Position`](super::Position).
    #[error("the message with the id 0x{0:02X} carries no position")]
    NotAPosition(u8),
}

//! Errors of decoding and encoding.

use super::MAX_NAME_LEN;

/// Why a frame (or the frames of a beacon) cannot be decoded.
///
/// An error must not allocate, because a hostile peer can cause many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame is empty.
    #[error("the frame is empty")]
    Empty,
    /// No message has the id in the first octet.
    #[error("no message has the id 0x{0:02X}")]
    UnknownId(u8),
    /// The version is not [`VERSION`](super::VERSION).
    #[error("protocol version {0} is not supported")]
    Version(u8),
    /// The frame ends within a field. Or a length or a count in the frame is greater than the rest of the frame allows.
    #[error("{message}: the frame ends before the end of its {field}")]
    Truncated {
        /// The message's name.
        message: &'static str,
        /// The incomplete field.
        field: &'static str,
    },
    /// A name has more than [`MAX_NAME_LEN`] octets.
    #[error("{message}: the {field} is longer than {MAX_NAME_LEN} octets")]
    TooLong {
        /// The message's name.
        message: &'static str,
        /// The field that holds the name.
        field: &'static str,
    },
    /// A name contains a NUL.
    #[error("{message}: the {field} contains a NUL")]
    Nul {
        /// The message's name.
        message: &'static str,
        /// The field that holds the name.
        field: &'static str,
    },
    /// A beacon has too few frames.
    #[error("{message}: {got} frames where {expected} are needed")]
    Frames {
        /// The beacon's name.
        message: &'static str,
        /// The number of frames that this kind of beacon has at least.
        expected: usize,
        /// The number of received frames.
        got: usize,
    },
    /// A frame of a beacon is invalid.
    #[error("{message}: the {field} is not valid")]
    Invalid {
        /// The beacon's name.
        message: &'static str,
        /// The invalid frame.
        field: &'static str,
    },
}

/// Why a message cannot be encoded: the caller's names do not fit into the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A name has more than [`MAX_NAME_LEN`] octets.
    #[error("{message}: the {field} is longer than {MAX_NAME_LEN} octets")]
    TooLong {
        /// The message's name.
        message: &'static str,
        /// The field that holds the name.
        field: &'static str,
    },
    /// A name contains a NUL.
    #[error("{message}: the {field} contains a NUL")]
    Nul {
        /// The message's name.
        message: &'static str,
        /// The field that holds the name.
        field: &'static str,
    },
    /// More subjects than a count of four octets can hold.
    #[error("CONSUMER-HELLO: too many subjects")]
    TooManySubjects,
    /// The id of a message that carries no [`Position`](super::Position).
    #[error("the message with the id 0x{0:02X} carries no position")]
    NotAPosition(u8),
}

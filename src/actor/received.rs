//! One message as a node received it.

use super::Result;
use crate::net::{Frame, Origin, Socket};
use crate::wire::id;

/// A message.
pub(super) struct Received {
    pub(super) frame: Frame,
    pub(super) content: Content,
    pub(super) origin: Origin,
    /// True if the message's frames do not keep libzmq's read buffer in memory.
    pub(super) is_own: bool,
}

impl Received {
    pub(super) fn len_bytes(&self) -> usize {
        self.frame.as_ref().len() + self.content.bytes().len()
    }

    /// Returns the message with content that does not keep libzmq's read buffer in memory.
    pub(super) fn with_own_content(self) -> Received {
        match self.content {
            Content::One(content) if !self.is_own => {
                Received { content: Content::One(content.into_own_memory()), ..self }
            }
            _ => self,
        }
    }

    /// Returns the message with frames that do not keep libzmq's read buffer in memory.
    pub(super) fn into_own_memory(self) -> Received {
        let received = self.with_own_content();
        Received { frame: received.frame.into_own_memory(), is_own: true, ..received }
    }

    /// Whether the message contains a committed position of a consumer, or announces a member of a group.
    pub(super) fn is_urgent(&self) -> bool {
        [id::COMMIT_ACK, id::POSITION, id::MEMBER].map(Some).contains(&self.frame.as_ref().first().copied())
    }

    /// Whether the message contains live records. A node fetches live records that it has missed.
    pub(super) fn is_live_record(&self) -> bool {
        [id::RECORD, id::RECORDS].map(Some).contains(&self.frame.as_ref().first().copied())
    }
}

/// The frames after a message's first one.
pub(super) enum Content {
    None,
    One(Frame),
    TooMuch,
}

impl Content {
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Content::None)
    }

    pub(super) fn is_one(&self) -> bool {
        matches!(self, Content::One(_))
    }

    pub(super) fn is_too_much(&self) -> bool {
        matches!(self, Content::TooMuch)
    }

    /// The bytes of the content. Empty if there is none, or more than one frame.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Content::One(frame) => frame.as_ref(),
            Content::None | Content::TooMuch => &[],
        }
    }

    pub(super) fn into_frame(self) -> Option<Frame> {
        match self {
            Content::One(frame) => Some(frame),
            _ => None,
        }
    }
}

/// Receives the frames after a message's first one.
pub(super) fn receive_content(socket: &Socket, first: &Frame) -> Result<Content> {
    if !first.more() {
        return Ok(Content::None);
    }
    let mut content = Frame::new();
    socket.try_recv(&mut content)?;
    Ok(if content.more() {
        socket.skip_rest(&content);
        Content::TooMuch
    } else {
        Content::One(content)
    })
}

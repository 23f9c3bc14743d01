//! The frames after the first one of a message.

use super::Result;
use crate::net::{Frame, Socket};

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

    /// None of too much.
    pub(super) fn octets(&self) -> &[u8] {
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

/// Reads what follows a message's first frame.
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

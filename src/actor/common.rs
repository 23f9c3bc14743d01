//! The parts of a node that are the same for all roles.

use super::inbox::Inbox;
use super::node::Node;
use super::notices::Notices;
use super::unpacker::Unpacker;
use super::{Result, Run, publish};
use crate::net::{Pipe, ReadingClock};
use crate::protocol::Outbox;

/// The parts of a running node that its loop and its role share.
pub(super) struct Common<'a> {
    /// The actor's end of its pipe to the owner.
    pub(super) pipe: &'a Pipe,
    pub(super) node: Node,
    pub(super) inbox: Inbox,
    /// The role's clock. It stops while the role accepts no messages.
    pub(super) clock: ReadingClock,
    /// Messages that the loop publishes at the end of the turn.
    pub(super) outbox: Outbox<Run>,
    pub(super) notices: Notices<'a>,
    /// Checks received batches.
    pub(super) unpacker: Unpacker,
}

impl<'a> Common<'a> {
    /// For a node that has just started.
    pub(super) fn new(pipe: &'a Pipe, node: Node, inbox: Inbox, notices: Notices<'a>) -> Common<'a> {
        let unpacker = Unpacker::new(node.max_frame_len_bytes, node.max_frame_key);
        let (clock, outbox) = (ReadingClock::default(), Outbox::new());
        Common { pipe, node, inbox, clock, outbox, notices, unpacker }
    }

    /// Publishes the messages in the outbox.
    pub(super) fn publish(&mut self) -> Result {
        publish(&self.node.publisher, &mut self.outbox)
    }
}

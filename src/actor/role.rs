//! The differences between a producer, a consumer, a store's writer and reader, and an inventory.
//!
//! All nodes except towers run the same loop, [`run`](super::node_loop::run). The loop calls a [`Role`]. To add a role,
//! write its state machine in `protocol` and implement this trait.

use super::common::Common;
use super::{Result, Run};
use crate::net::{Awaited, Frame, Origin};
use crate::protocol::notice::Notice;
use crate::protocol::{Outbox, Sender};
use crate::wire::{Message, Position, Subscription};
use zmq::{POLLIN, PollEvents};

/// Whether the loop continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The loop runs another turn.
    Continue,
    /// The node ends.
    End,
}

/// What a role receives from its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receives {
    /// Requests, and at a producer also ACKs. All of them have one frame. The loop drops a request that names a node
    /// other than its sender.
    Requests,
    /// Records and heads, and at some consumers also ACKs. Messages with records have two frames.
    Records,
}

/// One kind of node.
///
/// In each turn, the loop calls the methods in the order in which they stand here.
pub(super) trait Role: Sized {
    /// What the role receives from its peers.
    const RECEIVES: Receives;
    /// True if the role keeps contents for long. The loop then copies each content out of libzmq's read buffer.
    /// Otherwise, the content would keep the whole buffer in memory.
    const KEEPS_CONTENT: bool = false;
    /// True if the role keeps compressed batches as they are. They are then unpacked only to check them.
    const KEEPS_COMPRESSED: bool = false;

    /// False while the role accepts no messages. During this time, messages wait in the inbox, and the role's clock
    /// stops.
    fn can_receive(&self) -> bool {
        true
    }

    /// When the loop must call [`Role::turn`] even without input; `None` = never. `now_ms` is the time of the role's
    /// clock.
    fn due_ms(&self, now_ms: u64) -> Option<u64>;

    /// The events for which the loop polls the owner's pipe. Without `POLLIN`, the loop reads no commands.
    fn pipe_events(&self) -> PollEvents {
        POLLIN
    }

    /// One more item to wait for.
    fn extra_item(&self) -> Option<Awaited<'_>> {
        None
    }

    /// Called before the loop waits. The role may lend parts of `common` and of itself to other threads until
    /// [`Role::end_wait`]. The loop does not use these parts meanwhile.
    fn begin_wait(&mut self, _common: &mut Common) {}

    /// Called after the loop has waited.
    fn end_wait(&mut self, _common: &mut Common) {}

    /// Handles a command from the owner's pipe. `argument` is the second frame of the command.
    fn handle_command(
        &mut self,
        common: &mut Common,
        command: &[u8],
        argument: Option<Frame>,
        now_ms: u64,
    ) -> Result<Flow>;

    /// Handles a subscription that a peer has sent to the node's publishing socket, over the connection `from`.
    fn handle_subscription(
        &mut self,
        subscription: &Subscription,
        from: Origin,
        now_ms: u64,
        out: &mut Outbox<Run>,
    );

    /// Called between the subscriptions and the messages of a turn.
    fn before_messages(&mut self, _common: &mut Common) -> Result {
        Ok(())
    }

    /// Whether the role has requested this record from one store. If so, the loop drops the record when a 0.1.0
    /// producer sends it: a 0.1.0 producer responds to every FETCH of its partition, and may send wrong content.
    fn is_store_asked(&self, _position: &Position) -> bool {
        false
    }

    /// Handles a message from a peer. `now_ms` is the time of the role's clock when the loop began to read messages.
    fn handle_message(
        &mut self,
        common: &mut Common,
        message: &Message,
        content: Option<Run>,
        from: &Sender,
        now_ms: u64,
    ) -> Result;

    /// Called when the inbox and the subscribing socket have no message.
    fn handle_all_read(&mut self, _now_ms: u64) -> Result {
        Ok(())
    }

    /// Called after the messages of a turn, even if there were none.
    fn after_messages(&mut self) -> Result {
        Ok(())
    }

    /// A peer has appeared at `endpoint` (`is_present`), or has left. A connection that was given up counts as a peer
    /// that has left. Only a producer uses this, to count its stores. A requester detects a dead peer when a FETCH
    /// misses its deadline.
    fn handle_peer(&mut self, _endpoint: &str, _is_present: bool) {}

    /// A connection was given up. Messages of its peer may be lost.
    fn handle_given_up(&mut self, _now_ms: u64) {}

    /// Does what is due, after all input was handled. The loop then publishes the outbox. `is_extra_ready`:
    /// [`Role::extra_item`] is ready.
    fn turn(&mut self, common: &mut Common, is_extra_ready: bool) -> Result<Flow>;

    /// The next notice of the state machine.
    fn poll_notice(&mut self, _now_ms: u64) -> Option<Notice> {
        None
    }

    /// Ends the node. Called after a method has returned [`Flow::End`].
    fn end(self, _common: Common) -> Result {
        Ok(())
    }
}

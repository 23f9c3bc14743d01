//! What makes a node a producer, a consumer, a store's writer or reader, or a survey.
//!
//! All nodes run one loop, [`run`](super::node_loop::run). A [`Role`] says what differs. To add a role, write its state
//! machine in `protocol` and implement this trait.

use super::Result;
use super::common::Common;
use crate::net::Frame;
use crate::protocol::notice::Notice;
use crate::protocol::{Outbox, Sender};
use crate::wire::{Message, Position, Subscription};
use zmq::{POLLIN, PollEvents, PollItem};

/// Whether the loop runs another turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It does.
    Continue,
    /// The node ends.
    End,
}

/// What a role reads off the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receives {
    /// Requests: they have one frame. The loop drops those that a peer makes in another node's name.
    Requests,
    /// Records, and what is said of them. Messages with records have two frames.
    Records,
}

/// One kind of node.
///
/// The loop calls the methods in the order in which they stand here, in each turn.
pub(super) trait Role: Sized {
    /// What it reads off the network.
    const RECEIVES: Receives;
    /// It keeps the contents of records for so long that each must have memory of its own.
    const KEEPS_CONTENT: bool = false;

    /// False while it takes no messages. They wait in the inbox then, and the role's clock stands still.
    fn can_receive(&self) -> bool {
        true
    }

    /// When [`Role::turn`] has something to do although nothing comes in; `None` = never. `now_ms` is the time of the
    /// role's clock.
    fn due_ms(&self, now_ms: u64) -> Option<u64>;

    /// The events of the owner's pipe to wait for. Without `POLLIN`, no commands are read.
    fn pipe_events(&self) -> PollEvents {
        POLLIN
    }

    /// One more thing to wait for.
    fn extra_item(&self) -> Option<PollItem<'_>> {
        None
    }

    /// Takes a command from the owner's pipe: its first frame, and its second one if there is one.
    fn handle_command(
        &mut self,
        common: &mut Common,
        command: &[u8],
        argument: Option<Frame>,
        now_ms: u64,
    ) -> Result<Flow>;

    /// Takes a subscription that a peer made at the node's publishing socket.
    fn handle_subscription(&mut self, subscription: &Subscription, now_ms: u64, out: &mut Outbox<Frame>);

    /// All subscriptions that had come are read, and messages are next.
    fn before_messages(&mut self, _common: &mut Common) -> Result {
        Ok(())
    }

    /// Whether a single store is asked for a record. Then no producer of libdafka 0.1.0 is believed that answers, too.
    fn is_store_asked(&self, _position: &Position) -> bool {
        false
    }

    /// Takes a message from a peer. `now_ms` is the time of the role's clock when the turn began to read.
    fn handle_message(
        &mut self,
        common: &mut Common,
        message: &Message,
        content: Option<Frame>,
        from: &Sender,
        now_ms: u64,
    ) -> Result;

    /// No message is left to be read now.
    fn handle_all_read(&mut self, _now_ms: u64) {}

    /// The peer at `endpoint` has come (`is_present`) or gone.
    fn handle_peer(&mut self, _endpoint: &str, _is_present: bool) {}

    /// A connection was given up, and messages of that peer are lost.
    fn handle_cut(&mut self, _now_ms: u64) {}

    /// Does what is due, after all input. The loop publishes afterwards what it finds in the outbox. `is_extra_ready`:
    /// [`Role::extra_item`] is readable.
    fn turn(&mut self, common: &mut Common, is_extra_ready: bool) -> Result<Flow>;

    /// The next notice of the state machine, for the log.
    fn poll_notice(&mut self, _now_ms: u64) -> Option<Notice> {
        None
    }

    /// Ends the node, after a method has returned [`Flow::End`].
    fn end(self, _common: Common) -> Result {
        Ok(())
    }
}

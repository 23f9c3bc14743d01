//! One thread per node. The thread moves bytes between sockets and a state machine, and runs the timers of the state
//! machine.
//!
//! An actor runs in the thread that calls its `run` function: the thread of a zactor, or a thread that [`spawn`]
//! starts. The owner of the actor controls it over a pipe. The actor ends when it receives `$TERM`, cannot start, or
//! fails.

mod address;
pub mod beacon;
pub mod command;
mod common;
pub mod consumer;
mod directory;
mod endpoints_file;
mod handle;
mod inbox;
pub mod inventory;
mod lendable;
mod message_queue;
mod node;
mod node_loop;
mod notices;
pub mod producer;
mod received;
pub mod record_queue;
mod requesters;
mod role;
mod run;
pub mod store;
pub mod tower;
mod unpacker;

pub use address::new_address;
pub(crate) use handle::panic_text;
pub use handle::{Handle, guard, spawn};
pub use run::{Run, Single};

use crate::net::{Frame, Origin, Peer, Recipients, Socket, reached_limit};
use crate::protocol::{Outbox, Payload, Progress};
use crate::wire::batch::{FULL_LEN_BYTES, MAX_BLOCK_LEN, OVERHEAD_BYTES};
use crate::wire::{id, record_attributes};
use std::borrow::Cow;

/// The most messages that an actor receives from one socket before it reads its other sockets.
const BATCH_COUNT: usize = 1_000;
/// The most heads, and the most records, that a node sends in response to requests before it reads its sockets again.
/// Batches are sent whole, even if this exceeds the limit.
const ANSWER_COUNT: u64 = 512;

/// The most requests and ACKs that may wait to be sent to one peer. libzmq drops further ones, and nodes send them
/// again.
const MAX_UNSENT_REQUEST_COUNT: i32 = 131_072;

/// Pause after which a node checks again whether requesters have read earlier responses.
const UNREAD_MS: u64 = 10;

/// The limit of the inbox, see [`Inbox::new`](inbox::Inbox::new), of a node that receives only requests. Requests may
/// occupy twice as many bytes. When a request was dropped, its requester repeats it.
const MAX_UNREAD_REQUEST_BYTES: usize = 16 << 20;
/// The longest frame that a node accepts if it receives neither records nor hellos. Each name in a frame has at most
/// 255 bytes. The rest is room for extensions of the protocol.
const MAX_FRAME_LEN_BYTES: usize = 4_096;

/// The longest frame that a node must accept to receive records of up to `max_record_bytes`, alone or in batches.
fn max_records_frame_len_bytes(max_record_bytes: usize) -> usize {
    max_record_bytes.saturating_add(OVERHEAD_BYTES + MAX_BLOCK_LEN).max(FULL_LEN_BYTES)
}

/// Why an actor could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libzmq returned an error.
    #[error("{0}: {1}")]
    Socket(String, zmq::Error),
    /// An address cannot be bound.
    #[error("{0}: {1}")]
    Bind(String, crate::net::BindError),
    /// A file cannot be written.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// A limit on sockets or open files is reached.
    #[error("socket: {0}: {1}")]
    Limit(zmq::Error, String),
    /// The store's database cannot be used.
    #[error(transparent)]
    Open(#[from] crate::storage::OpenError),
    /// The store's database cannot be read.
    #[error(transparent)]
    Read(#[from] crate::storage::ReadError),
    /// A named producer cannot use its outbox, or cannot continue its partition.
    #[error("{0}")]
    Outbox(String),
    /// A name is too long or holds a NUL.
    #[error("{0}")]
    Name(String),
    /// A thread could not be started.
    #[error(
        "cannot start a thread: {0} (limits: ulimit -u, kernel.threads-max, pids.max of the control group)"
    )]
    Thread(std::io::Error),
    /// A part of the node could not start, and has logged the reason.
    #[error("a part of it cannot start")]
    CannotStart,
    /// A part of the node has failed, and has logged the reason.
    #[error("a part of it has failed")]
    Logged,
    /// Another part of the node has ended.
    #[error("{0} has ended")]
    Ended(&'static str),
}

impl From<zmq::Error> for Error {
    fn from(error: zmq::Error) -> Error {
        match error {
            zmq::Error::EMFILE => Error::Limit(error, reached_limit()),
            error => Error::Socket("socket".into(), error),
        }
    }
}

/// The result of an actor's function.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Publishes the messages in an outbox.
fn publish(socket: &Socket, outbox: &mut Outbox<Run>) -> Result {
    let mut result = Ok(());
    outbox.drain(|frame, content| {
        if result.is_ok() {
            result = send(socket, frame, content);
        }
    });
    Ok(result?)
}

fn send(socket: &Socket, frame: &[u8], run: Option<Run>) -> zmq::Result<()> {
    let mut frame = Cow::Borrowed(frame);
    let content = match run {
        Some(run) if [id::RECORDS, id::DIRECT_RECORDS].map(Some).contains(&frame.first().copied()) => {
            run.into_batch()
        }
        Some(run) => {
            let run = run.unpack();
            if let Some(attributes) = run.first().map(|record| record.attributes())
                && !attributes.is_empty()
            {
                record_attributes::append(frame.to_mut(), &attributes)
                    .expect("the record has valid attributes");
            }
            Some(run.into_content())
        }
        None => None,
    };
    // A publishing socket never waits. When the queue of messages to a peer is full, the socket drops the message for
    // this peer. The peer later requests lost records with FETCH.
    match content {
        None => socket.try_send(&mut Frame::copy(&frame), false)?,
        Some(content) => {
            let recipients = match frame.first() {
                Some(&(id::RECORD | id::RECORDS)) => Recipients::All,
                _ => Recipients::One,
            };
            socket.publish_records(Frame::copy(&frame), content, recipients)?
        }
    };
    Ok(())
}

/// The name of the peer that sent a message. The state machines distinguish peers by this name.
fn sender(origin: Origin) -> Option<Box<[u8]>> {
    Peer::sender_of(origin).map(|peer| peer.name())
}

/// The timeout of a poll that must return at `due_ms`.
fn timeout_ms(due_ms: Option<u64>, now_ms: u64) -> i64 {
    due_ms.map_or(-1, |due_ms| due_ms.saturating_sub(now_ms).min(i32::MAX as u64) as i64)
}

/// The time at which a node must continue to send responses. `None` when no response is left to send.
fn answers_due_ms(progress: Progress, now_ms: u64) -> Option<u64> {
    match progress {
        Progress::Idle => None,
        Progress::Working => Some(now_ms),
        Progress::Waiting => Some(now_ms + UNREAD_MS),
    }
}

/// Escapes a name from the network for a log line.
fn printable(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

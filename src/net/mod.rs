//! Sockets, frames and time: the I/O of the actors.
//!
//! Every socket is made in CZMQ's process context, so that `inproc://` reaches the application's sockets, and the
//! application's zsys settings apply. This module does not depend on messages, records or nodes.

mod actor_state;
mod backlog;
mod bind;
mod clock;
mod connection;
mod descriptors;
mod endpoint;
mod files;
mod frame;
mod guard;
mod inbound;
mod interface;
mod listen_address;
mod monitor;
pub mod names;
mod options;
mod peer;
mod pipe;
mod poll;
mod priority;
mod readers;
pub mod reconnect;
mod resolver;
mod socket;
mod socket_file;
mod subscribers;
mod unsent;
mod wake;
mod warning;

pub use actor_state::Attached;
pub use backlog::Backlog;
pub use bind::BindError;
pub use clock::{ReadingClock, now_ms, unix_ms, uptime_ms};
pub use connection::Connection;
pub use endpoint::{canonical, host_of_endpoint};
pub use files::{allow_more_open_files, max_open_files, reached_limit};
pub use frame::Frame;
pub use inbound::{Inbound, InboundLimits, Waiting};
pub use interface::first_ipv6_address;
pub use monitor::Monitor;
pub use peer::{Origin, Peer};
pub use pipe::{Pipe, TERM, connect_pair, is_signal, is_success, pipe, pipe_with_limit};
pub use poll::{Awaited, Wait, poll};
pub use priority::lower_priority;
pub use readers::{Readers, Reading};
pub use reconnect::Reconnect;
pub use resolver::Resolver;
pub use socket::{Kind, Socket};
pub use subscribers::Subscribers;
pub use unsent::{Recipients, UnsentLimit};
pub use wake::Wake;
pub use warning::Warning;

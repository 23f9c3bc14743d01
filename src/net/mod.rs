//! Sockets, frames and time: what the actors move bytes with.
//!
//! Every socket is made in CZMQ's process context, so that `inproc://` reaches the application's sockets and
//! the application's zsys settings hold. Knows nothing of messages, records or nodes.

mod backlog;
mod bind;
mod clock;
mod descriptors;
mod endpoint;
mod files;
mod frame;
mod guard;
mod inbound;
mod interface;
mod monitor;
pub mod names;
mod peer;
mod pipe;
mod priority;
mod readers;
pub mod reconnect;
mod resolver;
mod socket;
mod subscribers;
mod warning;

pub use backlog::Backlog;
pub use bind::BindError;
pub use clock::{ReadingClock, now_ms};
pub use endpoint::{canonical, host_of_endpoint};
pub use files::{allow_more_open_files, max_open_files, reached_limit};
pub use frame::Frame;
pub use inbound::{Inbound, InboundLimits};
pub use interface::first_ipv6_address;
pub use monitor::Monitor;
pub use peer::{Origin, Peer};
pub use pipe::{Budget, Pipe, TERM, connect_pair, is_signal, is_success, pipe, pipe_with_limit};
pub use priority::lower_priority;
pub use readers::{Readers, Reading};
pub use reconnect::Reconnect;
pub use resolver::Resolver;
pub use socket::{Kind, Socket, poll};
pub use subscribers::Subscribers;
pub use warning::Warning;

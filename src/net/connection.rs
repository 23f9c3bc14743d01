//! A connection over which a message was received.

use super::Origin;
use super::descriptors::socket_number;
use std::os::fd::RawFd;

/// A connection: its descriptor, and the number of its kernel socket, which distinguishes it from later connections with
/// the same descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    file: RawFd,
    number: u64,
}

impl Connection {
    /// The connection of a message. `None` when it has ended. This makes a system call.
    pub fn of(origin: Origin) -> Option<Connection> {
        let file = origin.0?;
        Some(Connection { file, number: socket_number(file)? })
    }

    /// Whether the connection has not ended. This makes a system call.
    pub fn is_open(self) -> bool {
        socket_number(self.file) == Some(self.number)
    }
}

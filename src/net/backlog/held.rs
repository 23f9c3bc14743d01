//! How many bytes each socket holds, and which of its connections are ended when it holds too many.

use super::SMALL_BYTES;
use super::connection::{Connection, Id, per};
use super::registry::{BoundedSocket, Direction};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

/// How long one long frame may take to arrive while its socket holds too much. After this time, the connection is
/// ended.
const MAX_LONG_FRAME: Duration = Duration::from_secs(60);

/// What a socket holds.
pub(super) struct Held {
    socket: Arc<BoundedSocket>,
    /// What live connections hold.
    live_bytes: u64,
    /// What ended connections hold, whether libzmq has closed them or not.
    ended_bytes: u64,
    /// The live connection with the most [`Connection::unknown_bytes`], and the number of these bytes. These bytes
    /// arrived after the node last read something, so they may be one long frame. `None` if the socket takes no long
    /// frames.
    longest: Option<(Id, u64)>,
}

impl Held {
    /// What each socket holds, by its id.
    pub(super) fn by_socket(
        connections: &HashMap<Id, Connection>,
        leftovers: &Leftovers,
    ) -> HashMap<u64, Held> {
        let leftovers = leftovers.costs_by_socket();
        let mut all: HashMap<u64, Held> = HashMap::new();
        for (&id, connection) in connections {
            if connection.held_bytes == 0 {
                continue;
            }
            let held = all.entry(connection.socket.id).or_insert_with(|| {
                let ended_bytes = leftovers.get(&connection.socket.id).copied().unwrap_or(0);
                Held { socket: connection.socket.clone(), live_bytes: 0, ended_bytes, longest: None }
            });
            if connection.is_ended {
                held.ended_bytes += connection.cost_bytes();
                continue;
            }
            held.live_bytes += connection.cost_bytes();
            let unknown_bytes = connection.unknown_bytes();
            if connection.socket.takes_long_frames()
                && held.longest.is_none_or(|(_, longest_bytes)| unknown_bytes > longest_bytes)
            {
                held.longest = Some((id, unknown_bytes));
            }
        }
        all
    }

    /// Returns the connections to end when the socket holds too much: first those that hold the most, until the
    /// remaining ones hold no more than `room_bytes`. The long frame that one connection may hold does not count. But
    /// if this frame takes too long to arrive, only its connection is returned.
    pub(super) fn victims(&self, connections: &HashMap<Id, Connection>) -> Vec<Id> {
        let (longest, excused_bytes) = (self.longest.map(|(id, _)| id), self.excused_bytes());
        let mut own = Vec::new();
        for (&id, connection) in connections {
            if connection.socket.id != self.socket.id || connection.is_ended || connection.held_bytes == 0 {
                continue;
            }
            let is_longest = Some(id) == longest;
            if is_longest
                && connection.unknown_bytes() > SMALL_BYTES
                && connection.latest_at().elapsed() > MAX_LONG_FRAME
            {
                return vec![id];
            }
            own.push((connection.cost_bytes() - if is_longest { excused_bytes } else { 0 }, id));
        }
        own.sort_unstable_by(|one, other| other.cmp(one));
        let room_bytes = self.room_bytes();
        let mut left_bytes = self.live_bytes - excused_bytes;
        let is_victim = |&(cost_bytes, _): &(u64, Id)| {
            let is_too_much = left_bytes > room_bytes;
            left_bytes -= cost_bytes;
            is_too_much
        };
        own.into_iter().take_while(is_victim).map(|(_, id)| id).collect()
    }

    fn counted_bytes(&self) -> u64 {
        self.live_bytes - self.excused_bytes() + self.ended_bytes
    }

    pub(super) fn is_too_much(&self) -> bool {
        self.counted_bytes() > self.socket.limit_bytes
    }

    /// Whether the socket holds a large part of its limit.
    pub(super) fn is_much(&self) -> bool {
        self.counted_bytes() > self.socket.limit_bytes / 16
    }

    /// What the remaining connections may hold after others were ended. At a listening socket, this is only
    /// `SMALL_BYTES`: libzmq must still process what it has read from the ended connections, before it reads more from
    /// the remaining ones.
    fn room_bytes(&self) -> u64 {
        let room_bytes = self.socket.limit_bytes.saturating_sub(self.ended_bytes);
        match self.socket.direction {
            Direction::Listening(_) => SMALL_BYTES,
            Direction::Connecting(_) => room_bytes.max(SMALL_BYTES),
        }
    }

    /// How many of the held bytes may be one long frame.
    fn excused_bytes(&self) -> u64 {
        self.longest.map_or(0, |(_, unknown_bytes)| unknown_bytes.min(self.socket.max_frame_len_bytes))
    }
}

/// The data of connections that are gone, as far as the nodes have not read it. The key is the socket's id and the
/// connection's descriptor.
#[derive(Default)]
pub(super) struct Leftovers(HashMap<(u64, RawFd), Leftover>);

#[derive(Clone, Copy, Default)]
struct Leftover {
    held_bytes: u64,
    /// What counts towards the socket's limit.
    cost_bytes: u64,
}

impl Leftovers {
    /// Adds the unread data of a connection that is gone.
    pub(super) fn add(&mut self, file: RawFd, connection: &Connection) {
        let leftover = self.0.entry((connection.socket.id, file)).or_default();
        leftover.held_bytes = leftover.held_bytes.saturating_add(connection.held_bytes);
        leftover.cost_bytes = leftover.cost_bytes.saturating_add(connection.cost_bytes());
    }

    /// The node has read `taken_bytes` of a connection that is gone.
    pub(super) fn take(&mut self, socket: u64, file: RawFd, taken_bytes: u64) {
        let Entry::Occupied(mut entry) = self.0.entry((socket, file)) else { return };
        let leftover = entry.get_mut();
        let held_bytes = leftover.held_bytes.saturating_sub(taken_bytes);
        leftover.cost_bytes = per(held_bytes, leftover.cost_bytes, leftover.held_bytes);
        leftover.held_bytes = held_bytes;
        if held_bytes == 0 {
            entry.remove();
        }
    }

    /// Keeps only the data of the sockets that `is_kept` accepts.
    pub(super) fn retain_sockets(&mut self, is_kept: impl Fn(u64) -> bool) {
        self.0.retain(|(socket, _), _| is_kept(*socket));
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.0.values().map(|leftover| leftover.held_bytes).sum()
    }

    fn costs_by_socket(&self) -> HashMap<u64, u64> {
        let mut costs: HashMap<u64, u64> = HashMap::new();
        for (&(socket, _), leftover) in &self.0 {
            *costs.entry(socket).or_default() += leftover.cost_bytes;
        }
        costs
    }
}

//! Which inbound connections receive the responses to a requester, and whether their peers read them.
//!
//! libzmq queues unread messages for each subscribed connection, up to a high-water mark in messages. So a node
//! responds to a requester only if a connection subscribes to the responses, and only while such a connection is
//! writable. A hostile connection may subscribe to the responses to another requester and not read them. The node ends
//! this connection.
//!
//! The node records all subscriptions to responses. An honest node subscribes to its own responses, over one or two
//! connections. When there are too many subscriptions, the connection that is most likely hostile is ended, and its
//! subscriptions end with it.

use super::Frame;
use super::Peer;
use super::descriptors::{can_be_written, end_connection, socket_number};
use super::endpoint::{host_of, host_of_endpoint};
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::RawFd;

/// The limit of all subscriptions. Beyond it, the connection with the most subscriptions is ended.
const MAX_COUNT: usize = 65_536;
/// The limit of connections with the same subscription. Beyond it, one of them is ended: a connection of the host that
/// has the most of them.
const MAX_PER_PREFIX: usize = 64;
/// A connection is ended when it has been unwritable for this time while another connection of the same requester is
/// writable.
const MAX_STALL_MS: u64 = 2_000;

/// A connection's descriptor, and the number of its socket, which distinguishes it from later connections with the same
/// descriptor.
type Id = (RawFd, u64);

/// Whether a requester would receive a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A connection is writable.
    Ready,
    /// Earlier responses are not read yet.
    Full,
    /// No connection subscribes to the response.
    Nobody,
}

/// The connections that subscribe to responses.
#[derive(Default)]
pub struct Readers {
    by_prefix: HashMap<Box<[u8]>, Vec<Reader>>,
    count: usize,
    states: States,
}

/// The states of connections in this turn. They are cached because each costs system calls. A peer may subscribe to
/// every prefix of a requester's name, and a node responds to many requesters in one turn.
#[derive(Default)]
struct States(HashMap<Id, State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Writable,
    Full,
    /// Closed, or ended here.
    Ended,
}

impl States {
    fn of(&mut self, reader: &Reader) -> State {
        *self.0.entry(reader.id()).or_insert_with(|| match reader.is_open() {
            true if can_be_written(reader.file) => State::Writable,
            true => State::Full,
            false => State::Ended,
        })
    }
}

struct Reader {
    file: RawFd,
    number: u64,
    host: Option<IpAddr>,
    /// When this connection was first found unwritable while another connection of the same requester was writable.
    /// `None` if this has not happened since the connection was last found writable.
    full_ms: Option<u64>,
}

impl Reader {
    fn id(&self) -> Id {
        (self.file, self.number)
    }

    fn is_open(&self) -> bool {
        socket_number(self.file) == Some(self.number)
    }
}

impl Readers {
    /// Call this when the node has sent its responses and a new turn begins.
    pub fn begin_turn(&mut self) {
        self.states.0.clear();
    }

    /// Handles a subscription to responses, or its end. `prefix` is the prefix that is subscribed to.
    pub fn subscription(&mut self, prefix: &[u8], is_subscribed: bool, frame: &Frame) {
        let Some(file) = frame.source_file() else { return };
        let Some(number) = socket_number(file) else { return };
        if is_subscribed {
            let peer = Peer::of(file).and_then(|peer| peer.address());
            self.add(prefix, (file, number), peer.map(|address| host_of(address.ip())));
        } else {
            self.retain(prefix, |reader| reader.id() != (file, number));
        }
    }

    fn add(&mut self, prefix: &[u8], id: Id, host: Option<IpAddr>) {
        let readers = self.by_prefix.get(prefix).map_or(&[][..], Vec::as_slice);
        if readers.iter().any(|reader| reader.id() == id) {
            return;
        }
        if readers.len() >= MAX_PER_PREFIX {
            self.retain(prefix, Reader::is_open);
            let readers = self.by_prefix.get(prefix).map_or(&[][..], Vec::as_slice);
            if readers.len() >= MAX_PER_PREFIX
                && let Some(surplus) = surplus(readers)
            {
                end_connection(surplus.0, surplus.1);
                self.retain(prefix, |reader| reader.id() != surplus);
            }
        }
        if self.count >= MAX_COUNT {
            self.make_room();
        }
        let (file, number) = id;
        self.by_prefix.entry(prefix.into()).or_default().push(Reader { file, number, host, full_ms: None });
        self.count += 1;
    }

    /// Removes the readers of a prefix for which `is_kept` returns false. A prefix without readers is removed, because
    /// peers can invent any number of prefixes.
    fn retain(&mut self, prefix: &[u8], is_kept: impl FnMut(&Reader) -> bool) {
        let Some(readers) = self.by_prefix.get_mut(prefix) else { return };
        let before = readers.len();
        readers.retain(is_kept);
        self.count -= before - readers.len();
        if readers.is_empty() {
            self.by_prefix.remove(prefix);
        }
    }

    fn retain_all(&mut self, mut is_kept: impl FnMut(&Reader) -> bool) {
        self.by_prefix.retain(|_, readers| {
            readers.retain(&mut is_kept);
            !readers.is_empty()
        });
        self.count = self.by_prefix.values().map(Vec::len).sum();
    }

    /// Removes connections that have ended. If that is not enough, ends the connection with the most subscriptions.
    fn make_room(&mut self) {
        self.retain_all(Reader::is_open);
        if self.count < MAX_COUNT {
            return;
        }
        let mut counts: HashMap<Id, usize> = HashMap::new();
        for reader in self.by_prefix.values().flatten() {
            *counts.entry(reader.id()).or_default() += 1;
        }
        let Some((&most, _)) = counts.iter().max_by_key(|(_, count)| **count) else { return };
        end_connection(most.0, most.1);
        self.retain_all(|reader| reader.id() != most);
    }

    /// Whether a message that begins with `topic` would be read, according to the states of this turn. `home` is the
    /// announced endpoint of the requester. If a connection from the requester's host subscribes, connections from
    /// other hosts do not count.
    pub fn reading(&mut self, topic: &[u8], home: Option<&str>, now_ms: u64) -> Reading {
        let home = home.and_then(|endpoint| host_of_endpoint(endpoint).parse::<IpAddr>().ok());
        let prefixes = (0..=topic.len()).map(|len| &topic[..len]);
        let mut states = std::mem::take(&mut self.states);
        let (mut is_anybody, mut has_home, mut is_writable, mut is_home_writable) =
            (false, false, false, false);
        for prefix in prefixes.clone() {
            self.retain(prefix, |reader| {
                let state = states.of(reader);
                if state == State::Ended {
                    return false;
                }
                let is_home = home.is_some() && reader.host == home;
                is_anybody = true;
                has_home |= is_home;
                is_writable |= state == State::Writable;
                is_home_writable |= is_home && state == State::Writable;
                true
            });
        }
        let reading = match if has_home { is_home_writable } else { is_writable } {
            _ if !is_anybody => Reading::Nobody,
            true => Reading::Ready,
            false => Reading::Full,
        };
        if reading == Reading::Ready {
            prefixes.for_each(|prefix| self.end_stalled(prefix, &mut states, now_ms));
        }
        self.states = states;
        reading
    }

    /// Call this while a connection of the requester is writable. Ends other connections that have been unwritable for
    /// too long.
    fn end_stalled(&mut self, prefix: &[u8], states: &mut States, now_ms: u64) {
        for reader in self.by_prefix.get_mut(prefix).into_iter().flatten() {
            match states.of(reader) {
                State::Writable => reader.full_ms = None,
                State::Full if now_ms >= *reader.full_ms.get_or_insert(now_ms) + MAX_STALL_MS => {
                    if end_connection(reader.file, reader.number) {
                        states.0.insert(reader.id(), State::Ended);
                    }
                }
                State::Full | State::Ended => {}
            }
        }
    }
}

/// Chooses the connection to end when too many have the same subscription. The result belongs to the host that has the
/// most of these connections. It is the newest unwritable connection of this host or, if all its connections are
/// writable, the newest one.
fn surplus(readers: &[Reader]) -> Option<Id> {
    let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
    for reader in readers {
        *counts.entry(reader.host).or_default() += 1;
    }
    let (host, _) = counts.into_iter().max_by_key(|&(_, count)| count)?;
    let own = || readers.iter().filter(|reader| reader.host == host).rev();
    own().find(|reader| !can_be_written(reader.file)).or(own().next()).map(Reader::id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// Our end and the peer's end of a connection.
    fn connection() -> (UnixStream, UnixStream) {
        let (own, peer) = UnixStream::pair().unwrap();
        own.set_nonblocking(true).unwrap();
        peer.set_nonblocking(true).unwrap();
        (own, peer)
    }

    fn id_of(own: &UnixStream) -> Id {
        (own.as_raw_fd(), socket_number(own.as_raw_fd()).unwrap())
    }

    /// Writes until the peer has to read.
    fn fill(mut own: &UnixStream) {
        while own.write(&[0; 4_096]).is_ok() {}
    }

    fn is_ended(mut peer: &UnixStream) -> bool {
        let mut bytes = [0; 65_536];
        loop {
            match peer.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    #[test]
    fn connections_that_do_not_read_do_not_block_a_requester() {
        let (topic, home) = (&b"Evictim"[..], Some("tcp://10.0.0.9:1"));
        let mut readers = Readers::default();
        assert_eq!(readers.reading(topic, home, 0), Reading::Nobody);
        let reading = |readers: &mut Readers| {
            readers.begin_turn();
            readers.reading(topic, home, 0)
        };
        let hostile = Some([10, 0, 0, 1].into());
        let mut connections = Vec::new();
        let mut subscribe = |readers: &mut Readers, count: usize| {
            for _ in 0..count {
                let (own, peer) = connection();
                fill(&own);
                readers.add(topic, id_of(&own), hostile);
                connections.push((own, peer));
            }
        };
        subscribe(&mut readers, MAX_PER_PREFIX);
        assert_eq!(reading(&mut readers), Reading::Full);
        let (own, peer) = connection();
        readers.add(topic, id_of(&own), Some([10, 0, 0, 9].into()));
        assert_eq!(reading(&mut readers), Reading::Ready);
        subscribe(&mut readers, 2 * MAX_PER_PREFIX);
        assert_eq!(reading(&mut readers), Reading::Ready);
        assert_eq!((readers.count, readers.by_prefix.len()), (MAX_PER_PREFIX, 1));
        assert!(!is_ended(&peer));
        let ended = connections.iter().filter(|(_, peer)| is_ended(peer)).count();
        assert_eq!(ended, 2 * MAX_PER_PREFIX + 1);
    }

    /// A peer subscribes to every prefix of a requester's name.
    #[test]
    fn a_connection_is_checked_once_per_turn() {
        let mut readers = Readers::default();
        let (own, peer) = connection();
        let name = [b'x'; 200];
        (0..name.len()).for_each(|len| readers.add(&name[..len], id_of(&own), None));
        assert_eq!(readers.reading(&name, None, 0), Reading::Ready);
        // A change is visible only in the next turn.
        fill(&own);
        assert_eq!(readers.reading(&name, None, 0), Reading::Ready);
        assert_eq!(readers.states.0.len(), 1);
        readers.begin_turn();
        assert_eq!(readers.reading(&name, None, 0), Reading::Full);
        drop((own, peer));
        assert_eq!(readers.reading(&name, None, 0), Reading::Full);
        readers.begin_turn();
        assert_eq!(readers.reading(&name, None, 0), Reading::Nobody);
        assert_eq!((readers.count, readers.by_prefix.len()), (0, 0));
    }

    /// A connection stalls while another one of the same requester reads. The stalled one is ended, whichever prefixes
    /// it subscribes to.
    #[test]
    fn a_stalled_connection_is_ended() {
        let mut readers = Readers::default();
        let [(own, peer), (idle, idle_peer)] = [connection(), connection()];
        fill(&idle);
        for prefix in [&b"Evictim"[..], b"E", b"Evic"] {
            readers.add(prefix, id_of(&idle), None);
        }
        readers.add(b"Evictim", id_of(&own), None);
        for now_ms in [0, MAX_STALL_MS - 1] {
            readers.begin_turn();
            assert_eq!(readers.reading(b"Evictim", None, now_ms), Reading::Ready);
        }
        assert!(!is_ended(&peer));
        fill(&idle);
        readers.begin_turn();
        assert_eq!(readers.reading(b"Evictim", None, MAX_STALL_MS), Reading::Ready);
        assert!(is_ended(&idle_peer) && !is_ended(&peer));
        assert_eq!(readers.reading(b"Evictim", None, MAX_STALL_MS), Reading::Ready);
        assert_eq!(readers.count, 1, "the other one's subscriptions are gone");
    }

    #[test]
    fn a_connection_with_too_many_subscriptions_is_ended() {
        let mut readers = Readers::default();
        let (modest, modest_peer) = connection();
        let (greedy, greedy_peer) = connection();
        readers.add(b"E0", id_of(&modest), None);
        for i in 0..MAX_COUNT {
            readers.add(format!("D{i}").as_bytes(), id_of(&greedy), None);
        }
        assert!(is_ended(&greedy_peer) && !is_ended(&modest_peer));
        assert_eq!(readers.reading(b"E0", None, 0), Reading::Ready);
        assert_eq!(readers.reading(b"D7", None, 0), Reading::Nobody);
        assert!(readers.count <= 2);
        readers.retain(b"E0", |_| false);
        assert_eq!(readers.reading(b"E0", None, 0), Reading::Nobody);
    }
}

//! Tests of the limit on unsent records.

use super::*;
use crate::net::backlog::registry::{BoundedSocket, Direction};
use crate::net::{Frame, Peer, Recipients, UnsentLimit};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

const MIB: u64 = 1 << 20;

/// Some connections of a node with a limit of 8 MiB, and what the node has published.
struct Unread {
    unsent: Arc<Unsent>,
    connections: HashMap<Id, Connection>,
    socket: u64,
    start: Instant,
    queued: Vec<Frame>,
}

/// What the kernel has sent over a connection whose peer has acknowledged this much.
fn acked(acked_bytes: u64) -> Sent {
    Sent { acked_bytes, in_kernel_bytes: MIB, is_writable: false }
}

/// What the kernel has sent over a connection that has room for more data.
fn writable() -> Sent {
    Sent { is_writable: true, ..acked(0) }
}

impl Unread {
    fn new(count: RawFd) -> Unread {
        let unsent = Arc::new(Unsent::new(UnsentLimit::new("test", Some(8 * MIB)).unwrap()));
        let direction = Direction::Connecting(Mutex::default());
        let socket = BoundedSocket::new("Test", direction, MIB, 0, Some(unsent.clone()));
        let new = || Connection::new(socket.clone(), Peer::unix(b"@test"));
        let connections = (0..count).map(|i| ((i, 0), new())).collect();
        Unread { unsent, connections, socket: socket.id, start: Instant::now(), queued: Vec::new() }
    }

    fn publish(&mut self, mib: u64, recipients: Recipients) {
        let content = || Frame::zeroed(MIB as usize).unwrap();
        self.queued.extend((0..mib).map(|_| self.unsent.publish(&Frame::new(), content(), recipients)));
    }

    /// A scan at this time finds `sent`. Returns the connections that it ends.
    fn scan<const N: usize>(&mut self, ms: u64, sent: [Sent; N]) -> Vec<(RawFd, Reason)> {
        let now = self.start + Duration::from_millis(ms);
        let published = self.unsent.take();
        for (&(file, _), connection) in &mut self.connections {
            match published {
                Some(published) => connection.behind.update(published, Some(sent[file as usize]), now),
                None => connection.behind.reset(),
            }
        }
        let mut ended = victims(&self.unsent, self.socket, &self.connections, now);
        ended.iter().for_each(|(id, _)| self.connections.get_mut(id).unwrap().is_ended = true);
        ended.sort_unstable_by_key(|(id, _)| *id);
        ended.into_iter().map(|((file, _), reason)| (file, reason)).collect()
    }
}

#[test]
fn a_peer_that_stops_reading_is_disconnected_beyond_the_limit() {
    let mut unread = Unread::new(4);
    // The first peer has stopped, the second reads slowly, and the third waits for the node.
    let short = |acked_bytes| Sent { in_kernel_bytes: 1_000, ..acked(acked_bytes) };
    let sent = |step: u64| [acked(0), acked(step * SMALL_BYTES), writable(), short(0)];
    unread.publish(9, Recipients::All);
    for step in 0..20 {
        assert_eq!(unread.scan(500 * step, sent(step)), [], "the limit plus the longest content");
    }
    // When libzmq holds little, the measurement of stalls begins anew.
    let queued = std::mem::take(&mut unread.queued);
    drop(queued);
    assert_eq!(unread.scan(10_000, sent(20)), []);
    // In the first step, responses count, too.
    unread.publish(5, Recipients::All);
    unread.publish(5, Recipients::One);
    // The time in which the host is suspended does not count as a stall.
    for (ms, step) in [(10_500, 21), (60_000, 22), (60_900, 23)] {
        assert_eq!(unread.scan(ms, sent(step)), []);
    }
    // The fourth peer now acknowledges everything that the kernel held for it.
    let late = [acked(0), acked(24 * SMALL_BYTES), writable(), short(1_000)];
    assert_eq!(unread.scan(61_000, late), [(0, Reason::Stopped)]);
    assert_eq!(unread.scan(62_900, late), []);
}

#[test]
fn slow_peers_are_disconnected_one_by_one_beyond_twice_the_limit() {
    let mut unread = Unread::new(4);
    unread.publish(3, Recipients::All);
    let sent = |step: u64| [acked(step * MIB), acked(step * MIB), writable(), acked(8 * step * MIB)];
    assert_eq!(unread.scan(0, sent(0)), []);
    unread.publish(14, Recipients::All);
    assert_eq!(unread.scan(100, sent(0)), [], "twice the limit plus the longest content");
    unread.publish(1, Recipients::All);
    unread.publish(100, Recipients::One);
    let ended = unread.scan(200, sent(1));
    assert!(matches!(ended[..], [(0 | 1, Reason::TooSlow)]), "{ended:?}");
    assert_eq!(unread.scan(1_000, sent(2)), [], "libzmq has not closed the connection yet");
    unread.connections.remove(&(ended[0].0, 0));
    assert_eq!(unread.scan(1_100, sent(3)), [(1 - ended[0].0, Reason::TooSlow)]);
    unread.connections.remove(&(1 - ended[0].0, 0));
    assert_eq!(unread.scan(10_000, sent(4)), [], "the other connections are not behind");
}

/// The queues share the contents, so the end of only one connection would free nothing.
#[test]
fn equally_slow_peers_are_disconnected_together() {
    let mut unread = Unread::new(17);
    unread.publish(30, Recipients::All);
    assert_eq!(unread.scan(0, [acked(0); 17]), [], "nothing is known about the time before the first scan");
    unread.publish(18, Recipients::All);
    let mut sent = [acked(0); 17];
    sent[16] = acked(9 * MIB);
    let expected: Vec<_> = (0..16).map(|file| (file, Reason::TooSlow)).collect();
    assert_eq!(unread.scan(100, sent), expected);
}

/// Three requesters of a store get records that are longer than the limit.
#[test]
fn responses_disconnect_no_requester_that_reads() {
    let mut unread = Unread::new(3);
    unread.publish(30, Recipients::One);
    for step in 0..100 {
        let acked = acked(step * SMALL_BYTES);
        assert_eq!(unread.scan(1_000 * step, [acked; 3]), []);
    }
}

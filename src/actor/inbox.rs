//! Messages that a node has received and has not processed.
//!
//! A full inbound pipe can make libzmq (4.3.4, 4.3.5) abort the process, see [`Socket::limit_untrusted_peers`]. So
//! libzmq's inbound pipes have no limit, and an actor also takes messages off its socket that it cannot process yet.
//! These messages wait in the actor's inbox. Two limits in bytes apply: one to this inbox, the other to all inboxes of
//! the process. Messages that do not fit are dropped, and the node fetches the lost records later.

use super::message_queue::MessageQueue;
use super::received::{Received, receive_content};
use super::{BATCH_COUNT, Result};
use crate::czmq::fork::{GENERATIONS, generation};
use crate::net::{Backlog, Frame, Socket};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// While the actor processes full batches, unprocessed messages may stay in libzmq for this long. The messages of a
/// shorter burst stay in libzmq, because to move them would cost more than it saves.
const MAX_LAG: Duration = Duration::from_millis(20);

/// The most messages that [`Inbox::fill`] takes off the socket: far more than libzmq receives while the actor processes
/// a batch.
const MAX_FILL_COUNT: usize = 20 * BATCH_COUNT;

/// The most urgent messages that wait. They are processed in the same turn.
const MAX_URGENT_COUNT: usize = MAX_FILL_COUNT;

/// The limit of the bytes that all inboxes of a process hold together. An inbox whose own limit is higher applies its
/// own limit to this sum. For responses, the limits are twice as high.
const MAX_PROCESS_BYTES: usize = 1 << 30;
/// While an inbox holds fewer bytes than this, it accepts messages even when the process has reached its limit.
const RESERVED_BYTES: usize = 1 << 20;
/// Each inbox updates the process's count in steps of this size: threads that often update the same counter slow each
/// other down.
const UNCOUNTED_BYTES: usize = 256 << 10;

/// The bytes that all inboxes of a process hold. A forked child has its own count.
static PROCESS_BYTES: [AtomicUsize; GENERATIONS] = [const { AtomicUsize::new(0) }; GENERATIONS];

fn process_bytes() -> &'static AtomicUsize {
    &PROCESS_BYTES[generation() as usize % GENERATIONS]
}

/// Returns the number of messages that a high-water mark allows. A mark of 0 or less means no limit.
pub(super) fn limit_count(high_watermark: i32) -> usize {
    usize::try_from(high_watermark).ok().filter(|&count| count > 0).unwrap_or(usize::MAX)
}

/// A queue of received messages.
pub(super) struct Inbox {
    queue: MessageQueue,
    /// Whether POSITIONs, COMMIT-ACKs and MEMBERs are urgent. A consumer needs them also while it processes nothing else. A store
    /// writes POSITIONs to its disk, so there they wait with the records.
    pub(super) has_urgent: bool,
    /// Messages that do not wait behind the others.
    urgent: VecDeque<Received>,
    /// When the messages in the queue were taken off the socket: pairs of a time in milliseconds and a number of
    /// messages. The oldest pair is first.
    arrivals: VecDeque<(u64, usize)>,
    /// How many of the queue's bytes are in the process's count.
    counted_bytes: usize,
    limit_bytes: usize,
    limit_count: usize,
    dropped: u64,
    /// Messages processed in this turn.
    processed: usize,
    /// When the actor last found the socket empty.
    drained_at: Instant,
}

impl Inbox {
    /// Creates an empty inbox. The limits apply to live records. Other messages may fill the inbox up to twice
    /// `limit_bytes`, and `limit_count` does not apply to them. While none of the limits is reached, one more message
    /// fits, whatever its length.
    pub(super) fn new(limit_bytes: usize, limit_count: usize) -> Inbox {
        Inbox {
            queue: MessageQueue::default(),
            has_urgent: false,
            urgent: VecDeque::new(),
            arrivals: VecDeque::new(),
            counted_bytes: 0,
            limit_bytes,
            limit_count,
            dropped: 0,
            processed: 0,
            drained_at: Instant::now(),
        }
    }

    /// The next message, from the queue or from the socket.
    pub(super) fn next(&mut self, socket: &Socket, backlog: &Backlog) -> Result<Option<Received>> {
        let received = match self.queue.pop() {
            Some(received) => {
                self.count_in_process();
                self.depart();
                Some(received)
            }
            None => receive(socket, backlog)?,
        };
        self.processed += usize::from(received.is_some());
        Ok(received)
    }

    /// Moves received messages from the socket to the queue, unless the actor keeps up with them. `now_ms` is the time
    /// of the role's clock. Call this in each turn, after [`Inbox::next`].
    pub(super) fn fill(&mut self, socket: &Socket, backlog: &Backlog, now_ms: u64) -> Result {
        let is_whole_batch = std::mem::take(&mut self.processed) == BATCH_COUNT;
        if is_whole_batch && self.is_empty() && self.drained_at.elapsed() < MAX_LAG {
            backlog.end_turn(false);
            return Ok(());
        }
        let mut is_drained = false;
        for _ in 0..MAX_FILL_COUNT {
            let Some(received) = receive(socket, backlog)? else {
                is_drained = true;
                break;
            };
            self.push(received, now_ms);
        }
        if is_drained {
            self.drained_at = Instant::now();
        }
        backlog.end_turn(is_drained);
        Ok(())
    }

    /// The next message that the actor processes even while it accepts no others.
    pub(super) fn next_urgent(&mut self) -> Option<Received> {
        self.urgent.pop_front()
    }

    fn push(&mut self, received: Received, now_ms: u64) {
        if self.has_urgent && received.is_urgent() && received.content.is_none() {
            // The requester requests lost positions again.
            if self.urgent.len() < MAX_URGENT_COUNT {
                self.urgent.push_back(received.into_own_memory());
            }
            return;
        }
        let limit_factor = if received.is_live_record() { 1 } else { 2 };
        let is_full = self.queue.occupied_bytes() >= self.limit_bytes.saturating_mul(limit_factor)
            || self.is_process_full(limit_factor)
            || received.is_live_record() && self.queue.len() >= self.limit_count;
        if is_full {
            self.dropped += 1;
            return;
        }
        self.queue.push(received);
        match self.arrivals.back_mut() {
            Some((arrived_ms, count)) if *arrived_ms == now_ms => *count += 1,
            _ => self.arrivals.push_back((now_ms, 1)),
        }
        self.count_in_process();
    }

    /// Removes the oldest message from `arrivals`.
    fn depart(&mut self) {
        let (_, count) = self.arrivals.front_mut().expect("a message that waited has arrived");
        *count -= 1;
        if *count == 0 {
            self.arrivals.pop_front();
        }
    }

    /// The time of the role's clock when the oldest message in the queue was taken off the socket; `None` when the
    /// queue is empty.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.arrivals.front().map(|&(arrived_ms, _)| arrived_ms)
    }

    fn is_process_full(&self, limit_factor: usize) -> bool {
        let limit_bytes = MAX_PROCESS_BYTES.max(self.limit_bytes).saturating_mul(limit_factor);
        self.queue.occupied_bytes() >= RESERVED_BYTES
            && process_bytes().load(Ordering::Relaxed) >= limit_bytes
    }

    fn count_in_process(&mut self) {
        if self.queue.occupied_bytes().abs_diff(self.counted_bytes) >= UNCOUNTED_BYTES {
            self.count_now();
        }
    }

    fn count_now(&mut self) {
        // The difference wraps when the queue has shrunk. The addition then wraps back to the correct sum.
        let more_bytes = self.queue.occupied_bytes().wrapping_sub(self.counted_bytes);
        process_bytes().fetch_add(more_bytes, Ordering::Relaxed);
        self.counted_bytes = self.queue.occupied_bytes();
    }

    /// True when the queue is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.len() == 0
    }

    /// How many messages were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.queue = MessageQueue::default();
        self.count_now();
    }
}

fn receive(socket: &Socket, backlog: &Backlog) -> Result<Option<Received>> {
    let mut frame = Frame::new();
    if !socket.try_recv_awaited(&mut frame)? {
        return Ok(None);
    }
    let content = receive_content(socket, &frame)?;
    let received = Received { content, origin: frame.origin(), frame, is_own: false };
    backlog.took(received.origin, received.len_bytes(), 2);
    Ok(Some(received))
}

#[cfg(test)]
mod tests {
    use super::super::message_queue::OVERHEAD_BYTES;
    use super::super::received::Content;
    use super::*;
    use crate::net::poll;
    use crate::wire::id;
    use zmq::POLLIN;

    fn message(id: u8, len: usize) -> Received {
        let (frame, content) = (Frame::copy(&[id]), Content::One(Frame::zeroed(len).unwrap()));
        Received { origin: frame.origin(), frame, content, is_own: false }
    }

    #[test]
    fn live_records_are_dropped_before_responses() {
        let mut inbox = Inbox::new(3_000, 100);
        for _ in 0..10 {
            inbox.push(message(id::RECORD, 1_000 - OVERHEAD_BYTES - 1), 0);
        }
        assert_eq!((inbox.queue.len(), inbox.dropped()), (3, 7));
        for _ in 0..10 {
            inbox.push(message(id::DIRECT_RECORD, 1_000 - OVERHEAD_BYTES - 1), 0);
        }
        assert_eq!((inbox.queue.len(), inbox.dropped()), (6, 14));
        // The socket is not read while the queue has messages.
        let socket = Socket::new(crate::net::Kind::SUB).unwrap();
        let backlog = Backlog::connecting("Test", 0, 0);
        for _ in 0..4 {
            assert!(inbox.next(&socket, &backlog).unwrap().is_some());
        }
        inbox.push(message(id::RECORD, 1 << 20), 0);
        assert_eq!((inbox.queue.len(), inbox.dropped()), (3, 14));
        inbox.push(message(id::RECORD, 1), 0);
        assert_eq!(inbox.dropped(), 15);
        while inbox.next(&socket, &backlog).unwrap().is_some() {}
        assert_eq!(inbox.queue.occupied_bytes(), 0);
    }

    /// A store whose disk is slow must not take positions without a limit.
    #[test]
    fn positions_are_urgent_only_where_they_must_be() {
        for (has_urgent, waiting) in [(false, (3, 0)), (true, (0, 3))] {
            let mut inbox = Inbox::new(3_000, 100);
            inbox.has_urgent = has_urgent;
            for id in [id::POSITION, id::COMMIT_ACK, id::MEMBER] {
                inbox.push(Received { content: Content::None, ..message(id, 0) }, 0);
            }
            assert_eq!((inbox.queue.len(), inbox.urgent.len()), waiting);
        }
    }

    /// If the queue did not copy messages, each message that libzmq has received in a separate read would keep a buffer
    /// of 20 KB in memory.
    #[test]
    fn queued_messages_occupy_the_memory_that_is_counted() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "actor::inbox::tests::fill_and_measure", "--ignored"]);
        let output = alone.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    #[test]
    #[ignore = "measures its process: another test starts it in a separate process"]
    fn fill_and_measure() {
        const COUNT: usize = 20_000;
        let publisher = Socket::new(crate::net::Kind::XPUB).unwrap();
        let port = publisher.bind_ephemeral().unwrap();
        let subscriber = Socket::new(crate::net::Kind::SUB).unwrap();
        subscriber.zmq().set_subscribe(b"").unwrap();
        subscriber.connect(&format!("tcp://127.0.0.1:{port}")).unwrap();
        publisher.recv(&mut Frame::new()).unwrap();
        let backlog = Backlog::connecting("Test", 1 << 20, 0);
        let mut inbox = Inbox::new(64 << 20, usize::MAX);
        let resident_bytes = || {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
        };
        let before_bytes = resident_bytes();
        for count in 1..=COUNT {
            publisher.send_frames(&[&[id::RECORD; 50], &[b'x'; 100]]).unwrap();
            while inbox.queue.len() < count {
                poll(&mut [subscriber.item(POLLIN)], -1).unwrap();
                inbox.fill(&subscriber, &backlog, 0).unwrap();
            }
        }
        let grown_bytes = resident_bytes().saturating_sub(before_bytes);
        // The slack covers libzmq's buffers, and queues that grow in steps.
        assert!(
            grown_bytes < inbox.queue.occupied_bytes() * 5 / 4 + (8 << 20),
            "{grown_bytes} for {}",
            inbox.queue.occupied_bytes()
        );
        while let Some(received) = inbox.queue.pop() {
            assert_eq!(received.frame.as_ref(), [id::RECORD; 50]);
            assert!(crate::net::Peer::sender_of(received.origin).is_some());
        }
    }

    #[test]
    fn messages_are_moved_only_when_the_actor_lags() {
        let publisher = Socket::new(crate::net::Kind::XPUB).unwrap();
        publisher.zmq().set_sndhwm(0).unwrap();
        publisher.zmq().bind("inproc://lag").unwrap();
        let subscriber = Socket::new(crate::net::Kind::SUB).unwrap();
        subscriber.zmq().set_subscribe(b"").unwrap();
        subscriber.zmq().set_rcvhwm(0).unwrap();
        subscriber.zmq().connect("inproc://lag").unwrap();
        publisher.recv(&mut Frame::new()).unwrap();
        let backlog = Backlog::connecting("Test", 1 << 20, 0);
        let mut inbox = Inbox::new(64 << 20, usize::MAX);
        let (mut sent, mut processed) = (0_u32, 0_u32);
        // Runs a turn that processes `count` messages, as if the socket was last empty `lag` ago. Returns the length of
        // the queue after the turn.
        let mut turn = |count: usize, lag: Duration| {
            let mut send = || {
                publisher.send_frames(&[&sent.to_be_bytes()]).unwrap();
                sent += 1;
            };
            send();
            for _ in 0..count {
                send();
                subscriber.expect_input();
                let received = inbox.next(&subscriber, &backlog).unwrap().unwrap();
                assert_eq!(received.frame.as_ref(), processed.to_be_bytes());
                processed += 1;
            }
            inbox.drained_at = Instant::now().checked_sub(lag).unwrap();
            inbox.fill(&subscriber, &backlog, 0).unwrap();
            inbox.queue.len()
        };
        assert_eq!(turn(BATCH_COUNT, Duration::ZERO), 0);
        assert_eq!(turn(BATCH_COUNT, 2 * MAX_LAG), 2);
        // The queue is processed first. Then the actor keeps up again, until it processes less than a batch.
        assert_eq!(turn(BATCH_COUNT, Duration::ZERO), 0);
        assert_eq!([turn(3, Duration::ZERO), turn(3, Duration::ZERO)], [4, 5]);
    }

    #[test]
    fn the_arrival_of_the_oldest_message_is_known() {
        let mut inbox = Inbox::new(1 << 20, usize::MAX);
        let socket = Socket::new(crate::net::Kind::SUB).unwrap();
        let backlog = Backlog::connecting("Test", 0, 0);
        let arrivals = [5, 5, 7, 9, 9, 9];
        for now_ms in arrivals {
            inbox.push(message(id::RECORD, 1), now_ms);
        }
        for arrived_ms in arrivals {
            assert_eq!(inbox.oldest_ms(), Some(arrived_ms));
            inbox.next(&socket, &backlog).unwrap();
        }
        assert_eq!(inbox.oldest_ms(), None);
    }

    #[test]
    fn the_number_of_waiting_live_records_is_limited() {
        let mut inbox = Inbox::new(1 << 20, 5);
        for _ in 0..10 {
            inbox.push(message(id::RECORD, 1), 0);
        }
        inbox.push(message(id::HEAD, 1), 0);
        assert_eq!((inbox.queue.len(), inbox.dropped()), (6, 5));
    }
}

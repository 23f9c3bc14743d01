//! A fair queue of requests: hosts take turns, and the requesters of each host take turns. Each requester has its own
//! queue. So a requester with many requests does not delay other requesters, and a host with many connections does not
//! delay other hosts.

use crate::protocol::shares::RankedShares;
use crate::protocol::{MAX_LOOKS, Reading, host_of};
use std::collections::{HashMap, VecDeque};

/// A fair queue of at most `limit` requests.
///
/// When the queue is full, a new request evicts the latest request of one requester, or is refused. In these rules, the
/// new request counts as a request of its requester and of its host:
///
/// 1. If another host has more requests than the new request's host, the host with the most requests is selected. The
///    requester with the most requests on this host loses one.
/// 2. Otherwise, if another requester on the new request's host has more requests than the new request's requester, the
///    requester with the most requests on this host loses one.
/// 3. Otherwise, the new request is refused.
#[derive(Debug)]
pub struct FairQueue<T> {
    requesters: HashMap<Box<[u8]>, Requester<T>>,
    /// The requesters of each host, in the order of their turns. Each requester that has requests is in one list, once.
    hosts: HashMap<Box<[u8]>, VecDeque<Box<[u8]>>>,
    /// The order of the hosts' turns. Each host that has requests is in the list once.
    host_order: VecDeque<Box<[u8]>>,
    /// The number of requests of each requester.
    counts: RankedShares,
    len: usize,
    limit: usize,
}

#[derive(Debug)]
struct Requester<T> {
    /// The keys of the requests, in the order in which the requests were added.
    order: VecDeque<Box<[u8]>>,
    requests: HashMap<Box<[u8]>, T>,
}

/// Returns the key of a request, for a [`FairQueue`] in which each connection counts as one requester. Requests over
/// one connection can contain different names of requesters. So the key also contains the name in the request. `name`
/// has at most 255 bytes.
pub fn request_key(name: &[u8], key: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name, key].concat()
}

/// A request that was taken from the queue.
#[derive(Debug)]
pub struct Queued<T> {
    /// The requester.
    pub requester: Box<[u8]>,
    /// Distinguishes the requests of one requester.
    pub key: Box<[u8]>,
    /// The request.
    pub request: T,
}

impl<T> FairQueue<T> {
    /// Returns an empty queue of at most `limit` requests.
    pub fn new(limit: usize) -> Self {
        FairQueue {
            requesters: HashMap::new(),
            hosts: HashMap::new(),
            host_order: VecDeque::new(),
            counts: RankedShares::default(),
            len: 0,
            limit: limit.max(1),
        }
    }

    /// Returns an empty queue with the same limit.
    pub fn emptied(&self) -> Self {
        FairQueue::new(self.limit)
    }

    /// True when there is no request.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of requests.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns a waiting request, so that the caller can change it.
    pub fn get_mut(&mut self, requester: &[u8], key: &[u8]) -> Option<&mut T> {
        self.requesters.get_mut(requester)?.requests.get_mut(key)
    }

    /// Adds a request behind the other requests of its requester. The key must be new. Returns false when there is no
    /// room.
    pub fn push(&mut self, requester: &[u8], key: &[u8], request: T) -> bool {
        if self.len >= self.limit && !self.make_room_for(requester) {
            return false;
        }
        if !self.requesters.contains_key(requester) {
            let known = Requester { order: VecDeque::new(), requests: HashMap::new() };
            self.requesters.insert(requester.into(), known);
            let host = self.hosts.entry(host_of(requester).into()).or_default();
            if host.is_empty() {
                self.host_order.push_back(host_of(requester).into());
            }
            host.push_back(requester.into());
        }
        let known = self.requesters.get_mut(requester).expect("just made, if it was not there");
        let is_new = known.requests.insert(key.into(), request).is_none();
        debug_assert!(is_new, "a request that waits is changed, not added");
        known.order.push_back(key.into());
        self.count_changed(requester, true);
        true
    }

    /// Takes the next request. Its host has its next turn after all other hosts. Its requester has its next turn after
    /// all other requesters of that host.
    pub fn pop(&mut self) -> Option<Queued<T>> {
        let name = self.host_order.pop_front()?;
        let host = self.hosts.get_mut(&name)?;
        let requester = host.pop_front().expect("a host here has requesters");
        let known = self.requesters.get_mut(&requester)?;
        let key = known.order.pop_front().expect("a requester here has requests");
        let request = known.requests.remove(&key).expect("each key has its request");
        if !known.order.is_empty() {
            host.push_back(requester.clone());
        }
        if !host.is_empty() {
            self.host_order.push_back(name);
        }
        self.count_changed(&requester, false);
        Some(Queued { requester, key, request })
    }

    /// Takes the first request whose requester can receive a response now. Examines a limited number of requests. If no
    /// connection subscribes to the response of an examined request, drops the request. If the requester cannot receive
    /// now, puts the request back.
    pub fn pop_for(&mut self, mut reading: impl FnMut(&T) -> Reading) -> Option<Queued<T>> {
        for _ in 0..self.len.min(MAX_LOOKS) {
            let turn = self.pop()?;
            match reading(&turn.request) {
                Reading::Ready => return Some(turn),
                Reading::Full => drop(self.push(&turn.requester, &turn.key, turn.request)),
                Reading::Nobody => {}
            }
        }
        None
    }

    /// Drops the latest request of the requester that [`RankedShares::greediest_for`] selects. Returns false when it
    /// selects no requester.
    fn make_room_for(&mut self, requester: &[u8]) -> bool {
        let Some(greedy) = self.counts.greediest_for(requester).cloned() else { return false };
        let known = self.requesters.get_mut(&*greedy).expect("a requester that is counted is there");
        let key = known.order.pop_back().expect("it has some");
        known.requests.remove(&key);
        if known.order.is_empty()
            && let Some(host) = self.hosts.get_mut(host_of(&greedy))
        {
            host.retain(|other| **other != *greedy);
        }
        self.count_changed(&greedy, false);
        true
    }

    /// Counts one request more, or one less.
    fn count_changed(&mut self, requester: &[u8], is_more: bool) {
        let (before, now) = if is_more { (0, 1) } else { (1, 0) };
        let changed = self.counts.change(requester, before, now);
        self.len = self.len + now as usize - before as usize;
        if changed.peer.1 == 0 {
            self.requesters.remove(requester);
        }
        let name = host_of(requester);
        if changed.host.1 == 0 {
            self.hosts.remove(name);
            self.host_order.retain(|other| **other != *name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(queue: &mut FairQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).map(|turn| turn.request).collect()
    }

    #[test]
    fn a_requester_with_one_request_does_not_wait_for_one_with_many() {
        let mut queue = FairQueue::new(1_000);
        for i in 0..100_u32 {
            assert!(queue.push(b"greedy", &i.to_be_bytes(), i));
        }
        assert!(queue.push(b"modest", b"key", 777));
        assert_eq!(popped(&mut queue)[..3], [0, 777, 1]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_modest_requester_evicts_requests_of_a_greedy_one() {
        let mut queue = FairQueue::new(10);
        for i in 0..100_u32 {
            assert_eq!(queue.push(b"greedy", &i.to_be_bytes(), i), i < 10);
        }
        for i in 0..3_u32 {
            assert!(queue.push(b"modest", &i.to_be_bytes(), 100 + i));
        }
        assert_eq!(queue.len(), 10);
        assert_eq!(popped(&mut queue), [0, 100, 1, 101, 2, 102, 3, 4, 5, 6]);
    }

    #[test]
    fn no_request_is_evicted_for_a_requester_with_as_many() {
        let mut queue = FairQueue::new(4);
        for i in 0..4_u8 {
            assert!(queue.push(&[i], b"key", u32::from(i)));
        }
        assert!(!queue.push(b"late", b"key", 9));
        assert!(!queue.push(&[0], b"other", 9));
        assert_eq!(popped(&mut queue), [0, 1, 2, 3]);
        assert!(queue.push(b"late", b"key", 9));
    }

    /// The name of a connection, which begins with the host.
    fn connection(host: u8, number: u32) -> Vec<u8> {
        [&[host; 16][..], &number.to_be_bytes()].concat()
    }

    #[test]
    fn a_host_with_many_connections_takes_one_turn_and_loses_requests() {
        let mut queue = FairQueue::new(1_000);
        for i in 0..1_500_u32 {
            assert_eq!(queue.push(&connection(1, i), b"key", i), i < 1_000);
        }
        for i in 0..3_u32 {
            assert!(queue.push(&connection(2, i), b"key", 2_000 + i));
        }
        assert_eq!(queue.len(), 1_000);
        let popped = popped(&mut queue);
        assert_eq!(popped[..7], [0, 2_000, 1, 2_001, 2, 2_002, 3]);
        assert_eq!(popped.len(), 1_000);
        assert!(queue.hosts.is_empty() && queue.requesters.is_empty() && queue.counts.host_count() == 0);
    }

    #[test]
    fn the_first_request_whose_requester_can_receive_is_returned() {
        let mut queue = FairQueue::new(10);
        for i in 0..6_u8 {
            queue.push(&[i], b"key", u32::from(i));
        }
        let reading = |request: &u32| match request {
            0 | 1 => Reading::Full,
            2 => Reading::Nobody,
            _ => Reading::Ready,
        };
        let taken: Vec<u32> =
            std::iter::from_fn(|| queue.pop_for(reading)).map(|turn| turn.request).collect();
        assert_eq!((taken, queue.len()), (vec![3, 4, 5], 2));
        assert_eq!(popped(&mut queue), [0, 1]);
    }

    #[test]
    fn waiting_requests_are_found() {
        let mut queue = FairQueue::new(4);
        queue.push(b"a", b"key", 1);
        *queue.get_mut(b"a", b"key").unwrap() = 2;
        assert!(queue.get_mut(b"a", b"other").is_none() && queue.get_mut(b"b", b"key").is_none());
        assert_eq!(popped(&mut queue), [2]);
        assert!(queue.get_mut(b"a", b"key").is_none());
    }
}

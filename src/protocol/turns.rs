//! What others have asked for, one after the other in turn: each requester has its own queue, and none can crowd the
//! others out by asking for much. All steps take constant or logarithmic time, however many ask.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// Requests of many requesters, at most `limit` in all.
///
/// When there is no room, a requester with fewer requests than another has takes the place of that one's latest. So
/// who asks for one thing gets its turn beside somebody who asks for thousands.
#[derive(Debug)]
pub struct Turns<T> {
    requesters: HashMap<Box<[u8]>, Requester<T>>,
    /// Requesters in turn; each that has requests stands here once.
    turns: VecDeque<Box<[u8]>>,
    /// Requesters by how much they ask for: who has most gives way.
    by_count: BTreeSet<(usize, Box<[u8]>)>,
    len: usize,
    limit: usize,
}

#[derive(Debug)]
struct Requester<T> {
    /// Keys of the requests, in turn.
    order: VecDeque<Box<[u8]>>,
    requests: HashMap<Box<[u8]>, T>,
}

/// A key for what somebody asks under a name, of at most 255 octets: he may have several.
pub fn request_key(name: &[u8], key: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name, key].concat()
}

/// A request whose turn it is.
#[derive(Debug)]
pub struct Turn<T> {
    /// Who has asked.
    pub requester: Box<[u8]>,
    /// What tells this requester's requests apart.
    pub key: Box<[u8]>,
    /// The request.
    pub request: T,
}

impl<T> Turns<T> {
    /// No requests; at most `limit` at a time.
    pub fn new(limit: usize) -> Self {
        Turns {
            requesters: HashMap::new(),
            turns: VecDeque::new(),
            by_count: BTreeSet::new(),
            len: 0,
            limit: limit.max(1),
        }
    }

    /// No requests, with the same limit.
    pub fn emptied(&self) -> Self {
        Turns::new(self.limit)
    }

    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A request that waits already.
    pub fn get_mut(&mut self, requester: &[u8], key: &[u8]) -> Option<&mut T> {
        self.requesters.get_mut(requester)?.requests.get_mut(key)
    }

    /// Adds a request that does not wait yet, behind the requester's others. False when there is no room for it.
    pub fn push(&mut self, requester: &[u8], key: &[u8], request: T) -> bool {
        if self.len >= self.limit && !self.make_room_for(requester) {
            return false;
        }
        let count = self.requesters.get(requester).map_or(0, |known| known.order.len());
        if count == 0 {
            let known = Requester { order: VecDeque::new(), requests: HashMap::new() };
            self.requesters.insert(requester.into(), known);
            self.turns.push_back(requester.into());
        }
        let known = self.requesters.get_mut(requester).expect("just made, if it was not there");
        let is_new = known.requests.insert(key.into(), request).is_none();
        debug_assert!(is_new, "a request that waits is changed, not added");
        known.order.push_back(key.into());
        self.count_changed(requester, count);
        self.len += 1;
        true
    }

    /// Takes the request whose turn it is; its requester's next one has its turn after all other requesters.
    pub fn pop(&mut self) -> Option<Turn<T>> {
        let requester = self.turns.pop_front()?;
        let known = self.requesters.get_mut(&requester)?;
        let count = known.order.len();
        let key = known.order.pop_front().expect("a requester here has requests");
        let request = known.requests.remove(&key).expect("each key has its request");
        if count > 1 {
            self.turns.push_back(requester.clone());
        } else {
            self.requesters.remove(&requester);
        }
        self.count_changed(&requester, count);
        self.len -= 1;
        Some(Turn { requester, key, request })
    }

    /// Drops the latest request of who has most, unless `requester` would have as many.
    fn make_room_for(&mut self, requester: &[u8]) -> bool {
        let own_count = self.requesters.get(requester).map_or(0, |known| known.order.len());
        let Some((most, greedy)) = self.by_count.last().cloned() else { return false };
        if most <= own_count + 1 {
            return false;
        }
        let known = self.requesters.get_mut(&greedy).expect("a requester that is counted is there");
        let key = known.order.pop_back().expect("it has more than one");
        known.requests.remove(&key);
        self.count_changed(&greedy, most);
        self.len -= 1;
        true
    }

    fn count_changed(&mut self, requester: &[u8], before: usize) {
        let count = self.requesters.get(requester).map_or(0, |known| known.order.len());
        if before > 0 {
            self.by_count.remove(&(before, requester.into()));
        }
        if count > 0 {
            self.by_count.insert((count, requester.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(turns: &mut Turns<u32>) -> Vec<u32> {
        std::iter::from_fn(|| turns.pop()).map(|turn| turn.request).collect()
    }

    #[test]
    fn who_asks_for_one_thing_does_not_wait_for_who_asks_for_many() {
        let mut turns = Turns::new(1_000);
        for i in 0..100_u32 {
            assert!(turns.push(b"greedy", &i.to_be_bytes(), i));
        }
        assert!(turns.push(b"modest", b"key", 777));
        assert_eq!(popped(&mut turns)[..3], [0, 777, 1]);
        assert!(turns.is_empty());
    }

    #[test]
    fn a_modest_requester_gets_in_when_a_greedy_one_has_filled_all() {
        let mut turns = Turns::new(10);
        for i in 0..100_u32 {
            assert_eq!(turns.push(b"greedy", &i.to_be_bytes(), i), i < 10);
        }
        for i in 0..3_u32 {
            assert!(turns.push(b"modest", &i.to_be_bytes(), 100 + i));
        }
        assert_eq!(turns.len(), 10);
        assert_eq!(popped(&mut turns), [0, 100, 1, 101, 2, 102, 3, 4, 5, 6]);
    }

    #[test]
    fn nobody_gives_way_to_an_equal() {
        let mut turns = Turns::new(4);
        for i in 0..4_u8 {
            assert!(turns.push(&[i], b"key", u32::from(i)));
        }
        assert!(!turns.push(b"late", b"key", 9));
        assert!(!turns.push(&[0], b"other", 9));
        assert_eq!(popped(&mut turns), [0, 1, 2, 3]);
        assert!(turns.push(b"late", b"key", 9));
    }

    #[test]
    fn requests_that_wait_are_found() {
        let mut turns = Turns::new(4);
        turns.push(b"a", b"key", 1);
        *turns.get_mut(b"a", b"key").unwrap() = 2;
        assert!(turns.get_mut(b"a", b"other").is_none() && turns.get_mut(b"b", b"key").is_none());
        assert_eq!(popped(&mut turns), [2]);
        assert!(turns.get_mut(b"a", b"key").is_none());
    }
}

//! The subscriptions that a tower forwards to the nodes that publish.
//!
//! Every node stores all forwarded subscriptions in its PUB socket, and the socket does not report how many it has
//! processed. A node ends a connection over which too many subscriptions arrive. So the tower limits their number, and
//! the rate at which peers may change them.

use std::collections::HashSet;

/// The most subscriptions that are forwarded at a time. Nodes subscribe only to `W` and `B`, which are not forwarded.
const MAX_COUNT: usize = 1_000;
/// How many subscriptions are forwarded per minute beyond the first [`MAX_COUNT`].
const PER_MINUTE: u64 = 60;

/// What the tower does with a subscription, or with its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Forward {
    Yes,
    No,
    /// The subscription exceeds a limit.
    TooMany,
}

/// The subscriptions that were forwarded and have not ended.
pub(super) struct Forwarded {
    topics: HashSet<Box<[u8]>>,
    /// How many more may be forwarded now.
    room_count: u64,
    /// The time for which `room_count` was computed.
    counted_ms: u64,
}

impl Forwarded {
    pub(super) fn new(now_ms: u64) -> Forwarded {
        Forwarded { topics: HashSet::new(), room_count: MAX_COUNT as u64, counted_ms: now_ms }
    }

    /// Handles a subscription, or its end, in the form in which an XPUB socket receives it.
    pub(super) fn take(&mut self, subscription: &[u8], now_ms: u64) -> Forward {
        let is_forwarded = match subscription {
            // The welcome is not forwarded (RFC 46/DAFKA). The tower has subscribed to beacons itself.
            [0 | 1, b'W' | b'B'] => false,
            [1, topic @ ..] if self.topics.contains(topic) => false,
            [1, topic @ ..] => {
                if self.topics.len() >= MAX_COUNT || !self.has_room(now_ms) {
                    return Forward::TooMany;
                }
                self.topics.insert(topic.into())
            }
            [0, topic @ ..] => self.topics.remove(topic),
            _ => false,
        };
        if is_forwarded { Forward::Yes } else { Forward::No }
    }

    fn has_room(&mut self, now_ms: u64) -> bool {
        let more_count = now_ms.saturating_sub(self.counted_ms) * PER_MINUTE / 60_000;
        if more_count > 0 {
            self.room_count = (self.room_count + more_count).min(MAX_COUNT as u64);
            self.counted_ms = now_ms;
        }
        let has_room = self.room_count > 0;
        self.room_count = self.room_count.saturating_sub(1);
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_that_come_and_go_are_forwarded_at_a_low_rate() {
        let mut forwarded = Forwarded::new(0);
        let mut count = 0;
        for i in 0..10_000_u32 {
            let now_ms = u64::from(i);
            let topic = i.to_be_bytes();
            let is_forwarded = forwarded.take(&[&[1][..], &topic].concat(), now_ms) == Forward::Yes;
            assert_eq!(forwarded.take(&[&[0][..], &topic].concat(), now_ms) == Forward::Yes, is_forwarded);
            count += usize::from(is_forwarded);
        }
        assert!((MAX_COUNT..MAX_COUNT + 10).contains(&count), "{count}");
    }

    #[test]
    fn a_limited_number_of_subscriptions_is_forwarded_once_each() {
        let mut forwarded = Forwarded::new(0);
        for own in [b"\x01W", b"\x01B", b"\0W", b"\0B"] {
            assert_eq!(forwarded.take(own, 0), Forward::No);
        }
        for i in 0..MAX_COUNT as u32 {
            let subscription = [&[1][..], &i.to_be_bytes()].concat();
            assert_eq!(forwarded.take(&subscription, 0), Forward::Yes);
            assert_eq!(forwarded.take(&subscription, 0), Forward::No);
        }
        assert_eq!(forwarded.take(b"\x01new", 3_600_000), Forward::TooMany);
        assert_eq!(forwarded.take(b"\0new", 3_600_000), Forward::No);
        assert_eq!(forwarded.take(b"\0\0\0\0\x07", 3_600_000), Forward::Yes);
        assert_eq!(forwarded.take(b"\x01new", 3_600_000), Forward::Yes);
    }
}

use super::super::fetch::*;
use super::super::reorder_buffer::EARLY_OVERHEAD_BYTES;
use super::*;

const ROOM: usize = 1 << 20;

fn offer(sequencer: &mut Sequencer<Vec<u8>>, offset: u64) -> Offer<Vec<u8>> {
    sequencer.offer(offset, vec![offset as u8], 0, ROOM)
}

/// The first offset and the count of the next FETCH to all peers.
fn asked(sequencer: &mut Sequencer<Vec<u8>>, now_ms: u64) -> Option<(u64, u32)> {
    let request = sequencer.request(now_ms)?;
    assert_eq!(request.store, None);
    Some((request.first, request.count))
}

/// The first offset, the count and the store of the next FETCH.
fn asked_of(sequencer: &mut Sequencer<Vec<u8>>, now_ms: u64) -> (u64, u32, String) {
    let Request { first, count, store } = sequencer.request(now_ms).unwrap();
    (first, count, store.map_or("all".into(), |store| String::from_utf8_lossy(&store).into_owned()))
}

fn held_by(sequencer: &mut Sequencer<Vec<u8>>, store: &str, end: u64) {
    sequencer.fetches_mut().add_source(&store.as_bytes().into(), end);
    sequencer.handle_mention(end - 1, 0);
}

#[test]
fn stores_of_a_partition_are_asked_in_turn() {
    let mut sequencer = Sequencer::new(0, 0);
    held_by(&mut sequencer, "A", 100);
    held_by(&mut sequencer, "B", 100);
    let mut stores = Vec::new();
    for _ in 0..4 {
        let (first, count, store) = asked_of(&mut sequencer, 0);
        assert_eq!(first, sequencer.next());
        stores.push(store);
        (first..first + u64::from(count))
            .for_each(|offset| drop(sequencer.offer(offset, vec![0; 1 << 19], 0, ROOM)));
    }
    assert_eq!(stores, ["B", "A", "B", "A"]);
    // Another requester begins with the other store.
    let mut sequencer = Sequencer::new(0, 1);
    held_by(&mut sequencer, "A", 100);
    held_by(&mut sequencer, "B", 100);
    assert_eq!(asked_of(&mut sequencer, 0).2, "A");
}

#[test]
fn a_silent_store_is_replaced_and_then_all_peers_are_asked() {
    let mut sequencer = Sequencer::new(0, 0);
    held_by(&mut sequencer, "A", 10);
    held_by(&mut sequencer, "B", 10);
    assert_eq!(asked_of(&mut sequencer, 0), (0, 10, "B".into()));
    assert_eq!(sequencer.fetch_due_ms(), Some(250));
    assert_eq!(asked_of(&mut sequencer, 250), (0, 10, "A".into()));
    assert_eq!(sequencer.fetch_due_ms(), Some(500));
    assert_eq!(asked_of(&mut sequencer, 500), (0, 10, "all".into()));
    assert_eq!(sequencer.fetch_due_ms(), Some(1_000));
}

#[test]
fn records_in_order_are_returned_at_once() {
    let mut sequencer = Sequencer::new(0, 0);
    for offset in 0..10 {
        assert_eq!(offer(&mut sequencer, offset), Offer::InOrder(vec![offset as u8]));
        assert_eq!(sequencer.pop_early(0), None);
    }
    assert!(!sequencer.has_gap());
    assert_eq!(offer(&mut sequencer, 9), Offer::Duplicate);
}

#[test]
fn a_gap_is_requested_and_the_early_records_follow() {
    let mut sequencer = Sequencer::new(0, 0);
    assert_eq!(offer(&mut sequencer, 3), Offer::Early { new_count: 1 });
    assert_eq!(offer(&mut sequencer, 2), Offer::Early { new_count: 1 });
    assert_eq!(offer(&mut sequencer, 2), Offer::Duplicate);
    assert_eq!(sequencer.fetch_due_ms(), Some(0));
    assert_eq!(asked(&mut sequencer, 100), Some((0, 2)));
    assert_eq!(sequencer.fetch_due_ms(), Some(100 + FIRST_RETRY_MS));
    assert_eq!(offer(&mut sequencer, 0), Offer::InOrder(vec![0]));
    assert_eq!(sequencer.pop_early(0), None);
    assert_eq!(offer(&mut sequencer, 1), Offer::InOrder(vec![1]));
    assert_eq!(sequencer.pop_early(0), Some(vec![2]));
    assert_eq!(sequencer.pop_early(0), Some(vec![3]));
    assert_eq!(sequencer.pop_early(0), None);
    assert_eq!((sequencer.next(), sequencer.early_len_bytes()), (4, 0));
    assert_eq!(sequencer.fetch_due_ms(), None);
}

#[test]
fn a_fetch_without_a_response_is_retried_with_backoff() {
    let mut sequencer: Sequencer<Vec<u8>> = Sequencer::new(5, 0);
    sequencer.handle_mention(6, 0);
    let (mut now_ms, mut waits) = (0, Vec::new());
    while let Some(window) = asked(&mut sequencer, now_ms) {
        assert_eq!(window, (5, 2));
        let due_ms = sequencer.fetch_due_ms().unwrap();
        waits.push(due_ms - now_ms);
        if waits.len() == 6 {
            sequencer.handle_mention(6, now_ms + 1);
            assert!(sequencer.fetch_due_ms().unwrap() <= now_ms + 1 + HEARD_RETRY_MS);
        }
        now_ms = due_ms;
    }
    assert_eq!(waits[..4], [250, 500, 1_000, 2_000]);
    assert_eq!(waits.last(), Some(&MAX_RETRY_MS));
    // No peer seems to have the records. They are requested again when a peer mentions them again.
    assert_eq!(sequencer.fetch_due_ms(), None);
    sequencer.handle_mention(6, now_ms);
    assert_eq!(asked(&mut sequencer, now_ms), Some((5, 2)));
}

#[test]
fn a_partial_response_is_continued() {
    let mut sequencer = Sequencer::new(0, 0);
    sequencer.handle_mention(9, 0);
    assert_eq!(asked(&mut sequencer, 0), Some((0, 10)));
    for offset in 0..4 {
        offer(&mut sequencer, offset);
    }
    let due_ms = sequencer.fetch_due_ms().unwrap();
    assert_eq!(asked(&mut sequencer, due_ms), Some((4, 6)));
}

#[test]
fn the_window_depends_on_the_record_length() {
    let mut sequencer = Sequencer::new(0, 0);
    sequencer.handle_mention(10_000_000, 0);
    let mut counts = Vec::new();
    for _ in 0..2 {
        let (from, count) = asked(&mut sequencer, 0).unwrap();
        counts.push(count);
        for offset in from..from + u64::from(count) {
            sequencer.offer(offset, vec![0; 100], 0, ROOM);
        }
    }
    assert_eq!(counts, [FIRST_WINDOW_COUNT, MAX_WINDOW_COUNT]);
    let (from, count) = asked(&mut sequencer, 0).unwrap();
    for offset in from..from + u64::from(count) {
        sequencer.offer(offset, vec![0; 100_000], 0, ROOM);
    }
    let (_, count) = asked(&mut sequencer, 0).unwrap();
    assert!(u64::from(count) * 100_000 <= MAX_WINDOW_LEN_BYTES * 2, "{count}");
}

#[test]
fn an_early_record_determines_the_record_length() {
    let mut sequencer = Sequencer::new(0, 0);
    sequencer.offer(5_000, vec![0; 1_000_000], 0, 2_000_000);
    assert_eq!(asked(&mut sequencer, 0), Some((0, 8)));
}

#[test]
fn empty_records_have_a_known_length() {
    let mut sequencer = Sequencer::new(0, 0);
    sequencer.offer(0, vec![], 0, ROOM);
    sequencer.handle_mention(1_000_000, 0);
    assert_eq!(asked(&mut sequencer, 0), Some((1, MAX_WINDOW_COUNT)));
}

/// The simulation found this with seed 19.
#[test]
fn nothing_is_in_flight_after_a_claim_is_dropped() {
    let mut sequencer: Sequencer<Vec<u8>> = Sequencer::new(0, 0);
    sequencer.handle_mention(99, 0);
    assert_eq!(asked(&mut sequencer, 0), Some((0, 16)));
    sequencer.offer(2, vec![0; 10], 1, ROOM);
    sequencer.end_at(1);
    sequencer.offer(0, vec![0; 10], 2, ROOM);
    assert!(sequencer.in_flight_len_bytes() > 0);
    sequencer.offer(1, vec![0; 10], 3, ROOM);
    assert!(sequencer.pop_early(3).is_some());
    assert_eq!((sequencer.has_gap(), sequencer.in_flight_len_bytes()), (false, 0));
}

#[test]
fn a_fetch_without_a_response_takes_no_room() {
    let mut sequencer: Sequencer<Vec<u8>> = Sequencer::new(0, 0);
    sequencer.handle_mention(9, 0);
    sequencer.request(0);
    assert!(sequencer.in_flight_len_bytes() > 0);
    sequencer.request(1_000);
    assert_eq!(sequencer.in_flight_len_bytes(), 0);
    // A late response needs room again.
    sequencer.offer(0, vec![0; 10], 1_001, ROOM);
    assert!(sequencer.fetches().is_late());
    assert_eq!(sequencer.in_flight_len_bytes(), 0);
    sequencer.fetches_mut().revive();
    assert!(sequencer.in_flight_len_bytes() > 0);
}

#[test]
fn a_slow_response_is_not_requested_twice() {
    let mut sequencer = Sequencer::new(0, 0);
    sequencer.handle_mention(100, 0);
    assert_eq!(asked(&mut sequencer, 0), Some((0, 16)));
    for offset in 0..16 {
        sequencer.offer(offset, vec![0; 10], 200, ROOM);
    }
    sequencer.request(200);
    assert_eq!(sequencer.fetch_due_ms(), Some(200 + 2 * 200));
}

#[test]
fn gaps_are_filled_together_over_a_long_path() {
    let gaps = |answer_ms| {
        let mut sequencer = Sequencer::new(0, 0);
        sequencer.handle_mention(0, 0);
        asked(&mut sequencer, 0);
        sequencer.offer(0, vec![0; 1_000], answer_ms, ROOM);
        for offset in [2, 3, 5, 7] {
            sequencer.offer(offset, vec![0; 1_000], answer_ms, ROOM);
        }
        asked(&mut sequencer, answer_ms)
    };
    assert_eq!(gaps(1), Some((1, 1)));
    // If a response takes 2 ms, the two buffered records between the first two gaps may be requested again. Record 7 is
    // buffered, and no later record is missing.
    assert_eq!(gaps(2), Some((1, 4)));
    assert_eq!(gaps(500), Some((1, 6)));
}

#[test]
fn a_full_buffer_keeps_the_earliest_records() {
    let mut sequencer = Sequencer::new(0, 0);
    let cost_bytes = 1 + EARLY_OVERHEAD_BYTES;
    assert_eq!(sequencer.offer(5, vec![5], 0, cost_bytes), Offer::Early { new_count: 1 });
    assert_eq!(sequencer.offer(6, vec![6], 0, 0), Offer::NoRoom);
    assert_eq!(sequencer.offer(4, vec![4], 0, 0), Offer::Early { new_count: 1 });
    assert_eq!(sequencer.early_len_bytes(), cost_bytes);
    assert_eq!(asked(&mut sequencer, 0), Some((0, 4)));
}

#[test]
fn offsets_near_the_maximum_do_no_harm() {
    let mut sequencer = Sequencer::new(0, 0);
    assert_eq!(offer(&mut sequencer, u64::MAX), Offer::Duplicate);
    sequencer.handle_mention(u64::MAX, 0);
    assert!(!sequencer.has_gap());
    sequencer.handle_mention(MAX_OFFSET, 0);
    assert_eq!(asked(&mut sequencer, 0), Some((0, FIRST_WINDOW_COUNT)));
    assert_eq!(offer(&mut sequencer, 0), Offer::InOrder(vec![0]));
    assert!(sequencer.in_flight_len_bytes() > 0);
}

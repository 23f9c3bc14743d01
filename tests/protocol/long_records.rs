//! Records that are longer than a connection accepts, and other partitions on the same connection: a real consumer and
//! simulated answers, in virtual time.

use crate::rig::{Content, Reading, direct, direct_head};
use dafka::protocol::consumer::Start;
use dafka::protocol::ingest::Limits;
use std::collections::{BTreeMap, VecDeque};

/// In a bad partition, the offset of the record that is too long.
const LONG: u64 = 5;
/// How many records a store sends per millisecond.
const RECORDS_PER_MS: usize = 100;
/// How long after the end of a connection the node has reconnected.
const MADE_AGAIN_MS: u64 = 110;
const STEP_MS: usize = 5;

struct Outcome {
    /// When all records of the good partitions were delivered.
    done_ms: Option<u64>,
    /// When connections ended.
    cuts_ms: Vec<u64>,
}

/// A store with so many `bad` and `good` partitions, each of `count` records. A connection ends when a long record
/// arrives, and all later data is lost. Every `talk_ms`, the consumer receives the heads of all partitions.
fn replay(bad: usize, good: usize, count: u64, talk_ms: u64, last_ms: u64) -> Outcome {
    let content: Content = vec![7; 100].into();
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    let names: Vec<Vec<u8>> = (0..bad + good).map(|i| format!("{i:032}").into_bytes()).collect();
    let number_of = |name: &[u8]| names.iter().position(|known| known == name).expect("a partition");
    let mut asked: VecDeque<(usize, u64, u64)> = VecDeque::new();
    let mut is_up_at_ms = 0;
    let mut delivered = BTreeMap::<usize, u64>::new();
    let mut outcome = Outcome { done_ms: None, cuts_ms: Vec::new() };
    for now_ms in (0..last_ms).step_by(STEP_MS) {
        if is_up_at_ms <= now_ms && (now_ms == is_up_at_ms || now_ms % talk_ms == 0) {
            for name in &names {
                reading.handle(&direct_head(name, count - 1, b"STORE"), None, now_ms);
            }
        }
        let mut room = RECORDS_PER_MS * STEP_MS;
        while room > 0
            && let Some((partition, next, end)) = asked.pop_front()
        {
            if next >= end {
                continue;
            }
            if partition < bad && next == LONG {
                asked.clear();
                outcome.cuts_ms.push(now_ms);
                // The sum is a multiple of the step.
                is_up_at_ms = now_ms + MADE_AGAIN_MS;
                break;
            }
            reading.handle(&direct(&names[partition], next), Some(content.clone()), now_ms);
            room -= 1;
            asked.push_front((partition, next + 1, end));
        }
        if outcome.cuts_ms.last().is_some_and(|cut_ms| cut_ms + 100 == now_ms) {
            reading.consumer.handle_given_up(now_ms);
        }
        for delivery in std::mem::take(&mut reading.delivered) {
            let number = number_of(reading.consumer.partition(delivery.partition).producer);
            *delivered.entry(number).or_default() += 1;
            assert!(number >= bad || delivered[&number] <= LONG, "records after the long one wait");
        }
        let is_done = |number: usize| delivered.get(&number) == Some(&count);
        if outcome.done_ms.is_none() && (bad..bad + good).all(is_done) {
            outcome.done_ms = Some(now_ms);
        }
        reading.handle_timeout(now_ms);
        // Without a connection, requests are lost.
        let requests = reading.requests().0.into_iter().filter(|_| is_up_at_ms <= now_ms);
        asked.extend(requests.map(|(topic, sequence, window)| {
            (number_of(&topic), sequence, (sequence + u64::from(window)).min(count))
        }));
    }
    outcome
}

#[test]
fn one_too_long_record_delays_other_partitions_little() {
    for talk_ms in [100, 1_000, 10_000] {
        let outcome = replay(1, 3, 100_000, talk_ms, 600_000);
        let done_ms = outcome.done_ms.expect("all good partitions come to their end");
        // Without the bad partition, the good ones take 3 s.
        assert!(done_ms < 9_000, "{done_ms} ms");
        let late = outcome.cuts_ms.iter().filter(|&&cut_ms| cut_ms > 300_000).count();
        assert!((4..=10).contains(&late), "{late} connections ended within five minutes");
        println!("done after {done_ms} ms, {} connections ended in ten minutes", outcome.cuts_ms.len());
    }
}

#[test]
fn many_too_long_records_do_not_stall_other_partitions() {
    for (bad, limit_ms) in [(10, 60_000), (100, 300_000)] {
        let outcome = replay(bad, 10, 20_000, 1_000, 600_000);
        let done_ms = outcome.done_ms.expect("all good partitions come to their end");
        println!("{bad} bad: done after {done_ms} ms, {} connections ended", outcome.cuts_ms.len());
        // Without the bad partitions, the good ones take 2 s.
        assert!(done_ms < limit_ms, "{done_ms} ms");
    }
}

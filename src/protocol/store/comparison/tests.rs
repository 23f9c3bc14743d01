use super::*;
use std::sync::Arc;

/// Holds this many records of every partition. Record 7 of each partition has 2 MiB.
struct Every {
    count: u64,
    done: Option<Reading>,
}

impl Held for Every {
    fn next(&self, _: PartitionName) -> u64 {
        self.count
    }

    fn begin(&mut self, mut reading: Reading) {
        let _ = (reading.from..reading.end).all(|offset| reading.take(offset, &content(offset)));
        self.done = Some(reading);
    }

    fn poll(&mut self) -> Result<Option<Reading>, Ended> {
        Ok(self.done.take())
    }
}

fn content(offset: u64) -> Vec<u8> {
    vec![offset as u8; if offset == 7 { 2 << 20 } else { 100 }]
}

fn comparing(count: u64) -> Comparison {
    Comparison::new(Box::new(Every { count, done: None }), b"own")
}

/// A FETCH that was sent: the store, the partition, the first record, and the count.
type Asked = (Vec<u8>, Vec<u8>, u64, u32);

fn tick(comparison: &mut Comparison, now_ms: u64) -> Vec<Asked> {
    let mut out = Outbox::<Arc<[u8]>>::new();
    comparison.handle_timeout(b"own", now_ms, &mut out);
    let mut asked = Vec::new();
    out.drain(|frame, _| match Message::decode(frame) {
        Ok(Message::Fetch { topic, address: b"own", sequence, count, store, .. }) => {
            asked.push((store.to_vec(), topic.to_vec(), sequence, count));
        }
        other => panic!("{other:?}"),
    });
    asked
}

fn position(address: &[u8], sequence: u64) -> Position<'_> {
    Position::new(b"own", address, b"topic", sequence)
}

/// The name of a connection of a host.
fn connection(host: u8, number: u8) -> Box<[u8]> {
    [&[host; 16][..], &[number]].concat().into()
}

fn heads(comparison: &mut Comparison, from: &[u8], store: &[u8], count: u32, end: u64, now_ms: u64) {
    for i in 0..count {
        let address = format!("{i:08}");
        comparison.handle_head(&position(address.as_bytes(), end - 1), store, &|| Some(from.into()), now_ms);
    }
}

fn answer(
    comparison: &mut Comparison,
    asked: &Asked,
    from: &[u8],
    forged: Option<u64>,
    now_ms: u64,
) -> Vec<u64> {
    let (_, partition, first, count) = asked;
    let mut found = Vec::new();
    let end = first + u64::from(*count);
    // The first run begins before the requested records, and the last one ends after them.
    for first in (first.saturating_sub(1)..end).step_by(3) {
        let content = |offset| if forged == Some(offset) { b"forged".to_vec() } else { content(offset) };
        let run: Vec<Vec<u8>> = (first..first + 3).map(content).collect();
        comparison.handle_run(&position(partition, first), &run, &|| Some(from.into()), now_ms);
        found.extend(comparison.poll_divergence().map(|divergence| divergence.offset));
    }
    found
}

#[test]
fn each_record_of_each_partition_is_compared_once_in_a_round() {
    const PARTITIONS: u32 = 1_300;
    let (mut comparison, from) = (comparing(1_000), connection(1, 1));
    let mut compared = std::collections::HashMap::<(Vec<u8>, u64), u32>::new();
    let (mut fetched, mut last_ms, mut survey_ms) = (0, 0, 0);
    for now_ms in (0..2_000_000).step_by(10) {
        if now_ms >= survey_ms {
            survey_ms = now_ms + 11_000;
            heads(&mut comparison, &from, b"other", PARTITIONS, 1_000, now_ms);
        }
        for asked in tick(&mut comparison, now_ms) {
            assert!(asked.3 <= RUN_COUNT as u32 && now_ms >= last_ms + INTERVAL_MS, "{asked:?}");
            (fetched, last_ms) = (fetched + 1, now_ms);
            for offset in asked.2..asked.2 + u64::from(asked.3) {
                *compared.entry((asked.1.clone(), offset)).or_default() += 1;
            }
            assert_eq!(answer(&mut comparison, &asked, &from, None, now_ms), []);
        }
        // All records except the one of 2 MiB.
        if compared.len() == PARTITIONS as usize * 999 {
            break;
        }
    }
    assert_eq!(compared.len(), PARTITIONS as usize * 999);
    assert!(compared.keys().all(|(_, offset)| *offset != 7));
    // A partition takes three or four FETCHes. There are five FETCHes per second, and waits for DIRECT-HEADs.
    assert!(last_ms < 1_100_000, "{fetched} FETCHes, {last_ms} ms");
    let twice = compared.values().filter(|times| **times > 1).count();
    assert!(twice <= 2 * MAX_BATCH_COUNT * 1_000, "{twice}");
}

#[test]
fn a_difference_is_reported_once_for_each_store() {
    let mut comparison = comparing(600);
    let mut found = Vec::new();
    for now_ms in (0..60_000).step_by(10) {
        for host in [1, 2] {
            if now_ms % 10_000 == 0 {
                heads(&mut comparison, &connection(host, 1), &[b's', host], 3, 600, now_ms);
            }
        }
        for asked in tick(&mut comparison, now_ms) {
            let forged = (asked.1 == b"00000001").then_some(555);
            let from = connection(asked.0[1], 1);
            let offsets = answer(&mut comparison, &asked, &from, forged, now_ms);
            found.extend(offsets.into_iter().map(|offset| (asked.0.clone(), offset)));
        }
    }
    found.sort();
    assert_eq!(found, [(vec![b's', 1], 555), (vec![b's', 2], 555)]);
    assert!(!comparison.handle_run(&position(b"A", 5), &b"not asked for".to_vec(), &|| None, 60_000));
}

#[test]
fn differences_that_are_found_together_are_all_reported() {
    const PARTITIONS: u32 = 100;
    let (mut comparison, from) = (comparing(10), connection(1, 1));
    let (mut found, mut most_waiting) = (Vec::new(), 0);
    for now_ms in (0..60_000).step_by(10) {
        if now_ms % 10_000 == 0 {
            heads(&mut comparison, &from, b"other", PARTITIONS, 10, now_ms);
        }
        for asked in tick(&mut comparison, now_ms) {
            comparison.handle_run(
                &position(&asked.1, 3),
                &b"forged".to_vec(),
                &|| Some(from.clone()),
                now_ms,
            );
        }
        // The differences are logged late. Those for which there is no room meanwhile are found in the next round.
        most_waiting = most_waiting.max(comparison.found.len());
        if now_ms % 25_000 == 24_990 {
            while let Some(divergence) = comparison.poll_divergence() {
                assert_eq!((divergence.offset, divergence.from.as_ref()), (3, Some(&from)));
                found.push(divergence.partition.producer);
            }
        }
    }
    assert_eq!((most_waiting, found.len()), (MAX_FOUND, PARTITIONS as usize));
    found.sort();
    found.dedup();
    assert_eq!(found.len(), PARTITIONS as usize);
}

#[test]
fn a_third_party_cannot_forge_a_response_or_delay_a_comparison() {
    let (mut comparison, honest) = (comparing(600), connection(1, 1));
    let mut answered = 0;
    for now_ms in (0..60_000).step_by(10) {
        if now_ms % 10_000 == 0 {
            heads(&mut comparison, &honest, b"honest", 40, 600, now_ms);
            // The third party sends DIRECT-HEADs in the honest store's name over many connections, and answers no
            // FETCH.
            for number in 0..100 {
                heads(&mut comparison, &connection(66, number), b"honest", 40, 600, now_ms);
            }
        }
        for asked in tick(&mut comparison, now_ms) {
            let forged = position(&asked.1, asked.2);
            let is_taken =
                comparison.handle_run(&forged, &b"forged".to_vec(), &|| Some(connection(67, 1)), now_ms);
            assert!(!is_taken && comparison.poll_divergence().is_none());
            let walk = comparison.walks.iter().find(|walk| walk.from.as_deref() == Some(&honest));
            if walk.is_some_and(|walk| walk.sample.is_some()) {
                answered += u32::from(answer(&mut comparison, &asked, &honest, None, now_ms).is_empty());
            }
        }
    }
    // There are 40 partitions with two FETCHes each, within 20 s.
    assert!(answered >= 80, "{answered}");
    assert!(comparison.walks.len() <= MAX_WALKS);
}

#[test]
fn lost_records_are_requested_again_and_a_silent_store_is_skipped() {
    let (mut comparison, from) = (comparing(500), connection(1, 1));
    heads(&mut comparison, &from, b"other", 2, 500, 0);
    assert_eq!((tick(&mut comparison, 0), comparison.due_ms()), (vec![], Some(QUIET_MS)));
    let mut asked = Vec::new();
    for now_ms in (0..100_000).step_by(10) {
        let fetches = tick(&mut comparison, now_ms);
        if asked.is_empty()
            && let Some((store, partition, first, _)) = fetches.first()
        {
            // Only the first half of the response arrives.
            let half = (store.clone(), partition.clone(), *first, 6);
            answer(&mut comparison, &half, &from, None, now_ms);
        }
        asked.extend(fetches.into_iter().map(|fetch| (now_ms, fetch.2)));
    }
    let offsets: Vec<u64> = asked.iter().map(|&(_, first)| first).collect();
    // The rest of the first partition is requested twice. Then the other partition is requested.
    assert_eq!(offsets, [0, 6, 6, 0]);
    let waits: Vec<u64> = asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(waits[1] >= MIN_TIMEOUT_MS && waits[2] >= 2 * MIN_TIMEOUT_MS, "{asked:?}");
    assert_eq!(comparison.due_ms(), None);
    // A partition is not compared if this store lacks records of it.
    let mut comparison = comparing(500);
    heads(&mut comparison, &from, b"other", 2, 501, 0);
    comparison.handle_head(&position(b"A", u64::MAX), b"other", &|| None, 0);
    assert!((0..20_000).all(|now_ms| tick(&mut comparison, now_ms).is_empty()));
    assert_eq!(comparison.due_ms(), None);
}

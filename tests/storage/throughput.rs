//! How fast the log appends and reads, compared with a plain file that gets the same bytes with as many syncs.
//!
//! `cargo test --release --test storage throughput:: -- --ignored --nocapture`; `DAFKA_BENCH_DIR` names the
//! disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use dafka::protocol::store::reader::Reader;
use dafka::protocol::{AllRead, Outbox, Progress};
use dafka::storage::{Batch, Log, Options, PartitionName};
use dafka::wire::Message;

/// A shared content, as of a message: one reference count per record, and one buffer.
type Payload = std::sync::Arc<[u8]>;

struct Round {
    content_len: usize,
    batch_count: u64,
    count: u64,
}

fn main_dir() -> tempfile::TempDir {
    match std::env::var_os("DAFKA_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .expect("a directory")
}

fn payload(len: usize) -> Payload {
    (0..len).map(|i| (i * 31) as u8).collect()
}

const NAME: PartitionName = PartitionName { topic: b"hello", producer: b"0123456789ABCDEF0123456789ABCDEF" };

fn append(dir: &Path, round: &Round, sync: bool) -> (Log, Duration) {
    let log = Log::open(dir, Options { sync, ..Options::default() }).expect("open");
    let content = payload(round.content_len);
    let mut batch = Batch::new();
    let begin = Instant::now();
    let mut next = 0;
    while next < round.count {
        let run = batch.run(NAME, next);
        for _ in 0..round.batch_count {
            batch.push_to(run, content.clone());
        }
        log.append(&batch).expect("append");
        next += round.batch_count;
        batch.clear();
    }
    (log, begin.elapsed())
}

fn read(log: &Log, round: &Round) -> Duration {
    let begin = Instant::now();
    let mut next = 0;
    let mut sum = 0u64;
    while next < round.count {
        let handed = log
            .read(NAME, next, 1000, 1 << 20, &mut |_, content| {
                sum += content.len() as u64;
                true
            })
            .expect("read");
        assert!(handed > 0);
        next += handed;
    }
    assert_eq!(sum, round.count * round.content_len as u64);
    begin.elapsed()
}

fn plain_file(dir: &Path, round: &Round) -> Duration {
    let mut file = File::create(dir.join("plain")).expect("create");
    let batch = payload(round.content_len).repeat(round.batch_count as usize);
    let begin = Instant::now();
    for _ in 0..round.count / round.batch_count {
        file.write_all(&batch).expect("write");
        file.sync_data().expect("sync");
    }
    begin.elapsed()
}

#[test]
#[ignore = "a measurement"]
fn throughput() {
    println!("octets  per sync  |  plain file        |  append, sync       |  append, no sync    |  read");
    for (content_len, batch_count, count) in [
        (100, 10_000, 3_000_000),
        (1_000, 10_000, 500_000),
        (1_000, 8_000, 500_000),
        (10_000, 800, 60_000),
        (10_000, 10_000, 60_000),
        (100, 100, 50_000),
        (100, 1, 1_000),
    ] {
        let round = Round { content_len, batch_count, count };
        let show = |elapsed: Duration| {
            let per_second = count as f64 / elapsed.as_secs_f64();
            format!("{:>8.0} k/s {:>5.0} MB/s", per_second / 1e3, per_second * content_len as f64 / 1e6)
        };
        let plain = plain_file(main_dir().path(), &round);
        let dir = main_dir();
        let (log, synced) = append(dir.path(), &round, true);
        let reading = read(&log, &round);
        drop(log);
        let dir = main_dir();
        let (log, unsynced) = append(dir.path(), &round, false);
        drop(log);
        println!(
            "{content_len:>6}  {batch_count:>8}  | {} | {} | {} | {}",
            show(plain),
            show(synced),
            show(unsynced),
            show(reading)
        );
    }
}

/// How long a store takes to answer a request for 100,000 heads.
#[test]
#[ignore = "a measurement"]
fn heads() {
    const PARTITIONS: usize = 100_000;
    let dir = main_dir();
    let log = Log::open(dir.path(), Options { sync: false, ..Options::default() }).expect("open");
    let mut batch = Batch::new();
    for i in 0..PARTITIONS {
        let run = batch.run(PartitionName { topic: b"hello", producer: format!("{i:032X}").as_bytes() }, 0);
        batch.push_to(run, payload(10));
    }
    log.append(&batch).expect("append");
    let (mut reader, mut out) = (Reader::new(b"READER").named(b"STORE"), Outbox::<Payload>::new());
    for (name, topic) in [("everything", &b""[..]), ("one topic", b"hello")] {
        let took = (0..10).map(|_| {
            reader.handle_message(&Message::GetHeads { topic, address: b"ME" }, &|| None);
            let (begin, mut count, mut longest) = (Instant::now(), 0, Duration::ZERO);
            loop {
                let begin = Instant::now();
                let is_answering = reader
                    .poll_answers(&mut AllRead, 512, &log, &mut out, |content| content.into())
                    .expect("a log")
                    != Progress::Idle;
                out.drain(|_, _| count += 1);
                longest = longest.max(begin.elapsed());
                if !is_answering {
                    break;
                }
            }
            assert_eq!(count, PARTITIONS);
            (begin.elapsed(), longest)
        });
        let (took, longest) = took.min().expect("ten rounds");
        println!("the heads of {name}: {PARTITIONS} in {took:.1?}, at most {longest:.1?} at a time");
    }
}

//! Measures the memory of the records that a producer keeps, and compares it with what the producer counts. It is a test
//! program of its own, because other tests in the process would change the result.
#![cfg(target_env = "gnu")]

use dafka::actor::Run;
use dafka::protocol::Outbox;
use dafka::protocol::producer::Producer;
use dafka::wire::batch::BatchBuilder;

/// The memory that is allocated in this process, also by libzmq.
fn allocated_bytes() -> f64 {
    // SAFETY: it only reads the allocator's counters.
    let counters = unsafe { libc::mallinfo2() };
    (counters.uordblks + counters.hblkhd) as f64
}

/// A batch as the producer's queue builds it.
fn batch(count: usize, len: usize) -> Run {
    let mut builder = BatchBuilder::new(Vec::new());
    (0..count).for_each(|_| builder.push(&vec![7; len]).expect("fits"));
    builder.set_timestamp_ms(Some(1));
    builder.finish(Vec::new()).expect("records").into()
}

#[test]
fn a_producer_counts_the_memory_of_its_kept_records() {
    // Single records, short batches, and a batch whose buffer has doubled shortly before it was finished. The list of
    // runs doubles as well, and is full after a power of two.
    for (batches, count, len) in [(1 << 16, 1, 1), (1 << 16, 1, 100), (1 << 14, 10, 100), (1 << 11, 340, 100)]
    {
        let mut producer = Producer::new(b"topic", b"PARTITION", 1_000).expect("a short name");
        producer.handle_batches_taken(true);
        let mut out = Outbox::new();
        let before = allocated_bytes();
        for _ in 0..batches {
            producer.publish(batch(count, len), 0, &mut out);
            out.drain(|_, _| {});
        }
        let (real, counted) = (allocated_bytes() - before, producer.kept_len_bytes() as f64);
        let per = |bytes: f64| bytes / f64::from(batches);
        println!("{count} records of {len} bytes: {:.0} bytes, counted {:.0}", per(real), per(counted));
        assert!((0.9..1.1).contains(&(counted / real)), "{count} records of {len} bytes");
    }
}

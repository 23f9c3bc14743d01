//! Simulated producers of libdafka 0.1.0. They publish as fast as stores acknowledge, and record the acknowledgements.

use super::Rng;
use crate::e2e::{Cluster, wait_until};
use crate::peer::{Node, direct_record, head, new_address, number_8_at, parse_fetch, record, string_at};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many records a producer may publish to a partition beyond the last acknowledged one.
const WINDOW: u64 = 300;
/// How many records of each partition a producer publishes before it reads responses.
const BURST: u64 = 20;
const HEAD_INTERVAL: Duration = Duration::from_millis(100);

/// One partition of a producer.
#[derive(Clone)]
pub(crate) struct Partition {
    pub(crate) subject: String,
    pub(crate) address: String,
    /// The number of the partition. The contents of its records depend on the number.
    pub(crate) number: u64,
    /// The offset of the last acknowledged record.
    pub(crate) acked: Option<u64>,
}

/// The content of a record. The content begins with the partition's number and the offset. Most contents are short.
/// Some are longer than a page of the database or a chunk.
pub(crate) fn content(partition: u64, sequence: u64) -> Vec<u8> {
    let mut random = Rng::with_seed(partition << 40 ^ sequence);
    let len = match random.u64(..1_000) {
        0 => 60_000 + random.u64(..100_000),
        1..10 => 3_000 + random.u64(..10_000),
        10..200 => 200 + random.u64(..1_000),
        _ => random.u64(..200),
    };
    let mut content = format!("{partition}/{sequence}/").into_bytes();
    while (content.len() as u64) < len {
        content.extend_from_slice(&random.u64(..).to_ne_bytes());
    }
    content
}

#[derive(Default)]
struct Shared {
    wants_pause: AtomicBool,
    paused: AtomicUsize,
    stop: AtomicBool,
    partitions: Mutex<Vec<Partition>>,
}

/// Some producers, each in its own thread.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts a node per topic. Each node writes `partitions` partitions, as that many producers of 0.1.0 would.
    pub(crate) fn start(cluster: &Cluster, topics: &[&str], partitions: usize) -> Load {
        let all = (0..topics.len() * partitions).map(|number| Partition {
            subject: topics[number / partitions].into(),
            address: new_address(),
            number: number as u64,
            acked: None,
        });
        Load::go_on(cluster, all.collect(), partitions)
    }

    /// Starts nodes that continue these partitions. Some records of the partitions may be acknowledged already. Each
    /// node writes `per_node` partitions.
    pub(crate) fn go_on(cluster: &Cluster, partitions: Vec<Partition>, per_node: usize) -> Load {
        let shared = Arc::new(Shared::default());
        *shared.partitions.lock().unwrap() = partitions.clone();
        let threads = partitions.chunks(per_node).enumerate().map(|(index, own)| {
            let mut node = Node::new(cluster);
            for partition in own {
                node.subscribe_to(b"KF", &partition.address);
            }
            node.start_beacon();
            let producer = Producer {
                node,
                next: own.iter().map(|partition| partition.acked.map_or(0, |acked| acked + 1)).collect(),
                own: own.to_vec(),
                begin: index * per_node,
                shared: shared.clone(),
                head_due: Instant::now(),
            };
            std::thread::spawn(|| producer.run())
        });
        let threads = threads.collect();
        Load { shared, threads }
    }

    /// The partitions, with the last acknowledged record of each.
    pub(crate) fn partitions(&self) -> Vec<Partition> {
        self.shared.partitions.lock().unwrap().clone()
    }

    /// The number of records that are acknowledged so far.
    pub(crate) fn acked_count(&self) -> u64 {
        self.partitions().iter().map(|partition| partition.acked.map_or(0, |acked| acked + 1)).sum()
    }

    /// Waits until `count` more records are acknowledged.
    #[track_caller]
    pub(crate) fn wait_for_acks(&self, count: u64) {
        let before = self.acked_count();
        self.wait_until("more records are acknowledged", || self.acked_count() >= before + count);
    }

    /// Makes the producers stop publishing and responding. Waits until they have read all messages sent to them.
    #[track_caller]
    pub(crate) fn pause(&self) {
        self.shared.wants_pause.store(true, Ordering::SeqCst);
        let paused = || self.shared.paused.load(Ordering::SeqCst);
        self.wait_until("the producers pause", || paused() == self.threads.len());
    }

    pub(crate) fn resume(&self) {
        self.shared.wants_pause.store(false, Ordering::SeqCst);
        // No producer may still count as paused when the next pause begins.
        self.wait_until("the producers continue", || self.shared.paused.load(Ordering::SeqCst) == 0);
    }

    /// Waits until a condition holds. Fails when a producer has found an error.
    #[track_caller]
    fn wait_until(&self, condition: &str, holds: impl Fn() -> bool) {
        wait_until(condition, || {
            let is_running = self.threads.iter().all(|thread| !thread.is_finished());
            assert!(is_running, "a producer has failed: see above");
            holds()
        });
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let failed = thread.join().is_err();
            assert!(!failed || std::thread::panicking(), "a producer has failed: see above");
        }
    }
}

struct Producer {
    node: Node,
    own: Vec<Partition>,
    /// For each partition: the offset of the next record to publish.
    next: Vec<u64>,
    /// The index of this node's first partition among all partitions.
    begin: usize,
    shared: Arc<Shared>,
    head_due: Instant,
}

impl Producer {
    fn run(mut self) {
        let mut is_paused = false;
        while !self.shared.stop.load(Ordering::SeqCst) {
            let wants_pause = self.shared.wants_pause.load(Ordering::SeqCst);
            let has_published = !wants_pause && self.publish();
            let patience = Duration::from_millis(if has_published { 0 } else { 10 });
            let mut has_heard = false;
            while let Some(frames) =
                self.node.message_within(b"", if has_heard { Duration::ZERO } else { patience })
            {
                has_heard = true;
                self.hear(&frames[0], wants_pause);
            }
            if is_paused != wants_pause && (!wants_pause || !has_heard) {
                is_paused = wants_pause;
                let paused = &self.shared.paused;
                if is_paused {
                    paused.fetch_add(1, Ordering::SeqCst)
                } else {
                    paused.fetch_sub(1, Ordering::SeqCst)
                };
            }
        }
    }

    /// Publishes some records of each partition whose window has room. Returns false when no window has room.
    fn publish(&mut self) -> bool {
        let mut published = false;
        for (partition, next) in self.own.iter().zip(&mut self.next) {
            let end = partition.acked.map_or(0, |acked| acked + 1) + WINDOW;
            for _ in *next..end.min(*next + BURST) {
                let frame = record(&partition.subject, &partition.address, *next);
                self.node.send_frames(&[&frame, &content(partition.number, *next)]);
                *next += 1;
                published = true;
            }
        }
        if self.head_due <= Instant::now() {
            self.head_due = Instant::now() + HEAD_INTERVAL;
            for (partition, next) in self.own.iter().zip(&self.next).filter(|(_, next)| **next > 0) {
                self.node.send(&head(&partition.subject, &partition.address, next - 1));
            }
        }
        published
    }

    fn hear(&mut self, frame: &[u8], is_silent: bool) {
        match frame[0] {
            b'K' => {
                let topic_end = 1 + frame[1..].iter().position(|&octet| octet == 0).expect("a NUL");
                let address = &frame[1..topic_end];
                let subject = string_at(frame, topic_end + 2);
                let sequence = number_8_at(frame, topic_end + 3 + subject.len());
                let of = self.own.iter().position(|partition| partition.address.as_bytes() == address);
                let index = of.expect("an ACK of its own partition");
                assert_eq!(subject, self.own[index].subject);
                assert!(sequence < self.next[index], "acknowledged {sequence}, which was never published");
                let acked = Some(sequence).max(self.own[index].acked);
                self.own[index].acked = acked;
                self.shared.partitions.lock().unwrap()[self.begin + index].acked = acked;
            }
            b'F' => {
                let (address, from, subject, first, count) = parse_fetch(frame);
                let Some(index) = self.own.iter().position(|partition| partition.address == address) else {
                    return;
                };
                // This request comes from a consumer of this test. Only the store must answer the request.
                if from.starts_with(&format!("{:016X}", std::process::id())) {
                    return;
                }
                let acked = self.own[index].acked.map_or(0, |acked| acked + 1);
                // A producer keeps only unacknowledged records, so it could not answer a request for acknowledged ones.
                assert!(first >= acked, "a store asks for {first}, but {acked} records are acknowledged");
                if is_silent {
                    return;
                }
                let end = self.next[index].min(first + u64::from(count));
                for sequence in first..end {
                    let frame = direct_record(&from, &address, &subject, sequence);
                    self.node.send_frames(&[&frame, &content(self.own[index].number, sequence)]);
                }
            }
            _ => {}
        }
    }
}

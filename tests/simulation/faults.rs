//! The plan of a run: all events and their times, made from the seed before the run starts.
//!
//! Each run has its own mix: the kinds of faults, their number, and all sizes. Many runs with few kinds of faults find
//! more than runs with all kinds at once.

use super::clock::{MS, SECOND, Time};
use super::disk::Mood;
use super::groups::GroupPlan;
use super::model::Name;
use super::network::{Cut, HOSTS, Way, Weather};
use super::nodes::Turn;
use super::random::Random;
use super::world::hostile::Habits;
use dafka::protocol::consumer::Start;
use dafka::protocol::ingest::Limits;
use std::rc::Rc;

/// Topics. One is a prefix of others.
pub(crate) const TOPICS: [&[u8]; 4] = [b"a", b"ab", b"abc", b"b"];

/// An action on the cluster. Numbers select one of the existing nodes.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    StartStore,
    StartProducer { topic: &'static [u8], min_stores: usize },
    StartConsumer { start: Start, topics: Vec<&'static [u8]> },
    Publish { producer: u64, lens_bytes: Vec<usize> },
    // The application ends the producer, which waits for acknowledgements.
    EndProducer { producer: u64 },
    CrashProducer { producer: u64 },
    // The named producer is killed, and starts again. Up to `written` records are in its outbox and not published.
    RestartProducer { producer: u64, written: u64, down: Time },
    CrashConsumer { consumer: u64 },
    JoinGroup,
    LeaveGroup { member: u64 },
    CrashMember { member: u64 },
    // The application of a member takes no record for a while.
    StallMember { member: u64, lasts: Time },
    CrashStore { store: u64, is_power_cut: bool, down: Time },
    // This store never starts again.
    KillStore { store: u64 },
    // A tower may stay down for the rest of the run if another one runs.
    CrashTower { tower: u64, down: Time },
    Resubscribe { consumer: u64, topic: &'static [u8], after: Time },
    // Continues at an earlier record of a partition, or at the same one, or at the first one of an unread partition.
    Seek { consumer: u64, partition: u64, to: u64 },
    // Continues at the end of all partitions of a topic (empty: of all topics), or at a time before or after now.
    SeekAll { consumer: u64, topic: &'static [u8], ago_ms: Option<i64> },
    // Stops reading a topic for a while.
    Pause { consumer: u64, topic: &'static [u8], lasts: Time },
    Stall { consumer: u64, room: usize, lasts: Time },
    Cut { cuts: Vec<Cut>, breaks: bool, lasts: Time },
    Weather { weather: Weather, lasts: Time },
    SlowDisk { store: u64, factor: u64, lasts: Time },
    Mood { store: u64, mood: Mood, lasts: Time },
    StartHostile(Habits),
    // Another producer starts with the same address, and publishes.
    StartTwin { producer: u64, lens_bytes: Vec<usize> },
    // The store restarts with an empty disk and another name.
    WipeStore { store: u64, down: Time },
    // Takes a snapshot of the store's disk, and restores it later.
    RollStoreBack { store: u64, after: Time, down: Time },
    // Another store starts later with a copy of the present disk, and with the same name unless it is renamed.
    CopyStore { store: u64, is_renamed: bool, down: Time },
    // Another store starts with another name and a copy of this store's disk in which one record is forged.
    ForgeCopy { store: u64, record: u64 },
    // `per_mille` of a thousand connections break. libzmq gives up some of them.
    BreakConnections { per_mille: u64, given_up_per_mille: u64 },
    Jump { node: u64, by_ms: u64 },
    // The process and its beacon stop for a while.
    Freeze { node: u64, lasts: Time },
    // All consumers stop for a while.
    FreezeConsumers { lasts: Time },
}

/// A whole run.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) towers: usize,
    pub(crate) actions: Vec<(Time, Action)>,
    /// When the faults stop.
    pub(crate) calm_at: Time,
    pub(crate) limits: Limits,
    /// There are more partitions than stores and consumers may know at once.
    pub(crate) is_crowded: bool,
    pub(crate) max_batch: (usize, usize),
    pub(crate) turn: Turn,
    pub(crate) answer_len_bytes: usize,
    /// How many FETCHes may wait at a producer or a reader.
    pub(crate) max_fetches: usize,
    /// False: stores send no names, as those of libdafka 0.1.0.
    pub(crate) has_store_names: bool,
    pub(crate) high_watermark: usize,
    pub(crate) weather: Weather,
    /// Some stores end while they start.
    pub(crate) has_bad_starts: bool,
    /// Partitions that all stores have from the start: empty, with `first_offset` as the next offset. They are the
    /// partitions of all producers, in the order of the producers, or none.
    pub(crate) begun: Rc<[Name]>,
    pub(crate) first_offset: u64,
    /// Beacons receive events of broken connections, as from libzmq's monitor.
    pub(crate) has_monitors: bool,
    pub(crate) has_hostiles: bool,
    pub(crate) has_twins: bool,
    /// Producers are named, and restart.
    pub(crate) has_restarts: bool,
    /// Only ACKs reveal twins; beacons do not, as when both producers use the same port on different hosts.
    pub(crate) has_hidden_twins: bool,
    /// Some consumers deliver only acknowledged records, and keep at most so many bytes of records that are not
    /// acknowledged yet.
    pub(crate) isolation_bytes: Option<usize>,
    /// Stores compare their records.
    pub(crate) is_comparing: bool,
    /// Consumers that start at the first record have names.
    pub(crate) has_names: bool,
    /// A group of consumers.
    pub(crate) group: Option<GroupPlan>,
    keeps_disks: bool,
    /// Long ways between hosts, in some runs.
    pub(crate) ways: Vec<Way>,
}

/// How often a kind of fault happens: not at all in half of the runs.
pub(super) fn count(random: &mut Random, at_most: u64) -> u64 {
    if random.chance(500) { random.between(1, at_most) } else { 0 }
}

pub(crate) fn weather(random: &mut Random) -> Weather {
    Weather {
        loss_per_mille: random.pick(&[0, 0, 5, 50, 200]),
        double_per_mille: random.pick(&[0, 0, 20, 200]),
        is_ordered: random.chance(500),
        delay_us: random.pick(&[50, 300, 2_000, 40_000]),
        jitter_us: random.pick(&[0, 200, 3_000, 100_000]),
    }
}

impl Plan {
    pub(crate) fn new(random: &mut Random) -> Plan {
        let calm_at = random.between(10, 90) * SECOND;
        let stores = random.between(1, 4);
        let mut plan = Plan {
            towers: random.between(1, 3) as usize,
            calm_at,
            limits: Limits {
                partitions: 10_000,
                early_len_bytes: random.pick(&[0, 1_000, 50_000, 64 << 20]),
                in_flight_len_bytes: random.pick(&[1_000, 100_000, 64 << 20]),
                ..Limits::default()
            },
            max_batch: random.pick(&[(2_000, 10), (100_000, 1_000), (16 << 20, 131_072)]),
            turn: Turn {
                messages: random.pick(&[1, 10, 1_000]),
                answers: random.pick(&[1, 7, 512]),
                max_run_count: 1,
            },
            max_fetches: random.pick(&[1, 4, 4_096]),
            has_store_names: random.chance(800),
            answer_len_bytes: random.pick(&[1, 5_000, 1 << 20]),
            high_watermark: random.pick(&[20, 1_000, 1_000_000]),
            weather: if random.chance(500) { weather(random) } else { Weather::FAIR },
            has_names: false,
            keeps_disks: true,
            ..Plan::default()
        };
        plan.population(random, stores);
        plan.faults(random);
        let mut aside = random.aside();
        let mut other = aside.aside();
        if other.chance(300) {
            plan.short_lives(&mut other);
        }
        if aside.chance(200) {
            plan.crowd(&mut aside);
        }
        if aside.chance(150) {
            plan.stretch(&mut aside);
        }
        plan.has_bad_starts = aside.chance(300);
        plan.accidents(&mut aside);
        plan.turn.max_run_count = aside.pick(&[1, 1, 3, 20, 300]);
        plan.keeps_disks = !plan.actions.iter().any(|(_, action)| {
            matches!(action, Action::RollStoreBack { .. } | Action::Mood { mood: Mood::Unsure, .. })
        });
        plan
    }

    /// True when records that are on disk stay there: no disk is restored from an old snapshot, and no disk shows data
    /// that it does not have.
    pub(crate) fn keeps_disks(&self) -> bool {
        self.keeps_disks
    }

    /// The longest round trip that `ways` adds while the network has no faults.
    pub(crate) fn round_trip(&self) -> Time {
        2 * self.ways.iter().map(|way| way.delay_us + way.jitter_us).max().unwrap_or(0)
    }

    /// Makes delays so long that FETCHes time out before their answers arrive, and partitions so long that catching up
    /// needs several windows.
    fn stretch(&mut self, random: &mut Random) {
        let delay_us = random.pick(&[300, 500, 800, 1_300, 2_000, 3_000]) * MS;
        let jitter_us = random.pick(&[0, delay_us / 10, delay_us / 3]);
        let everywhere = Way { from: !0, to: !0, delay_us, jitter_us };
        self.ways = match random.below(4) {
            0 => vec![everywhere],
            kind => {
                let side = random.below(1 << HOSTS);
                let there = Way { from: side, to: !side, ..everywhere };
                let back = Way { from: !side, to: side, ..everywhere };
                if kind == 1 { vec![there] } else { vec![there, back] }
            }
        };
        // There is one more partition. A consumer may have to remember its position when it evicts the partition.
        self.limits.evicted_positions += 1;
        // Messages in flight count toward the high-water mark. With a low one, each long way would lose messages.
        self.high_watermark = random.pick(&[50_000, 1_000_000]);
        self.turn =
            Turn { messages: random.pick(&[100, 1_000]), answers: random.pick(&[64, 512]), ..self.turn };
        self.answer_len_bytes = random.pick(&[50_000, 1 << 20]);
        self.max_batch = random.pick(&[(100_000, 1_000), (16 << 20, 131_072)]);
        let starts = self.actions.iter().filter(|(_, action)| matches!(action, Action::StartProducer { .. }));
        let (producer, start) = (starts.clone().count() as u64, starts.map(|&(at, _)| at).max().unwrap_or(0));
        let topic = random.pick(&TOPICS);
        let start = random.between(start, start.max(self.calm_at / 2));
        self.actions.push((start, Action::StartProducer { topic, min_stores: 1 }));
        let (most, len_bytes) = (random.between(10, 25) << 20, random.pick(&[4_000, 10_000, 100_000]));
        let count = most * 2 / len_bytes;
        let bursts = random.between(1, 4);
        for _ in 0..bursts {
            let lens_bytes = (0..count / bursts).map(|_| random.between(0, len_bytes) as usize).collect();
            let at = random.between(start, self.calm_at);
            self.actions.push((at, Action::Publish { producer, lens_bytes }));
        }
        // The producer continues to publish while others catch up.
        for _ in 0..random.pick(&[0, 100]) {
            let at = random.between(start, self.calm_at);
            self.actions.push((at, Action::Publish { producer, lens_bytes: vec![100] }));
        }
        let at = self.calm_at - random.below(2 * SECOND);
        let from = if random.chance(800) { Start::Earliest } else { Start::Latest };
        self.actions.push((at, Action::StartConsumer { start: from, topics: vec![topic] }));
    }

    /// Adds a consumer of new records, and producers that live for a short time, often while the consumer hears nothing.
    fn short_lives(&mut self, random: &mut Random) {
        let starts = self.actions.iter().filter(|(_, action)| matches!(action, Action::StartProducer { .. }));
        let (producers, last) = (starts.clone().count() as u64, starts.map(|&(at, _)| at).max().unwrap_or(0));
        let (at, topics) = (random.below(self.calm_at / 4), TOPICS.to_vec());
        self.actions.push((at, Action::StartConsumer { start: Start::Latest, topics }));
        let mut start = last.max(at);
        for producer in producers..producers + random.between(1, 4) {
            start = random.between(start, self.calm_at);
            let topic = random.pick(&TOPICS);
            self.actions.push((start, Action::StartProducer { topic, min_stores: 1 }));
            let lasts = random.pick(&[500 * MS, 5 * SECOND, 15 * SECOND]);
            let begin = start.saturating_sub(random.below(lasts));
            match random.below(3) {
                0 => self.actions.push((begin, Action::FreezeConsumers { lasts })),
                1 => {
                    let host = 1_u64 << random.below(HOSTS);
                    let cuts = vec![Cut { from: host, to: !host }, Cut { from: !host, to: host }];
                    self.actions.push((begin, Action::Cut { cuts, breaks: random.chance(500), lasts }));
                }
                _ => {}
            }
            let mut at = start;
            for _ in 0..random.between(1, 3) {
                at = random.between(at, (at + 2 * SECOND).min(self.calm_at));
                let lens_bytes = (0..random.between(1, 40)).map(|_| random.below(300) as usize).collect();
                self.actions.push((at, Action::Publish { producer, lens_bytes }));
            }
            let at = random.between(at, (at + 2 * SECOND).min(self.calm_at));
            self.actions.push((at, Action::EndProducer { producer }));
        }
    }

    /// Makes more partitions than nodes may know at once.
    fn crowd(&mut self, random: &mut Random) {
        self.is_crowded = true;
        let (mut producers, mut start) = (0, 0);
        for (at, action) in &mut self.actions {
            if let Action::StartProducer { min_stores, .. } = action {
                // With 2, two producers might wait without end for each other's place at another store.
                *min_stores = 1;
                (producers, start) = (producers + 1, *at.max(&mut start));
            }
        }
        for _ in 0..random.between(2, 5) {
            start = random.between(start, self.calm_at);
            let (producer, topic) = (producers, random.pick(&TOPICS));
            producers += 1;
            self.actions.push((start, Action::StartProducer { topic, min_stores: 1 }));
            for _ in 0..random.between(1, 8) {
                let lens_bytes = (0..random.between(1, 40)).map(|_| random.below(300) as usize).collect();
                let at = random.between(start, self.calm_at);
                self.actions.push((at, Action::Publish { producer, lens_bytes }));
            }
            if random.chance(600) {
                let at = random.between(start, self.calm_at);
                self.actions.push((at, Action::EndProducer { producer }));
            }
        }
        self.limits.partitions = random.between(1, producers - 1) as usize;
        if random.chance(900) {
            // This consumer knows partitions early and evicts some. Then only stores have their last records.
            let at = random.below(self.calm_at / 4);
            let topics = TOPICS.to_vec();
            self.actions.push((at, Action::StartConsumer { start: Start::Latest, topics }));
        }
        self.limits.partitions_per_peer = random.pick(&[1, self.limits.partitions.div_ceil(2), 10_000]);
        // No evicted position may be forgotten. So there are enough positions for all partitions without a place, also
        // when all partitions are of one peer, and one more for a partition that is about to replace another.
        let places = self.limits.partitions.min(self.limits.partitions_per_peer);
        self.limits.evicted_positions = producers as usize - places + 1;
    }

    pub(super) fn at(&mut self, random: &mut Random, action: Action) {
        let at = random.below(self.calm_at);
        self.actions.push((at, action));
    }

    /// The nodes, and the published records.
    fn population(&mut self, random: &mut Random, stores: u64) {
        for i in 0..stores {
            // Some stores join late.
            let at = if i == 0 || random.chance(600) { 0 } else { random.below(self.calm_at) };
            self.actions.push((at, Action::StartStore));
        }
        let is_one_killed = stores > 1 && random.chance(200);
        if is_one_killed {
            let store = random.next();
            self.at(random, Action::KillStore { store });
        }
        let left = stores - u64::from(is_one_killed);
        let producers = random.between(1, 5);
        // The producers are sorted by their starts, because an action selects a producer by its number.
        let mut start = 0;
        for i in 0..producers {
            let most = if self.has_store_names { left.min(2) } else { 1 };
            let min_stores = random.between(1, most) as usize;
            let topic = random.pick(&TOPICS);
            start = random.between(start, start + self.calm_at / 10);
            self.actions.push((start, Action::StartProducer { topic, min_stores }));
            let max_len = random.pick(&[0, 30, 300, 3_000]);
            let max_burst = random.pick(&[1, 30, 400]);
            for _ in 0..random.between(1, 12) {
                let lens_bytes = (0..random.between(1, max_burst))
                    .map(|_| if random.chance(2) { 70_000 } else { random.between(0, max_len) as usize })
                    .collect();
                let at = random.between(start, self.calm_at);
                self.actions.push((at, Action::Publish { producer: i, lens_bytes }));
            }
            if random.chance(400) {
                let at = random.between(start, self.calm_at);
                self.actions.push((at, Action::EndProducer { producer: i }));
            }
        }
        for _ in 0..random.between(1, 4) {
            let start = if random.chance(600) { Start::Earliest } else { Start::Latest };
            let topics = (0..random.between(1, 3)).map(|_| random.pick(&TOPICS)).collect();
            self.at(random, Action::StartConsumer { start, topics });
        }
    }

    fn faults(&mut self, random: &mut Random) {
        for _ in 0..count(random, 6) {
            let down = random.pick(&[10 * MS, 500 * MS, 3 * SECOND, 20 * SECOND]);
            let (store, is_power_cut) = (random.next(), random.chance(500));
            self.at(random, Action::CrashStore { store, is_power_cut, down });
        }
        for _ in 0..count(random, 3) {
            let producer = random.next();
            self.at(random, Action::CrashProducer { producer });
        }
        for _ in 0..count(random, 3) {
            let consumer = random.next();
            self.at(random, Action::CrashConsumer { consumer });
        }
        for _ in 0..count(random, 3) {
            let (tower, down) = (random.next(), random.pick(&[50 * MS, 2 * SECOND, 15 * SECOND, Time::MAX]));
            self.at(random, Action::CrashTower { tower, down });
        }
        for _ in 0..count(random, 4) {
            let (consumer, topic) = (random.next(), random.pick(&TOPICS));
            let after = random.pick(&[1, 100 * MS, 5 * SECOND]);
            self.at(random, Action::Resubscribe { consumer, topic, after });
        }
        for _ in 0..count(random, 4) {
            let (consumer, room) = (random.next(), random.below(50) as usize);
            let lasts = random.pick(&[100 * MS, 2 * SECOND, 15 * SECOND]);
            self.at(random, Action::Stall { consumer, room, lasts });
        }
        for _ in 0..count(random, 5) {
            let side = random.below(1 << HOSTS);
            let there = Cut { from: side, to: !side };
            let back = Cut { from: !side, to: side };
            let cuts = if random.chance(600) { vec![there, back] } else { vec![there] };
            let lasts = random.pick(&[200 * MS, 3 * SECOND, 12 * SECOND]);
            let breaks = random.chance(500);
            self.at(random, Action::Cut { cuts, breaks, lasts });
        }
        for _ in 0..count(random, 4) {
            let (weather, lasts) = (weather(random), random.between(1, 20) * SECOND);
            self.at(random, Action::Weather { weather, lasts });
        }
        for _ in 0..count(random, 4) {
            let (store, factor) = (random.next(), random.pick(&[10, 100, 1_000]));
            let lasts = random.between(1, 20) * SECOND;
            self.at(random, Action::SlowDisk { store, factor, lasts });
        }
        for _ in 0..count(random, 4) {
            let (store, mood) = (random.next(), random.pick(&[Mood::Full, Mood::Unsure]));
            let lasts = random.pick(&[10 * MS, 2 * SECOND, 10 * SECOND]);
            self.at(random, Action::Mood { store, mood, lasts });
        }
        for _ in 0..count(random, 6) {
            let (node, by_ms) = (random.next(), random.pick(&[50, 1_500, 5_000, 60_000]));
            self.at(random, Action::Jump { node, by_ms });
        }
        for _ in 0..count(random, 4) {
            let (node, lasts) = (random.next(), random.pick(&[300 * MS, 3 * SECOND, 10 * SECOND]));
            self.at(random, Action::Freeze { node, lasts });
        }
    }
}

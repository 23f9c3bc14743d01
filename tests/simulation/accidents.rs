//! Faults that are rarer than crashes and cuts: of whole disks, of connections and of reads.
//!
//! They are drawn after all other parts of the plan. So a seed that draws none of them makes the same run as if this
//! file did not exist.

use super::clock::{MS, SECOND, Time};
use super::disk::Mood;
use super::faults::{Action, Plan, TOPICS, count};
use super::random::Random;
use super::world::hostile::{Forgery, Habits};
use dafka::protocol::consumer::Start;

impl Plan {
    pub(super) fn accidents(&mut self, random: &mut Random) {
        if random.chance(200) {
            self.replicate_widely(random);
        }
        if random.chance(250) {
            self.restore_disks(random);
        }
        if random.chance(250) {
            self.lose_connections(random);
        }
        if random.chance(250) {
            self.fail_reads(random);
        }
        if random.chance(100) {
            self.begin_far_from_zero(random);
        }
        // Made-up partitions start at 0, so they do not fit a run whose partitions start elsewhere.
        if random.chance(200) && !self.is_crowded && self.begun.is_empty() {
            self.invite_hostiles(random);
        }
        if random.chance(150) && !self.is_crowded && self.begun.is_empty() && !self.has_hostiles {
            self.start_twins(random);
        }
        self.has_hidden_twins = self.has_twins && random.chance(300);
        // Stores without names report their records only in ACKs, and are not compared.
        if random.chance(300) && self.has_store_names {
            self.isolation_bytes = Some(random.pick(&[500, 5_000, 64 << 20]));
        }
        if random.chance(300) && self.has_store_names {
            self.is_comparing = true;
            // With long delays and small queues, comparing a partition takes too long.
            let is_quick = self.ways.is_empty() && self.high_watermark > 20 && self.max_fetches > 1;
            if random.chance(500) && !self.is_crowded && self.begun.is_empty() && is_quick {
                let (store, record) = (random.next(), random.next());
                self.at(random, Action::ForgeCopy { store, record });
            }
        }
        if random.chance(500) && !self.is_crowded && self.begun.is_empty() {
            match self.count(|action| matches!(action, Action::StartStore)) {
                1 => self.outlive_a_producer_as_a_copy(random),
                // A producer that needs two stores must have two in the end.
                2 if self.has_store_names
                    && self.count(|action| matches!(action, Action::KillStore { .. })) == 0 =>
                {
                    self.lose_one_disk_after_the_other(random);
                }
                _ => {}
            }
        }
        // The oracle knows the first offset of other runs, or allows consumers to go back by themselves.
        if random.chance(400) && self.begun.is_empty() && !self.has_hostiles && !self.has_twins {
            for _ in 0..random.between(1, 8) {
                let (consumer, partition, to) = (random.next(), random.next(), random.next());
                self.at(random, Action::Seek { consumer, partition, to });
            }
        }
        if random.chance(500) {
            for _ in 0..random.between(1, 40) {
                let (consumer, topic, lasts) =
                    (random.next(), random.pick(&TOPICS), random.below(20_000) * MS);
                self.at(random, Action::Pause { consumer, topic, lasts });
            }
        }
        // As for other seeks.
        if random.chance(400) && self.begun.is_empty() && !self.has_hostiles && !self.has_twins {
            for _ in 0..random.between(1, 12) {
                let (consumer, topic) = (random.next(), random.pick(&[b"", TOPICS[0], TOPICS[1], TOPICS[3]]));
                let ago_ms = random.below(30_000) as i64 - 3_000;
                let ago_ms = Some(ago_ms).filter(|_| random.chance(750));
                self.at(random, Action::SeekAll { consumer, topic, ago_ms });
            }
        }
        let random = &mut random.aside();
        self.has_names = random.chance(400);
        if self.has_names {
            for _ in 0..random.between(1, 5) {
                let consumer = random.next();
                self.at(random, Action::CrashConsumer { consumer });
            }
        }
        if random.chance(400) && !self.has_hostiles && !self.has_twins {
            self.has_restarts = true;
            for _ in 0..random.between(1, 10) {
                let (producer, written) = (random.next(), random.below(5));
                let down = random.pick(&[MS, 100 * MS, SECOND, 6 * SECOND]);
                self.at(random, Action::RestartProducer { producer, written, down });
            }
        }
        self.groups(&mut random.aside());
    }

    fn count(&self, is_it: impl Fn(&Action) -> bool) -> u64 {
        self.actions.iter().filter(|(_, action)| is_it(action)).count() as u64
    }

    /// Adds a producer that starts after all producers and stores. Returns its number and its start, or `None` when
    /// less than `lasts` is left until the faults stop.
    fn last_producer(&mut self, random: &mut Random, min_stores: usize, lasts: Time) -> Option<(u64, Time)> {
        let is_start = |action: &Action| matches!(action, Action::StartProducer { .. } | Action::StartStore);
        let starts = self.actions.iter().filter(|(_, action)| is_start(action));
        let earliest = starts.map(|&(at, _)| at).max().unwrap_or(0) + SECOND;
        let latest = self.calm_at.checked_sub(lasts).filter(|latest| *latest > earliest)?;
        let (at, topic) = (random.between(earliest, latest), random.pick(&TOPICS));
        let producer = self.count(|action| matches!(action, Action::StartProducer { .. }));
        self.actions.push((at, Action::StartProducer { topic, min_stores }));
        Some((producer, at))
    }

    /// The only store is copied. A producer then publishes records that only the original has, and ends before the copy
    /// starts.
    fn outlive_a_producer_as_a_copy(&mut self, random: &mut Random) {
        let Some((producer, start)) = self.last_producer(random, 1, 10 * SECOND) else { return };
        let publish = || Action::Publish { producer, lens_bytes: vec![100; 30] };
        self.actions.extend([
            (start + SECOND, publish()),
            (start + 3 * SECOND, Action::CopyStore { store: 0, is_renamed: false, down: 20 * SECOND }),
            (start + 4 * SECOND, publish()),
            (start + 5 * SECOND, Action::EndProducer { producer }),
        ]);
    }

    /// A producer needs two stores. Both acknowledge its records and lose them, but never have them at the same time:
    /// the second store starts when the first one is restored from an old snapshot, and is wiped before the first one
    /// restarts.
    fn lose_one_disk_after_the_other(&mut self, random: &mut Random) {
        let Some((producer, start)) = self.last_producer(random, 2, 14 * SECOND) else { return };
        let (first, second) = if random.chance(500) { (0, 1) } else { (1, 0) };
        let lost_at = start + 3 * SECOND;
        self.actions.extend([
            (start, Action::CrashStore { store: second, is_power_cut: false, down: 3 * SECOND }),
            (start, Action::RollStoreBack { store: first, after: 3 * SECOND, down: 4 * SECOND }),
            (start + SECOND, Action::Publish { producer, lens_bytes: vec![100; 30] }),
            (lost_at + 3 * SECOND, Action::WipeStore { store: second, down: 20 * SECOND }),
        ]);
    }

    fn start_twins(&mut self, random: &mut Random) {
        self.has_twins = true;
        for _ in 0..random.between(1, 3) {
            let most = random.pick(&[1, 30, 400]);
            let lens_bytes = (0..random.between(1, most)).map(|_| random.below(300) as usize).collect();
            let producer = random.next();
            self.at(random, Action::StartTwin { producer, lens_bytes });
        }
        // A producer that must end soon after its second twin starts. That is too early for another new address.
        if random.chance(800)
            && let Some((producer, start)) = self.last_producer(random, 1, 8 * SECOND)
        {
            let publish = || Action::Publish { producer, lens_bytes: vec![100; 30] };
            let twin = || Action::StartTwin { producer, lens_bytes: vec![100; 30] };
            self.actions.extend([
                (start + SECOND, publish()),
                (start + 2 * SECOND, twin()),
                (start + 4 * SECOND, twin()),
                (start + 5 * SECOND, publish()),
                (start + 6 * SECOND, Action::EndProducer { producer }),
            ]);
        }
    }

    /// Five or six stores. A record needs up to three of them.
    fn replicate_widely(&mut self, random: &mut Random) {
        let is_store = |(_, action): &&(_, Action)| matches!(action, Action::StartStore);
        let stores = self.actions.iter().filter(is_store).count() as u64;
        for _ in stores..random.between(5, 6) {
            let at = if random.chance(600) { 0 } else { random.below(self.calm_at) };
            self.actions.push((at, Action::StartStore));
        }
        if self.is_crowded || !self.has_store_names {
            return;
        }
        for (_, action) in &mut self.actions {
            if let Action::StartProducer { min_stores, .. } = action {
                *min_stores = random.between(1, 3) as usize;
            }
        }
    }

    /// Disks are emptied, restored from snapshots, and copied.
    fn restore_disks(&mut self, random: &mut Random) {
        for _ in 0..count(random, 2) {
            let (store, down) = (random.next(), random.pick(&[10 * MS, 3 * SECOND, 20 * SECOND]));
            self.at(random, Action::WipeStore { store, down });
        }
        for _ in 0..count(random, 3) {
            let (store, after) = (random.next(), random.between(1, 30) * SECOND);
            let down = random.pick(&[10 * MS, 3 * SECOND, 20 * SECOND]);
            self.at(random, Action::RollStoreBack { store, after, down });
        }
        // A store is restored from an old snapshot, and another one loses its disk before the first one has caught up.
        if self.has_store_names && !self.is_crowded && random.chance(400) {
            let (store, after) = (random.below(100), random.between(1, 20) * SECOND);
            let at = random.below(self.calm_at);
            let lost_at = (at + after + random.below(6 * SECOND)).min(self.calm_at - 1);
            let down = random.pick(&[10 * MS, SECOND, 3 * SECOND]);
            self.actions.push((at, Action::RollStoreBack { store, after, down }));
            self.actions.push((lost_at, Action::WipeStore { store: store + 1, down: 20 * SECOND }));
        }
        for _ in 0..count(random, 2) {
            let (store, is_renamed) = (random.next(), random.chance(300));
            let down = random.pick(&[0, 3 * SECOND, 20 * SECOND]);
            self.at(random, Action::CopyStore { store, is_renamed, down });
        }
    }

    /// Offsets cross 2^32 or 2^63. No node has the records from 0 on, so consumers start with the latest.
    fn begin_far_from_zero(&mut self, random: &mut Random) {
        self.first_offset = random.pick(&[1 << 32, 1 << 63]) - random.between(1, 300);
        let mut producers = self
            .actions
            .iter()
            .filter_map(|(at, action)| match action {
                Action::StartProducer { topic, .. } => Some((*at, *topic)),
                _ => None,
            })
            .collect::<Vec<_>>();
        producers.sort_by_key(|&(at, _)| at);
        let names = producers.iter().enumerate();
        self.begun =
            names.map(|(i, (_, topic))| (topic.to_vec(), format!("BEGUN{i:027}").into_bytes())).collect();
        for (_, action) in &mut self.actions {
            if let Action::StartConsumer { start, .. } = action {
                *start = Start::Latest;
            }
        }
    }

    fn invite_hostiles(&mut self, random: &mut Random) {
        self.has_hostiles = true;
        for _ in 0..random.between(1, 3) {
            let per_mille = random.pick(&[200, 600, 1_000]);
            let mut forgeries = Forgery::ALL.to_vec();
            forgeries.retain(|_| random.chance(per_mille));
            if forgeries.is_empty() {
                forgeries.push(random.pick(&Forgery::ALL));
            }
            let (burst, pause) = (random.between(1, 30), random.pick(&[5 * MS, 100 * MS, SECOND]));
            let garbled_per_mille = random.pick(&[0, 100, 500]);
            let left = random.pick(&[100, 1_000, 3_000]);
            let habits = Habits { forgeries, burst, pause, left, garbled_per_mille };
            self.at(random, Action::StartHostile(habits));
        }
    }

    fn lose_connections(&mut self, random: &mut Random) {
        self.has_monitors = true;
        for _ in 0..random.between(1, 6) {
            let per_mille = random.pick(&[50, 300, 1_000]);
            let given_up_per_mille = random.pick(&[0, 300, 1_000]);
            self.at(random, Action::BreakConnections { per_mille, given_up_per_mille });
        }
    }

    fn fail_reads(&mut self, random: &mut Random) {
        for _ in 0..random.between(1, 6) {
            let (store, mood) = (random.next(), Mood::Unreadable { every: random.pick(&[1, 2, 10]) });
            let lasts = random.pick(&[10 * MS, 2 * SECOND, 20 * SECOND]);
            self.at(random, Action::Mood { store, mood, lasts });
        }
    }
}

//! The steps of stores and their disks, and when they take place.

use super::*;
use dafka::storage::{OpenError, opening};
use std::io;

/// How many steps a start has at most.
const MAX_START_STEPS: u64 = 12;

impl World {
    /// Starts to write the writer's batch to the disk.
    pub(super) fn start_commit(&mut self, id: NodeId) -> Check {
        let Role::Writer(writer) = &self.nodes[id].role else { return Ok(()) };
        let WriterNode { disk, job: Some(job), store, .. } = &**writer else { return Ok(()) };
        let tried = try_append(disk, job);
        let (is_committing, slowness) = (disk.is_committing(), self.stores[*store].slowness);
        let step = match tried {
            Tried::Done if is_committing => DiskStep::Header,
            Tried::Done => DiskStep::Done,
            Tried::Refused(error) => {
                self.trace(|| format!("{id}: {error}"));
                DiskStep::Retry
            }
            Tried::Impossible(error) => return Err((3, format!("the store cannot go on: {error}"))),
        };
        let delay = match step {
            DiskStep::Retry => DISK_RETRY,
            _ => self.random.between(100, 3_000) * slowness,
        };
        self.push(self.now + delay, Event::Disk { node: id, step });
        Ok(())
    }

    pub(super) fn disk(&mut self, id: NodeId, step: DiskStep) -> Check {
        let Role::Writer(writer) = &mut self.nodes[id].role else { return Ok(()) };
        let store = writer.store;
        match step {
            DiskStep::Header => {
                writer.disk.write_header();
                let delay = self.random.between(100, 3_000) * self.stores[store].slowness;
                self.push(self.now + delay, Event::Disk { node: id, step: DiskStep::Finish });
                return Ok(());
            }
            DiskStep::Retry => return self.start_commit(id),
            DiskStep::Finish => writer.disk.finish(),
            DiskStep::Done => {}
        }
        if let Some(job) = writer.job.take() {
            writer.intake.handle_committed(job);
        }
        let Store { disk, read_so_far, .. } = &mut self.stores[store];
        invariants::log_is_right(&disk.committed(), &self.model, read_so_far)?;
        self.wake(id, self.now);
        Ok(())
    }

    /// Opens a store's log. False when the store must try again.
    pub(super) fn open_log(&mut self, store: usize, disk: &SimDisk) -> Result<bool, (usize, String)> {
        let ends_early = self.plan.has_bad_starts && self.phase == Phase::Faults && self.random.chance(500);
        disk.end_after(ends_early.then(|| self.random.below(MAX_START_STEPS)));
        let Err(error) = opening::open(disk) else { return Ok(true) };
        match error {
            OpenError::Io { source, .. } if source.kind() == io::ErrorKind::Interrupted => {
                let is_power_cut = self.random.chance(500);
                self.trace(|| format!("store {store} ends as it starts; power cut: {is_power_cut}"));
                disk.crash(is_power_cut.then_some(&mut self.random));
            }
            // The disk refuses to open the log at present.
            OpenError::Io { .. } => self.trace(|| format!("store {store} does not start: {error}")),
            error => return Err((2, format!("store {store} never starts again: {error}"))),
        }
        self.push((self.now + DISK_RETRY).min(self.plan.calm_at), Event::StartStore(store));
        Ok(false)
    }

    /// The partitions of which each store has a committed position on disk.
    pub(super) fn positions_of_all_stores(&self, consumer: &[u8]) -> BTreeSet<Name> {
        let living: Vec<&Store> = self.stores.iter().filter(|store| !store.is_killed).collect();
        let of_first = living.first().map(|store| store.disk.positions()).unwrap_or_default();
        let names = of_first.into_keys().filter(|(of, _)| of == consumer).map(|(_, name)| name);
        let have = |name: &Name| {
            living.iter().all(|store| store.disk.durable_position(consumer, named(name)).is_some())
        };
        names.filter(have).collect()
    }

    /// While a consumer waits for its positions, it may get those that each store has. To be called before each turn.
    pub(super) fn note_positions(&mut self, id: NodeId) {
        if let Role::Consumer(node) = &self.nodes[id].role
            && node.consumer.is_waiting()
            && let Some(of) = &node.oracle.named
        {
            let known = self.positions_of_all_stores(&of.name);
            if let Role::Consumer(node) = &mut self.nodes[id].role
                && let Some(of) = &mut node.oracle.named
            {
                of.known.retain(|name| known.contains(name));
            }
        }
    }

    pub(super) fn new_disk(&self) -> SimDisk {
        SimDisk::new(self.plan.begun.clone(), self.plan.first_offset)
    }

    pub(super) fn add_store(&mut self, disk: SimDisk, host: Host) -> usize {
        self.stores.push(Store {
            disk,
            host,
            nodes: None,
            is_killed: false,
            name: Vec::new(),
            read_so_far: BTreeMap::new(),
            slowness: 1,
        });
        self.stores.len() - 1
    }

    /// Replaces a store's disk by a snapshot.
    pub(super) fn restore(&mut self, store: usize, disk: SimDisk, down: Time) {
        if self.stores[store].is_killed {
            return;
        }
        self.trace(|| format!("store {store} is restored from a snapshot"));
        self.crash_store(store, false);
        self.note_what_was_safe();
        self.model.roll_back(store, |name| disk.durable_next(named(name)));
        self.stores[store].disk = disk;
        self.push((self.now + down).min(self.plan.calm_at), Event::StartStore(store));
    }

    /// Ends a store for the rest of the run. Records that only it had are lost.
    pub(super) fn kill_store(&mut self, store: usize) {
        self.crash_store(store, false);
        self.note_what_was_safe();
        self.stores[store].is_killed = true;
    }

    /// Must be called before a disk is lost.
    fn note_what_was_safe(&mut self) {
        for (name, partition) in &mut self.model.partitions {
            let safe = invariants::safe_end(name, partition.min_stores, &self.stores);
            partition.was_safe = safe.max(partition.was_safe);
        }
    }

    pub(super) fn crash_store(&mut self, store: usize, is_power_cut: bool) {
        let Some(nodes) = self.stores[store].nodes.take() else { return };
        self.trace(|| format!("store {store} crashes; power cut: {is_power_cut}"));
        nodes.into_iter().for_each(|node| self.stop(node));
        let Store { disk, read_so_far, .. } = &mut self.stores[store];
        disk.crash(is_power_cut.then_some(&mut self.random));
        // Unacknowledged records may be lost. The log is checked again from its start.
        read_so_far.clear();
    }
}

//! The differences between stores that the stores log, and copies of disks in which one record is forged.

use super::*;
use crate::model::Partition;
use crate::nodes::Noticed;

/// A store requests one run of records at a time for its comparison: after 200 ms, it reads a run from its disk for 20 ms.
const TIME_PER_RUN: Time = 220 * MS;
/// The limits of a run.
const RUN_LEN_BYTES: u64 = 64 << 10;
const RUN_COUNT: u64 = 512;
/// A store may have passed a partition before it could compare the forged record. It then compares it in the next round.
const ROUNDS: u64 = 2;

/// The node that logged, the other store, the partition, and the connection.
type Logged = (NodeId, Vec<u8>, Name, (ConnectionId, u64));

/// The forged copies, and the logged differences.
#[derive(Default)]
pub(super) struct Divergences {
    /// Partitions, with the offset that is forged in a copy.
    forged: Vec<(Name, u64)>,
    logged: BTreeSet<Logged>,
    /// The number of the store that noticed a difference, the other store's name, and the partition.
    noticed: BTreeSet<(usize, Vec<u8>, Name)>,
}

impl World {
    /// Starts a store with a copy of another store's disk in which a record is forged.
    pub(super) fn forge_copy(&mut self, store: usize, record: u64) -> Check {
        let disk = &self.stores[store].disk;
        let names: Vec<(Name, u64)> = self
            .model
            .partitions
            .keys()
            .map(|name| (name.clone(), disk.durable_next(named(name))))
            .filter(|(_, end)| *end > 0)
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let (name, end) = names[(record % names.len() as u64) as usize].clone();
        let offset = record / 64 % end;
        let Some(disk) = disk.copy() else { return Ok(()) };
        self.trace(|| {
            format!("record {offset} of {} is forged in a copy of {store}", invariants::show(&name))
        });
        let forged = disk.forge(&name, offset, b"forged copy");
        forged.rename(&self.fresh_address());
        self.model.forge(name.clone());
        self.divergences.forged.push((name, offset));
        let host = self.random.below(HOSTS) as Host;
        let copy = self.add_store(forged, host);
        self.start_store(copy)
    }

    /// Checks the differences that a store has logged: they exist, and each is logged once per connection to the other
    /// store.
    pub(super) fn diverge(&mut self, id: NodeId, found: Vec<Noticed>) -> Check {
        for Noticed { divergence, from } in found {
            let name = (divergence.partition.topic.to_vec(), divergence.partition.producer.to_vec());
            self.trace(|| format!("{id}: {divergence:?}"));
            let at = || {
                format!("{id} logs that record {} of {} differs", divergence.offset, invariants::show(&name))
            };
            if !self.model.is_forged(&name) {
                return Err((6, at()));
            }
            let other = divergence.store.to_vec();
            if !self.divergences.logged.insert((id, other.clone(), name.clone(), from)) {
                return Err((6, format!("{}, again", at())));
            }
            if let Role::Writer(writer) = &self.nodes[id].role {
                self.divergences.noticed.insert((writer.store, other, name));
            }
        }
        Ok(())
    }

    /// How long the stores may take to notice the forged records: each store compares all records with each other store.
    pub(super) fn time_to_compare(&self) -> Time {
        if self.divergences.forged.is_empty() {
            return 0;
        }
        let runs_of = |partition: &Partition| {
            let len_bytes: usize = partition.records.iter().map(|record| record.content.len()).sum();
            len_bytes as u64 / RUN_LEN_BYTES + partition.records.len() as u64 / RUN_COUNT + 1
        };
        let runs: u64 = self.model.partitions.values().map(runs_of).sum();
        let living = self.stores.iter().filter(|store| !store.is_killed).count() as u64;
        ROUNDS * living.saturating_sub(1) * runs * TIME_PER_RUN
    }

    /// Checks for each pair of stores with different names that have different contents of a forged record: each store
    /// must have noticed the difference.
    pub(super) fn forgeries_are_noticed(&self) -> Result<(), String> {
        let living = || self.stores.iter().enumerate().filter(|(_, store)| !store.is_killed);
        for (name, offset) in &self.divergences.forged {
            for (one, here) in living() {
                for (_, there) in living().filter(|(_, there)| there.name != here.name) {
                    let contents = [here, there].map(|store| store.disk.record(name, *offset));
                    let [Some(here), Some(other)] = contents else { continue };
                    let key = (one, there.name.clone(), name.clone());
                    if here != other && !self.divergences.noticed.contains(&key) {
                        let name = invariants::show(name);
                        return Err(format!(
                            "store {one} has not noticed that record {offset} of {name} differs"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

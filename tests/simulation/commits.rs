//! What stores and their disks do at which time.

use super::*;

impl World {
    /// The writer's batch goes to the disk.
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
            writer.intake.committed(job);
        }
        let Store { disk, read_so_far, .. } = &mut self.stores[store];
        invariants::log_is_right(&disk.committed(), &self.model, read_so_far)?;
        self.wake(id, self.now);
        Ok(())
    }

    pub(super) fn crash_store(&mut self, store: usize, is_power_cut: bool) {
        let Some(nodes) = self.stores[store].nodes.take() else { return };
        self.trace(|| format!("store {store} crashes; power cut: {is_power_cut}"));
        nodes.into_iter().for_each(|node| self.stop(node));
        let Store { disk, read_so_far, .. } = &mut self.stores[store];
        disk.crash(is_power_cut.then_some(&mut self.random));
        // What was not acknowledged may be gone; what is there is read anew.
        read_so_far.clear();
    }
}

//! A store's directory on a simulated disk, as far as opening a log needs it.
//!
//! New entries are visible at once, and on disk after the directory is synced. A power cut keeps any part of the
//! entries that were made since the last sync. It may tear a file that was not synced.

use super::disk::{SimDisk, Tables, new_tables};
use super::random::Random;
use dafka::storage::OpenError;
use dafka::storage::engine::{Snapshot, Table};
use dafka::storage::opening::{Directory, check_format, format_of};
use std::io;
use std::path::Path;

/// The entries of a directory.
#[derive(Clone, Default)]
struct Entries {
    has_lock: bool,
    new: Option<File>,
    database: Option<File>,
}

/// A file with its content at its creation. Later commits are in [`SimDisk`].
#[derive(Clone)]
struct File {
    tables: Tables,
    is_synced: bool,
    is_torn: bool,
}

/// The directory as it is visible, and as it is on disk.
#[derive(Default)]
pub(crate) struct Folder {
    seen: Entries,
    durable: Entries,
    /// The number of steps before the process ends.
    steps_left: Option<u64>,
}

impl Folder {
    pub(crate) fn has_database(&self) -> bool {
        self.seen.database.as_ref().is_some_and(|file| !file.is_torn)
    }

    /// A copy, which is synced.
    pub(crate) fn copy(&self) -> Folder {
        let mut seen = self.seen.clone();
        seen.new = None;
        seen.database.iter_mut().for_each(|file| file.is_synced = true);
        Folder { durable: seen.clone(), seen, steps_left: None }
    }

    /// Cuts the power. False when there is no database afterwards.
    pub(crate) fn cut_power(&mut self, random: &mut Random) -> bool {
        let Folder { seen, durable, .. } = self;
        if random.chance(500) {
            durable.has_lock |= seen.has_lock;
        }
        if random.chance(500) {
            (durable.new, durable.database) = (seen.new.take(), seen.database.take());
        }
        for file in [&mut durable.new, &mut durable.database].into_iter().flatten() {
            file.is_torn |= !file.is_synced && random.chance(500);
            file.is_synced = true;
        }
        *seen = durable.clone();
        seen.database.is_some()
    }
}

impl SimDisk {
    /// Ends the process after so many steps of opening its log. With `None`, the process does not end.
    pub(crate) fn end_after(&self, steps: Option<u64>) {
        self.with_folder(|folder| folder.steps_left = steps);
    }

    /// Runs one step. An error when the process ends before it.
    fn step<R>(&self, step: impl FnOnce(&mut Folder) -> R) -> Result<R, OpenError> {
        self.with_folder(|folder| {
            match &mut folder.steps_left {
                Some(0) => return Err(failed(io::ErrorKind::Interrupted)),
                Some(left) => *left -= 1,
                None => {}
            }
            Ok(step(folder))
        })
    }
}

fn failed(kind: io::ErrorKind) -> OpenError {
    OpenError::Io { action: "go on", path: "simulated".into(), source: io::Error::from(kind) }
}

impl Directory for SimDisk {
    type Lock = ();
    type Database = ();

    fn claim(&self) -> Result<(), OpenError> {
        self.step(|_| ())
    }

    fn has_database(&self) -> Result<bool, OpenError> {
        self.step(|folder| folder.seen.database.is_some())
    }

    fn has_lock(&self) -> Result<bool, OpenError> {
        self.step(|folder| folder.seen.has_lock)
    }

    fn lock(&self) -> Result<(), OpenError> {
        self.step(|folder| folder.seen.has_lock = true)
    }

    fn check(&self, is_ours: bool) -> Result<(), OpenError> {
        let path = Path::new("simulated");
        if self.step(|folder| folder.seen.database.as_ref().is_none_or(|file| file.is_torn))? {
            return Err(OpenError::Damaged { path: path.into(), page: 0, reason: "it is torn" });
        }
        let tables = self.committed();
        let format = format_of(|key| tables.get(Table::Meta, key)).expect("a sound disk");
        check_format(path, format, is_ours)
    }

    fn build_new(&self) -> Result<(), OpenError> {
        let new = File { tables: new_tables(), is_synced: false, is_torn: false };
        self.step(|folder| folder.seen.new = Some(new))
    }

    fn sync_new(&self) -> Result<(), OpenError> {
        self.step(|folder| folder.seen.new.as_mut().expect("a new database").is_synced = true)
    }

    fn rename_new(&self) -> Result<(), OpenError> {
        let tables = self.step(|folder| {
            let new = folder.seen.new.take().expect("a new database");
            let tables = new.tables.clone();
            folder.seen.database = Some(new);
            tables
        })?;
        self.begin_with(tables);
        Ok(())
    }

    fn sync(&self) -> Result<(), OpenError> {
        self.step(|folder| folder.durable = folder.seen.clone())
    }

    fn open(&self) -> Result<(), OpenError> {
        self.step(|_| ())
    }

    fn settle(&self, (): &()) -> Result<(), OpenError> {
        self.step(|_| ())?;
        self.put_headers().map_err(|error| failed(error.kind()))
    }
}

//! A store's disk: the tables of the log in blocks, which a power cut may lose before they are synced.
//!
//! This is the engine below the real storage logic. As in LMDB, a commit writes changed entries beside the old ones,
//! syncs, writes a header that makes them valid, and syncs again. A power cut keeps any part of the writes since the
//! last sync. When only the process ends, all of these writes remain.

use super::directory::Folder;
use super::model::{Name, Record, Run};
use super::random::Random;
use dafka::actor::store::intake::Disk;
use dafka::committed::Committed;
use dafka::protocol::store::comparison::{Ended, Held, Reading};
use dafka::protocol::store::reader::{EachHead, EachPosition, Source};
use dafka::storage::append::{Tails, WriteError, write_batch};
use dafka::storage::engine::{Entry, Snapshot, Table, Update};
use dafka::storage::opening::write_new;
use dafka::storage::scan::{Limited, LimitedBatches, StoredBatch, Unread};
use dafka::storage::{AppendError, AsRecords, Batch, PartitionName, partitions, positions, scan};
use dafka::wire;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

type Octets = Rc<[u8]>;
type Map = BTreeMap<Octets, Octets>;

/// The only error of the engine: the tables hold data that the log never writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

/// The tables at one moment. Copies share unchanged tables.
#[derive(Clone, Default)]
pub(crate) struct Tables([Rc<Map>; 4]);

impl Tables {
    fn map(&self, table: Table) -> &Map {
        &self.0[table as usize]
    }

    fn set(&mut self, table: Table, key: Octets, value: Octets) {
        Rc::make_mut(&mut self.0[table as usize]).insert(key, value);
    }

    /// Writes empty partitions that start at `offset`, in the format of doc/storage-format.md. No batch could create
    /// such partitions.
    fn begin_partitions(&mut self, names: &[Name], offset: u64) {
        for (id, (subject, address)) in (0u64..).zip(names) {
            let key = [&[subject.len() as u8], &subject[..], address].concat();
            let value = [id, offset, offset].map(u64::to_be_bytes).concat();
            self.set(Table::Partitions, key.into(), value.into());
        }
        if !names.is_empty() {
            let next_id = (names.len() as u64).to_be_bytes();
            self.set(Table::Meta, (*b"next-id").into(), next_id.into());
        }
    }
}

impl Snapshot for Tables {
    type Error = Damaged;
    type Entries<'a> = Box<dyn Iterator<Item = Result<Entry<'a>, Damaged>> + 'a>;

    fn damaged() -> Damaged {
        Damaged
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, Damaged> {
        Ok(self.map(table).get(key).map(|value| &**value))
    }

    fn entries_from(&self, table: Table, key: &[u8]) -> Result<Self::Entries<'_>, Damaged> {
        let range =
            self.map(table).range::<[u8], _>((std::ops::Bound::Included(key), std::ops::Bound::Unbounded));
        Ok(Box::new(range.map(|(key, value)| Ok((&**key, &**value)))))
    }

    fn entries_around(&self, table: Table, key: &[u8]) -> Result<Self::Entries<'_>, Damaged> {
        let upto = (std::ops::Bound::Unbounded, std::ops::Bound::Included(key));
        match self.map(table).range::<[u8], _>(upto).next_back() {
            Some((first, _)) => self.entries_from(table, first),
            None => Ok(Box::new(std::iter::empty())),
        }
    }
}

/// A transaction: changes on top of the tables at its start.
struct Transaction {
    tables: Tables,
    changed: BTreeMap<(Table, Octets), Vec<u8>>,
}

impl Snapshot for Transaction {
    type Error = Damaged;
    type Entries<'a> = Box<dyn Iterator<Item = Result<Entry<'a>, Damaged>> + 'a>;

    fn damaged() -> Damaged {
        Damaged
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, Damaged> {
        match self.changed.get(&(table, key.into())) {
            Some(value) => Ok(Some(value)),
            None => self.tables.get(table, key),
        }
    }

    fn entries_from(&self, _: Table, _: &[u8]) -> Result<Self::Entries<'_>, Damaged> {
        unimplemented!("appending walks over no table")
    }

    fn entries_around(&self, _: Table, _: &[u8]) -> Result<Self::Entries<'_>, Damaged> {
        unimplemented!("appending walks over no table")
    }
}

impl Update for Transaction {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Damaged> {
        self.changed.insert((table, key.into()), value.to_vec());
        Ok(())
    }

    fn reserve(&mut self, table: Table, key: &[u8], len: usize) -> Result<&mut [u8], Damaged> {
        if self.get(table, key)?.is_some() {
            return Err(Damaged);
        }
        // Reserved space may have any content.
        Ok(self.changed.entry((table, key.into())).or_insert(vec![0xAA; len]))
    }
}

/// The tables of an empty log.
pub(crate) fn new_tables() -> Tables {
    let mut new = Transaction { tables: Tables::default(), changed: BTreeMap::new() };
    write_new(&mut new).expect("an empty log");
    let mut tables = Tables::default();
    new.changed.into_iter().for_each(|((table, key), value)| tables.set(table, key, value.into()));
    tables
}

/// A unit of writing.
#[derive(Clone)]
enum Block {
    // An entry of a table. It does not overwrite the entry that it replaces. The data of the entry is in the tables of
    // the header.
    Entry { version: u64 },
    // Makes a version with so many entries valid.
    Header { version: u64, entries: usize, tables: Tables },
}

/// How the disk handles operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    // Refuses at once.
    Full,
    // Each `every`th read fails.
    Unreadable { every: u64 },
    // Accepts the entries, and then fails to sync the header and to undo it. The header is visible, and the system does
    // not try to write it again.
    Unsure,
}

struct State {
    begun: Rc<[Name]>,
    first_offset: u64,
    /// The valid data on the platter, which no power cut can lose.
    durable: Tables,
    /// Entries on the platter without a header that makes them valid.
    loose: Vec<Block>,
    /// Written, and not synced yet.
    cached: Vec<Block>,
    /// Written and visible, but not on the platter, even after a sync: see [`Mood::Unsure`].
    forgotten: Vec<Block>,
    /// The data that the process sees.
    committed: Tables,
    /// What the appends of this process have left for the next one.
    tails: Tails,
    version: u64,
    staged: Option<Staged>,
    mood: Mood,
    /// The number of reads so far.
    reads: u64,
    folder: Folder,
}

/// A commit in progress.
struct Staged {
    tables: Tables,
    header: Block,
}

impl State {
    /// Puts these blocks on the platter.
    fn settle(&mut self, blocks: Vec<Block>) {
        for block in blocks {
            let Block::Header { version, entries, tables } = block else {
                self.loose.push(block);
                continue;
            };
            let belongs = |block: &Block| matches!(block, Block::Entry { version: of } if *of == version);
            let count = self.loose.iter().filter(|&block| belongs(block)).count();
            // A commit of positions alone may be tried again before its header is on the platter. The last header counts.
            self.loose.retain(|block| matches!(block, Block::Entry { version: of } if *of > version));
            self.forgotten
                .retain(|block| matches!(block, Block::Header { version: of, .. } if *of > version));
            assert_eq!(
                count, entries,
                "entries are synced before the header that makes them valid is written"
            );
            self.durable = tables;
        }
    }

    /// The data that a process sees when it opens the database, synced or not.
    fn shown(&self) -> Tables {
        let mut written = self.cached.iter().chain(&self.forgotten).rev();
        let header = written.find_map(|block| match block {
            Block::Header { tables, .. } => Some(tables.clone()),
            Block::Entry { .. } => None,
        });
        header.unwrap_or_else(|| self.durable.clone())
    }

    fn sync(&mut self) {
        let cached = std::mem::take(&mut self.cached);
        self.settle(cached);
    }
}

/// A disk, shared by the store's two nodes.
#[derive(Clone)]
pub(crate) struct SimDisk(Rc<RefCell<State>>);

impl SimDisk {
    /// An empty disk. A new database there has empty partitions at `first_offset`.
    pub(crate) fn new(begun: Rc<[Name]>, first_offset: u64) -> SimDisk {
        SimDisk(Rc::new(RefCell::new(State {
            begun,
            first_offset,
            durable: Tables::default(),
            loose: Vec::new(),
            cached: Vec::new(),
            forgotten: Vec::new(),
            committed: Tables::default(),
            tails: Tails::default(),
            version: 0,
            staged: None,
            mood: Mood::Good,
            reads: 0,
            folder: Folder::default(),
        })))
    }

    pub(crate) fn with_folder<R>(&self, body: impl FnOnce(&mut Folder) -> R) -> R {
        body(&mut self.0.borrow_mut().folder)
    }

    /// Sets the tables of a new database.
    pub(crate) fn begin_with(&self, mut tables: Tables) {
        let state = &mut *self.0.borrow_mut();
        tables.begin_partitions(&state.begun, state.first_offset);
        (state.durable, state.committed) = (tables.clone(), tables);
    }

    /// Writes the visible headers again, and syncs.
    pub(crate) fn put_headers(&self) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        if state.mood == Mood::Unsure {
            return Err(io::ErrorKind::Other.into());
        }
        state.sync();
        let forgotten = std::mem::take(&mut state.forgotten);
        state.settle(forgotten);
        Ok(())
    }

    /// The store's name, which a start writes and syncs first.
    pub(crate) fn identity(&self, fresh: &[u8]) -> Vec<u8> {
        let state = &mut *self.0.borrow_mut();
        let mut update = Transaction { tables: state.committed.clone(), changed: BTreeMap::new() };
        let name = partitions::identity(&mut update, fresh).expect("a sound disk");
        for ((table, key), value) in update.changed {
            let value: Octets = value.into();
            state.committed.set(table, key.clone(), value.clone());
            state.durable.set(table, key, value);
        }
        name
    }

    /// A copy of the visible files. `None` while there is no database.
    pub(crate) fn copy(&self) -> Option<SimDisk> {
        let state = &*self.0.borrow();
        let (copy, tables) = (SimDisk::new(state.begun.clone(), state.first_offset), state.shown());
        {
            let copied = &mut *copy.0.borrow_mut();
            (copied.durable, copied.committed) = (tables.clone(), tables);
        }
        copy.with_folder(|folder| *folder = state.folder.copy());
        state.folder.has_database().then_some(copy)
    }

    /// Gives the store another name, as a start without the lock file does.
    pub(crate) fn rename(&self, name: &[u8]) {
        let state = &mut *self.0.borrow_mut();
        let mut update = Transaction { tables: state.committed.clone(), changed: BTreeMap::new() };
        partitions::rename(&mut update, name).expect("a sound disk");
        let mut tables = update.tables;
        update.changed.into_iter().for_each(|((table, key), value)| tables.set(table, key, value.into()));
        (state.durable, state.committed) = (tables.clone(), tables);
    }

    /// A copy of the files in which one record has another content.
    pub(crate) fn forge(&self, name: &Name, forged: u64, content: &[u8]) -> SimDisk {
        let (copy, tables) = (self.copy().expect("a database"), self.committed());
        let (mut batch, mut names) = (Batch::new(), Vec::new());
        let mut add = |name: PartitionName<'_>, _| names.push((name.topic.to_vec(), name.producer.to_vec()));
        partitions::heads(&tables, None, None, u64::MAX, &mut add).expect("a sound disk");
        for own in names {
            let (partition, is_it) = (named(&own), own == *name);
            let run = batch.run(partition, 0);
            let each = &mut |offset, own: wire::batch::Record| {
                let is_forged = is_it && offset == forged;
                let record = if is_forged { content.into() } else { own };
                batch.push_to(run, Run::from(vec![Record::from(record)]));
                true
            };
            let limited = Limited { from: 0, max_count: u64::MAX, max_len_bytes: usize::MAX, each };
            scan::read(&tables, partition, limited).expect("a sound disk");
        }
        let mut update = Transaction { tables: new_tables(), changed: BTreeMap::new() };
        assert!(write_batch(&mut update, &batch, &mut Tails::default()).is_ok(), "what was written before");
        let mut tables = update.tables;
        update.changed.into_iter().for_each(|((table, key), value)| tables.set(table, key, value.into()));
        {
            let copied = &mut *copy.0.borrow_mut();
            (copied.durable, copied.committed) = (tables.clone(), tables);
        }
        copy
    }

    /// A record that no power cut can lose.
    pub(crate) fn record(&self, name: &Name, offset: u64) -> Option<Vec<u8>> {
        let mut record = None;
        let each = &mut |_: u64, found: wire::batch::Record| {
            record = Some(found.content.to_vec());
            false
        };
        let limited = Limited { from: offset, max_count: 1, max_len_bytes: usize::MAX, each };
        scan::read(&self.0.borrow().durable, named(name), limited).expect("a sound disk");
        record
    }

    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self.0.borrow().mood, Mood::Unreadable { .. })
    }

    /// Counts a read. True when it fails, see [`Mood::Unreadable`].
    pub(crate) fn is_read_failing(&self) -> bool {
        let state = &mut *self.0.borrow_mut();
        state.reads += 1;
        matches!(state.mood, Mood::Unreadable { every } if state.reads.is_multiple_of(every))
    }

    /// True while a commit is in progress.
    pub(crate) fn is_committing(&self) -> bool {
        self.0.borrow().staged.is_some()
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.0.borrow_mut().mood = mood;
    }

    /// Syncs the entries of the commit, and writes its header.
    pub(crate) fn write_header(&self) {
        let state = &mut *self.0.borrow_mut();
        state.sync();
        if let Some(staged) = &state.staged {
            state.cached.push(staged.header.clone());
        }
    }

    /// Syncs the header of the commit, which completes it.
    pub(crate) fn finish(&self) {
        let state = &mut *self.0.borrow_mut();
        state.sync();
        if let Some(staged) = state.staged.take() {
            state.committed = staged.tables;
        }
    }

    /// Ends the process. With `power_cut`, the power fails too, and any part of the unsynced writes remains.
    pub(crate) fn crash(&self, power_cut: Option<&mut Random>) {
        let state = &mut *self.0.borrow_mut();
        (state.staged, state.tails) = (None, Tails::default());
        if let Some(random) = power_cut {
            let per_mille = random.pick(&[0, 200, 500, 800, 1_000]);
            let mut survivors = std::mem::take(&mut state.cached);
            survivors.append(&mut state.forgotten);
            survivors.retain(|_| random.chance(per_mille));
            state.settle(survivors);
            // The next start does not see entries without a header.
            state.loose.clear();
            if !state.folder.cut_power(random) {
                state.durable = Tables::default();
            }
        }
        state.committed = state.shown();
    }

    /// The tables that the process sees.
    pub(crate) fn committed(&self) -> Tables {
        self.0.borrow().committed.clone()
    }

    /// The committed position of a consumer, as the process sees it.
    pub(crate) fn position(&self, consumer: &[u8], name: PartitionName<'_>) -> Option<Committed> {
        positions::find(&self.0.borrow().committed, consumer, name).expect("a sound disk")
    }

    /// The same on the platter.
    pub(crate) fn durable_position(&self, consumer: &[u8], name: PartitionName<'_>) -> Option<Committed> {
        positions::find(&self.0.borrow().durable, consumer, name).expect("a sound disk")
    }

    /// All committed positions.
    pub(crate) fn positions(&self) -> BTreeMap<(Vec<u8>, Name), Committed> {
        let mut all = BTreeMap::new();
        let each = &mut |consumer: &[u8], name: PartitionName, committed| {
            all.insert((consumer.to_vec(), (name.topic.to_vec(), name.producer.to_vec())), committed);
        };
        positions::list(&self.0.borrow().committed, None, None, u64::MAX, each).expect("a sound disk");
        all
    }

    pub(crate) fn durable_next(&self, name: PartitionName<'_>) -> u64 {
        let found = partitions::find(&self.0.borrow().durable, name).expect("a sound disk");
        found.map_or(0, |partition| partition.next)
    }

    /// The next offset of a partition, as the process sees it.
    pub(crate) fn committed_next(&self, name: PartitionName<'_>) -> u64 {
        let found = partitions::find(&self.0.borrow().committed, name).expect("a sound disk");
        found.map_or(0, |partition| partition.next)
    }
}

/// The name of a partition as the log uses it.
pub(crate) fn named((topic, producer): &Name) -> PartitionName<'_> {
    PartitionName { topic, producer }
}

impl Disk for SimDisk {
    /// Starts a commit. The result is final after [`SimDisk::finish`].
    fn append<P: AsRecords>(&self, batch: &Batch<P>) -> Result<(), AppendError> {
        let state = &mut *self.0.borrow_mut();
        let failed = |kind| Err(AppendError::Io { path: "simulated".into(), source: io::Error::from(kind) });
        if state.mood == Mood::Full {
            return failed(io::ErrorKind::StorageFull);
        }
        for run in batch.runs() {
            let found = partitions::find(&state.committed, run.name).expect("a sound disk");
            let is_beyond = found.is_some_and(|partition| {
                let found = partitions::has_records_beyond(&state.committed, partition.id, partition.next);
                found.expect("a sound disk")
            });
            assert!(!is_beyond, "there are records beyond the end of a partition");
        }
        let mut update = Transaction { tables: state.committed.clone(), changed: BTreeMap::new() };
        match write_batch(&mut update, batch, &mut state.tails) {
            Ok(()) => {}
            Err(WriteError::Refused(error)) => return Err(error),
            Err(WriteError::Engine(Damaged)) => panic!("the log writes what it does not understand"),
        }
        state.version += 1;
        let version = state.version;
        let mut tables = update.tables;
        let entries = vec![Block::Entry { version }; update.changed.len()];
        for ((table, key), value) in update.changed {
            tables.set(table, key, value.into());
        }
        let header = Block::Header { version, entries: entries.len(), tables: tables.clone() };
        state.cached.extend(entries);
        if state.mood == Mood::Unsure {
            state.sync();
            state.forgotten.push(header);
            state.committed = tables;
            return failed(io::ErrorKind::Other);
        }
        state.staged = Some(Staged { tables, header });
        Ok(())
    }

    fn sync(&self) -> Result<(), AppendError> {
        let failed = |source| AppendError::Io { path: "simulated".into(), source };
        self.put_headers().map_err(failed)
    }

    fn next(&self, name: PartitionName<'_>) -> Option<u64> {
        let found = partitions::find(&self.0.borrow().committed, name).expect("a sound disk");
        found.map(|partition| partition.next)
    }
}

/// The log as the store's reader uses it.
pub(crate) struct SimLog {
    pub(crate) disk: SimDisk,
    pub(crate) answer_len_bytes: usize,
}

impl Source for SimLog {
    type Error = Unread<Damaged>;

    fn heads(
        &self,
        subject: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachHead,
    ) -> Result<Option<Box<[u8]>>, Self::Error> {
        if self.disk.is_read_failing() {
            return Err(Unread::Engine(Damaged));
        }
        Ok(partitions::heads(&self.disk.committed(), subject, after, count, each)?)
    }

    fn positions(
        &self,
        name: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachPosition,
    ) -> Result<Option<Box<[u8]>>, Self::Error> {
        if self.disk.is_read_failing() {
            return Err(Unread::Engine(Damaged));
        }
        Ok(positions::list(&self.disk.committed(), name, after, count, each)?)
    }

    fn read(
        &self,
        partition: PartitionName,
        from: u64,
        max_count: u64,
        each: &mut dyn FnMut(u64, wire::batch::Record),
    ) -> Result<u64, Self::Error> {
        let each = &mut |offset, record: wire::batch::Record| {
            each(offset, record);
            true
        };
        // A read may fail after some records.
        let is_failing = self.disk.is_read_failing();
        let max_count = if is_failing { max_count / 2 } else { max_count };
        let limited = Limited { from, max_count, max_len_bytes: self.answer_len_bytes, each };
        let read = scan::read(&self.disk.committed(), partition, limited)?;
        if is_failing { Err(Unread::Engine(Damaged)) } else { Ok(read) }
    }

    fn read_batches(
        &self,
        partition: PartitionName,
        from: u64,
        max_count: u64,
        each: &mut dyn FnMut(u64, wire::batch::AnyBatch<&[u8]>) -> bool,
    ) -> Result<u64, Self::Error> {
        let each = &mut |stored: StoredBatch| each(stored.first_offset, stored.batch);
        let is_failing = self.disk.is_read_failing();
        let max_count = if is_failing { max_count / 2 } else { max_count };
        let limited = LimitedBatches { from, max_count, max_len_bytes: self.answer_len_bytes, each };
        let next = scan::read_batches(&self.disk.committed(), partition, limited)?;
        if is_failing { Err(Unread::Engine(Damaged)) } else { Ok(next) }
    }
}

/// The log as the store compares it with other stores.
pub(crate) struct SimHeld {
    disk: SimDisk,
    done: Option<Reading>,
}

impl SimHeld {
    pub(crate) fn new(disk: SimDisk) -> SimHeld {
        SimHeld { disk, done: None }
    }
}

impl Held for SimHeld {
    fn next(&self, name: PartitionName) -> u64 {
        if self.disk.is_read_failing() { 0 } else { self.disk.committed_next(name) }
    }

    fn begin(&mut self, mut reading: Reading) {
        if !self.disk.is_read_failing() {
            let name = reading.partition.clone();
            let (from, max_count) = (reading.from, reading.end - reading.from);
            let each = &mut |offset, record: wire::batch::Record| reading.take(offset, record.content);
            let limited = Limited { from, max_count, max_len_bytes: usize::MAX, each };
            scan::read(&self.disk.committed(), name.as_name(), limited).expect("a sound disk");
        }
        self.done = Some(reading);
    }

    fn poll(&mut self) -> Result<Option<Reading>, Ended> {
        Ok(self.done.take())
    }
}

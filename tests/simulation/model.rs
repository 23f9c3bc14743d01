//! The model: the true state of the cluster, with all published records and acknowledgements.

use super::groups::Group;
use dafka::wire::batch;
use std::collections::BTreeMap;

pub(crate) use super::run_of_records::{Content, Record, Run};

/// A partition's name: its subject, and the address of its producer.
pub(crate) type Name = (Vec<u8>, Vec<u8>);

/// One partition.
pub(crate) struct Partition {
    /// The offset of the first record that is published.
    pub(crate) first: u64,
    /// The published records, from `first` on. A named producer may have to wait before it sends the last ones.
    pub(crate) records: Vec<Record>,
    /// The producer has sent the records before this offset, or a HEAD for them.
    pub(crate) sent: u64,
    /// How many stores must have a record before its producer may drop it.
    pub(crate) min_stores: usize,
    /// RECORDs or ACKs of it were forged.
    pub(crate) is_forged: bool,
    /// HEADs of it were forged, live or direct.
    pub(crate) has_false_heads: bool,
    /// Whether the producer has neither crashed nor ended.
    pub(crate) is_alive: bool,
    /// The producer no longer keeps the records before this offset.
    pub(crate) forgotten: u64,
    /// The records before this offset were on enough disks at the same time, before some disks lost them.
    pub(crate) was_safe: u64,
    /// When the first record was published, by the clock of its producer's host. `i64::MAX` before that, and for the new partition of a producer that had a
    /// twin, whose records keep their timestamps.
    pub(crate) begun_ms: i64,
    /// The first record was published with a timestamp, and no node has sent it without the timestamp.
    pub(crate) is_stamped: bool,
}

impl Partition {
    /// The offset after the last record.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }
}

/// All partitions of the run, and all acknowledgements.
#[derive(Default)]
pub(crate) struct Model {
    /// The offset at which all partitions start.
    pub(crate) first_offset: u64,
    pub(crate) partitions: BTreeMap<Name, Partition>,
    /// By store and partition: the offset after the last acknowledged record.
    pub(crate) acknowledged: BTreeMap<(usize, Name), u64>,
    /// By partition: the offset after the last record that a store has reported in an ACK or a DIRECT-HEAD.
    pub(crate) held: BTreeMap<Name, u64>,
    /// By address of a consumer: its name.
    pub(crate) names: BTreeMap<Vec<u8>, Vec<u8>>,
    /// By name of a consumer and partition: the highest offset of which a commit was sent.
    pub(crate) committed: BTreeMap<Vec<u8>, BTreeMap<Name, u64>>,
    /// The number of published records.
    pub(crate) published: u64,
    /// A store of 0.1.0 may have removed the attributes of records.
    pub(crate) may_lack_attributes: bool,
    /// The group of consumers, in some runs.
    pub(crate) group: Option<Group>,
}

impl Model {
    pub(crate) fn add_partition(&mut self, name: Name, min_stores: usize) {
        let first = self.first_offset;
        let partition = Partition {
            first,
            records: Vec::new(),
            sent: first,
            min_stores,
            is_forged: false,
            has_false_heads: false,
            is_alive: true,
            forgotten: first,
            was_safe: first,
            begun_ms: i64::MAX,
            is_stamped: false,
        };
        self.partitions.insert(name, partition);
    }

    /// Makes the next record of a partition. Its content names the producer and the offset. `now_ms` is the time, and
    /// `None` for a producer of 0.1.0, which sets no attributes. Otherwise some records have a key, and neighbours may
    /// have different timestamps.
    pub(crate) fn publish(&mut self, name: &Name, len_bytes: usize, now_ms: Option<i64>) -> Record {
        let partition = self.partitions.get_mut(name).expect("a partition of the model");
        let mut content = format!("{}/{}/", name.1.escape_ascii(), partition.records.len()).into_bytes();
        let filler = partition.records.len() as u8;
        if len_bytes < content.len() {
            // Records may be short or empty.
            content.truncate(len_bytes);
        }
        content.resize(len_bytes, filler);
        let mut record = Record::from(Content::from(content));
        if partition.records.is_empty() {
            partition.begun_ms = now_ms.unwrap_or(i64::MIN);
            partition.is_stamped = now_ms.is_some();
        }
        if let Some(now_ms) = now_ms {
            // The program may set timestamps of its own.
            record.timestamp_ms = Some(now_ms - partition.records.len() as i64 / 3 % 4);
            record.key = (partition.records.len() % 16 >= 13).then(|| vec![filler; len_bytes % 3].into());
        }
        partition.records.push(record.clone());
        self.published += 1;
        record
    }

    /// Whether a consumer that subscribed at `since_ms` can know that a partition began later. In runs with large
    /// offsets, no node has the first record.
    pub(crate) fn is_new(&self, name: &Name, since_ms: i64) -> bool {
        let partition = self.partitions.get(name);
        partition.is_some_and(|partition| partition.is_stamped && partition.begun_ms >= since_ms)
            && self.first_offset == 0
            && !self.is_end_doubtful(name)
    }

    /// Whether a record is late enough for a seek to the time `since_ms`.
    fn is_late(record: &Record, since_ms: i64) -> bool {
        record.timestamp_ms.is_none_or(|timestamp_ms| timestamp_ms >= since_ms)
    }

    /// Whether a consumer may start at this record after a seek to the time `since_ms`: it is late enough, and the record
    /// before it is not. In this model, neighbours may have different timestamps, so there may be several such records.
    pub(crate) fn is_first_since(&self, name: &Name, offset: u64, since_ms: i64) -> bool {
        let Some(partition) = self.partitions.get(name).filter(|partition| offset < partition.end()) else {
            return false;
        };
        let record = |offset: u64| &partition.records[(offset - partition.first) as usize];
        (self.may_lack_attributes || Model::is_late(record(offset), since_ms))
            && (offset == partition.first || !Model::is_late(record(offset - 1), since_ms))
    }

    /// Whether a partition has a record that is late enough for a seek to the time `since_ms`, and is before `end`.
    pub(crate) fn has_since(&self, name: &Name, end: u64, since_ms: i64) -> bool {
        let partition = &self.partitions[name];
        let known = partition.records.iter().take((end - partition.first) as usize);
        known.into_iter().any(|record| Model::is_late(record, since_ms))
    }

    /// Whether this record was published at this offset, with these attributes.
    pub(crate) fn is_right(
        &self,
        subject: &[u8],
        address: &[u8],
        offset: u64,
        record: batch::Record,
    ) -> bool {
        // There are few partitions: making a key for the lookup would take longer.
        let mut partitions = self.partitions.iter();
        let found = partitions.find(|(name, _)| name.1 == address && name.0 == subject);
        if found.is_some_and(|(_, partition)| partition.is_forged) {
            return true;
        }
        let published = found.and_then(|(_, partition)| {
            partition.records.get(usize::try_from(offset.checked_sub(partition.first)?).ok()?)
        });
        let may_lack_attributes = self.may_lack_attributes && record.attributes().is_empty();
        published.is_some_and(|published| {
            let published = published.as_stored();
            let is_same = std::ptr::eq(published.content.as_ptr(), record.content.as_ptr());
            (is_same || published.content == record.content)
                && (may_lack_attributes || published.attributes() == record.attributes())
        })
    }

    /// A producer has sent the records before `end`, or a HEAD for them.
    pub(crate) fn send(&mut self, name: &Name, end: u64) {
        if let Some(partition) = self.partitions.get_mut(name) {
            partition.sent = end.max(partition.sent);
        }
    }

    pub(crate) fn acknowledge(&mut self, store: usize, name: Name, end: u64) {
        self.hold(name.clone(), end);
        let known = self.acknowledged.entry((store, name)).or_insert(0);
        *known = end.max(*known);
    }

    /// A store reports that it has the records before `end`.
    pub(crate) fn hold(&mut self, name: Name, end: u64) {
        let known = self.held.entry(name).or_insert(0);
        *known = end.max(*known);
    }

    /// A consumer with this name sends a commit.
    pub(crate) fn commit(&mut self, consumer: &[u8], name: Name, next: u64) {
        let known = self.committed.entry(consumer.to_vec()).or_default().entry(name).or_insert(0);
        *known = next.max(*known);
    }

    /// A store's disk has fewer records than before. From now on, it must have only the acknowledged records before
    /// `end_of` each partition.
    pub(crate) fn roll_back(&mut self, store: usize, end_of: impl Fn(&Name) -> u64) {
        for ((_, name), end) in self.acknowledged.iter_mut().filter(|((of, _), _)| *of == store) {
            *end = end_of(name).min(*end);
        }
    }

    /// Marks a partition with forged RECORDs or ACKs. The partition may be made up.
    pub(crate) fn forge(&mut self, name: Name) {
        if !self.partitions.contains_key(&name) {
            self.add_partition(name.clone(), 1);
            self.partitions.entry(name.clone()).and_modify(|partition| partition.is_alive = false);
        }
        self.partitions.entry(name).and_modify(|partition| partition.is_forged = true);
    }

    /// Marks a partition with forged HEADs.
    pub(crate) fn forge_head(&mut self, name: Name) {
        self.partitions.entry(name).and_modify(|partition| partition.has_false_heads = true);
    }

    /// Whether forged messages may have changed the record at which a consumer of new records starts.
    pub(crate) fn is_end_doubtful(&self, name: &Name) -> bool {
        self.partitions.get(name).is_some_and(|partition| partition.is_forged || partition.has_false_heads)
    }

    pub(crate) fn is_forged(&self, name: &Name) -> bool {
        self.partitions.get(name).is_some_and(|partition| partition.is_forged)
    }
}

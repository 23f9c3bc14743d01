//! A payload of one or more records, for tests of the state machines.

use dafka::protocol::Payload;
use dafka::protocol::store::reader::Stored;
use dafka::storage::{AsRecords, Records};
use dafka::wire::batch::{
    self, AnyBatch, Attributes, Batch, BatchBuilder, CompressedBatch, Compression, Compressor,
};
use std::ops::Range;
use std::sync::Arc;

/// A record's content.
pub(crate) type Content = Arc<[u8]>;

/// A record, without headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) content: Content,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<Content>,
}

impl Record {
    pub(crate) fn as_stored(&self) -> batch::Record<'_> {
        let Record { content, timestamp_ms, key } = self;
        batch::Record { timestamp_ms: *timestamp_ms, key: key.as_deref(), ..batch::Record::from(&**content) }
    }
}

impl From<Content> for Record {
    fn from(content: Content) -> Record {
        Record { content, timestamp_ms: None, key: None }
    }
}

impl From<batch::Record<'_>> for Record {
    fn from(record: batch::Record) -> Record {
        let (content, key) = (record.content.into(), record.key.map(Content::from));
        Record { content, timestamp_ms: record.timestamp_ms, key }
    }
}

/// One or more consecutive records, which one message carries. The first frame of the message has the offset of the
/// first record.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    records: Arc<[Record]>,
    /// The batch of all records. `None` if there is only one, and it has no key.
    batch: Option<Arc<Batch<Vec<u8>>>>,
    /// The same batch compressed, if its producer compresses.
    compressed: Option<Arc<CompressedBatch<Vec<u8>>>>,
    range: Range<usize>,
}

impl From<Vec<Content>> for Run {
    fn from(contents: Vec<Content>) -> Run {
        Run::from(contents.into_iter().map(Record::from).collect::<Vec<_>>())
    }
}

impl From<Vec<Record>> for Run {
    /// As a producer does, gives the batch a timestamp. The records with another timestamp have their own.
    fn from(records: Vec<Record>) -> Run {
        let timestamp_ms = records.first().and_then(|record| record.timestamp_ms);
        let is_plain = |record: &Record| record.key.is_none() && record.timestamp_ms == timestamp_ms;
        let are_plain = records.iter().all(is_plain);
        let batch = (records.len() > 1 || !are_plain).then(|| {
            let mut builder = BatchBuilder::new(Vec::new());
            for record in &records {
                let own_ms = record.timestamp_ms.filter(|_| record.timestamp_ms != timestamp_ms);
                let attributes = Attributes { timestamp_ms: own_ms, ..record.as_stored().attributes() };
                let pushed = match are_plain {
                    true => builder.push(&record.content),
                    false => builder.push_with(&attributes, &record.content),
                };
                pushed.expect("short records");
            }
            builder.set_timestamp_ms(timestamp_ms);
            Arc::new(builder.finish(Vec::new()).expect("there are records"))
        });
        Run { range: 0..records.len(), records: records.into(), batch, compressed: None }
    }
}

impl Run {
    fn of_plain<B: AsRef<[u8]>>(batch: &Batch<B>) -> Run {
        Run::from(batch.records().map(Record::from).collect::<Vec<_>>())
    }

    /// The same records as a producer sends them that compresses its batches, if that makes them shorter.
    #[allow(dead_code)] // Only the simulation compresses.
    pub(crate) fn compressed(self) -> Run {
        let batch = self.batch.as_ref();
        let compressed =
            batch.and_then(|batch| Compressor::new(Compression::Lz4).compress(batch)).map(Arc::new);
        Run { compressed, ..self }
    }

    /// The records.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records[self.range.clone()]
    }

    /// The content of each record.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &[u8]> {
        self.records().iter().map(|record| &*record.content)
    }
}

impl Payload for Run {
    fn share(&mut self) -> Run {
        self.clone()
    }

    fn len_bytes(&self) -> usize {
        self.contents().map(<[u8]>::len).sum()
    }

    fn for_each_content(&self, each: impl FnMut(&[u8])) {
        self.contents().for_each(each);
    }

    fn for_each_key(&self, mut each: impl FnMut(&[u8])) {
        self.records().iter().for_each(|record| each(record.key.as_deref().unwrap_or_default()));
    }

    fn record_count(&self) -> u64 {
        self.range.len() as u64
    }

    fn timestamp_ms(&self, number: u64) -> Option<i64> {
        self.records().get(number as usize)?.timestamp_ms
    }

    /// A single record is sent without a batch.
    fn is_batch(&self) -> bool {
        self.range.len() > 1
    }

    fn split_at(self, count: u64) -> (Run, Run) {
        let Run { records, batch, range, .. } = self;
        let middle = range.start + count as usize;
        assert!(range.start < middle && middle < range.end, "{count} of {range:?}");
        let part = |range| Run { records: records.clone(), batch: batch.clone(), compressed: None, range };
        (part(range.start..middle), part(middle..range.end))
    }
}

impl Stored for Run {
    fn of_record(record: batch::Record) -> Run {
        Run::from(vec![Record::from(record)])
    }

    fn of_batch(batch: AnyBatch<&[u8]>) -> Run {
        match batch {
            AnyBatch::Plain(batch) => Run::of_plain(&batch),
            AnyBatch::Compressed(compressed) => {
                let batch = compressed.unpack(Vec::new()).expect("it was compressed by a producer");
                let compressed = Some(Arc::new(compressed.map(<[u8]>::to_vec)));
                Run { compressed, ..Run::of_plain(&batch) }
            }
        }
    }
}

impl AsRecords for Run {
    fn as_records(&self) -> Records<'_> {
        match (&self.compressed, &self.batch) {
            (Some(compressed), _) => Records::Compressed(compressed.borrowed()),
            (None, Some(batch)) => Records::Of(batch.borrowed(), self.range.clone()),
            (None, None) => {
                let record = &self.records[self.range.start];
                Records::One(&record.content, record.timestamp_ms)
            }
        }
    }
}

//! A payload of one or more records, for tests of the state machines.

use dafka::protocol::Payload;
use dafka::protocol::store::reader::Stored;
use dafka::storage::{AsRecords, Records};
use dafka::wire::batch::{AnyBatch, Batch, BatchBuilder, CompressedBatch, Compression, Compressor};
use std::ops::Range;
use std::sync::Arc;

/// A record's content.
pub(crate) type Content = Arc<[u8]>;

/// The contents of one or more consecutive records, which one message carries. The first frame of the message has the
/// offset of the first record.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    contents: Arc<[Content]>,
    /// The batch of all contents. `None` if there is only one.
    batch: Option<Arc<Batch<Vec<u8>>>>,
    /// The same batch compressed, if its producer compresses.
    compressed: Option<Arc<CompressedBatch<Vec<u8>>>>,
    range: Range<usize>,
}

impl From<Vec<Content>> for Run {
    fn from(contents: Vec<Content>) -> Run {
        let batch = (contents.len() > 1).then(|| {
            let mut builder = BatchBuilder::new(Vec::new());
            contents.iter().for_each(|content| builder.push(content).expect("short records"));
            Arc::new(builder.finish(Vec::new()).expect("there are records"))
        });
        Run { range: 0..contents.len(), contents: contents.into(), batch, compressed: None }
    }
}

impl Run {
    fn of_plain<B: AsRef<[u8]>>(batch: &Batch<B>) -> Run {
        Run::from(batch.records().map(|record| record.content.into()).collect::<Vec<Content>>())
    }

    /// The same records as a producer sends them that compresses its batches, if that makes them shorter.
    #[allow(dead_code)] // Only the simulation compresses.
    pub(crate) fn compressed(self) -> Run {
        let batch = self.batch.as_ref();
        let compressed =
            batch.and_then(|batch| Compressor::new(Compression::Lz4).compress(batch)).map(Arc::new);
        Run { compressed, ..self }
    }

    /// The content of each record.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &[u8]> {
        self.contents[self.range.clone()].iter().map(|content| &**content)
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

    fn record_count(&self) -> u64 {
        self.range.len() as u64
    }

    /// A single record is sent without a batch.
    fn is_batch(&self) -> bool {
        self.range.len() > 1
    }

    fn split_at(self, count: u64) -> (Run, Run) {
        let Run { contents, batch, range, .. } = self;
        let middle = range.start + count as usize;
        assert!(range.start < middle && middle < range.end, "{count} of {range:?}");
        let part = |range| Run { contents: contents.clone(), batch: batch.clone(), compressed: None, range };
        (part(range.start..middle), part(middle..range.end))
    }
}

impl Stored for Run {
    fn of_record(content: &[u8]) -> Run {
        Run::from(vec![Content::from(content)])
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
            (None, None) => Records::One(&self.contents[self.range.start]),
        }
    }
}

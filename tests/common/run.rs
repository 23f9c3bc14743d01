//! A payload of one or more records, for tests of the state machines.

use dafka::protocol::Payload;
use std::ops::Range;
use std::sync::Arc;

/// A record's content.
pub(crate) type Content = Arc<[u8]>;

/// The contents of one or more consecutive records, which one message carries. The frame of the message has the offset
/// of the first record.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    contents: Arc<[Content]>,
    range: Range<usize>,
}

impl From<Vec<Content>> for Run {
    fn from(contents: Vec<Content>) -> Run {
        Run { range: 0..contents.len(), contents: contents.into() }
    }
}

impl Payload for Run {
    fn share(&mut self) -> Run {
        self.clone()
    }

    fn len_bytes(&self) -> usize {
        self.contents().map(<[u8]>::len).sum()
    }

    fn contents(&self) -> impl Iterator<Item = &[u8]> {
        self.contents[self.range.clone()].iter().map(|content| &**content)
    }

    fn record_count(&self) -> u64 {
        self.range.len() as u64
    }

    fn split_at(self, count: u64) -> (Run, Run) {
        let Run { contents, range } = self;
        let middle = range.start + count as usize;
        assert!(range.start < middle && middle < range.end, "{count} of {range:?}");
        let first = Run { contents: contents.clone(), range: range.start..middle };
        (first, Run { contents, range: middle..range.end })
    }
}

/// The content of a run of one record, as the log takes it.
impl AsRef<[u8]> for Run {
    fn as_ref(&self) -> &[u8] {
        assert_eq!(self.range.len(), 1, "one record");
        &self.contents[self.range.start]
    }
}

//! Tells the log of partitions that were refused.

use crate::protocol::ingest::Statistics;

/// What was refused so far for want of room, as far as the log was told.
#[derive(Default)]
pub(super) struct Refused(Statistics);

impl Refused {
    /// A line for the log, if there is news. `done` is what the node does with a partition: "read" or "stored".
    pub(super) fn news(&mut self, now: Statistics, done: &str) -> Option<String> {
        let before = std::mem::replace(&mut self.0, now);
        if now.refused_of_peer > before.refused_of_peer {
            return Some(format!(
                "too many partitions of one peer; new ones of it are {done} as soon as others give way"
            ));
        }
        (now.refused > before.refused).then(|| format!("too many partitions; new ones are not {done}"))
    }
}

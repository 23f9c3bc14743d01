//! What an application must see: judges each delivery against the model.

use super::model::{Model, Name};
use dafka::protocol::consumer::Start;
use std::collections::BTreeMap;

/// What one run of a consumer was handed.
pub(crate) struct Oracle {
    pub(crate) start: Start,
    /// By partition: the offset that must come next.
    pub(crate) next: BTreeMap<Name, u64>,
    topics: Vec<Vec<u8>>,
    pub(crate) delivered: u64,
}

impl Oracle {
    pub(crate) fn new(start: Start) -> Oracle {
        Oracle { start, next: BTreeMap::new(), topics: Vec::new(), delivered: 0 }
    }

    pub(crate) fn subscribe(&mut self, topic: &[u8]) {
        self.topics.push(topic.to_vec());
    }

    /// The application no longer wants a topic; should it want it again, that begins anew.
    pub(crate) fn unsubscribe(&mut self, topic: &[u8]) {
        self.topics.retain(|known| known != topic);
        self.next.retain(|name, _| name.0 != topic);
    }

    pub(crate) fn is_subscribed(&self, topic: &[u8]) -> bool {
        self.topics.iter().any(|known| known == topic)
    }

    /// Judges a delivery.
    pub(crate) fn deliver(
        &mut self,
        model: &Model,
        subject: &[u8],
        address: &[u8],
        offset: u64,
        content: &[u8],
    ) -> Result<(), String> {
        let at = || format!("record {offset} of {} {}", subject.escape_ascii(), address.escape_ascii());
        if !self.is_subscribed(subject) {
            return Err(format!("{} was delivered without a subscription", at()));
        }
        let name = (subject.to_vec(), address.to_vec());
        let first = if self.start == Start::Earliest { Some(0) } else { None };
        match self.next.get(&name).copied().or(first) {
            Some(next) if next != offset => {
                return Err(format!("{} was delivered where {next} comes next", at()));
            }
            _ => {}
        }
        if !model.is_right(subject, address, offset, content) {
            return Err(format!("{} was delivered with another content", at()));
        }
        self.next.insert(name, offset + 1);
        self.delivered += 1;
        Ok(())
    }
}

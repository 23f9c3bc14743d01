//! The messages that a state machine publishes, in order. The outbox is reused: once it has grown, messages without
//! content need no allocation.

use super::Payload;
use crate::wire::{Message, PositionTemplate};

/// Messages to publish: each has a first frame and perhaps a content frame.
pub struct Outbox<P> {
    octets: Vec<u8>,
    messages: Vec<Outgoing<P>>,
}

struct Outgoing<P> {
    /// Where the first frame ends in `octets`. The frame begins where the previous message's frame ends.
    end: usize,
    content: Option<P>,
}

impl<P> Outbox<P> {
    /// An empty outbox.
    pub fn new() -> Outbox<P> {
        Outbox { octets: Vec::new(), messages: Vec::new() }
    }

    /// Adds a message without content.
    pub fn message(&mut self, message: &Message) {
        // This fails only if a name is too long. Only a hostile peer sends a name that is too long, and it gets no
        // response.
        if message.encode(&mut self.octets).is_ok() {
            self.messages.push(Outgoing { end: self.octets.len(), content: None });
        }
    }

    /// Adds a message with content. `frame` is its encoded first frame.
    pub fn record(&mut self, frame: &[u8], content: P) {
        self.octets.extend_from_slice(frame);
        self.messages.push(Outgoing { end: self.octets.len(), content: Some(content) });
    }

    /// Adds one message for each record of a run. `template` is the template of the messages. `first` is the offset of
    /// the first record.
    pub fn singles(&mut self, template: &mut PositionTemplate, mut first: u64, run: P)
    where
        P: Payload,
    {
        let mut rest = Some(run.unpack());
        while let (Some(record), others) = rest.map_or((None, None), |run| run.split(1)) {
            self.record(template.frame(first), record);
            (first, rest) = (first + 1, others);
        }
    }

    /// Adds a message without content. `frame` is its encoded first frame.
    pub fn frame(&mut self, frame: &[u8]) {
        self.octets.extend_from_slice(frame);
        self.messages.push(Outgoing { end: self.octets.len(), content: None });
    }

    /// True when there is no message to publish.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Passes every message to `each`, in order, and empties the outbox.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8], Option<P>)) {
        let mut start = 0;
        for Outgoing { end, content } in self.messages.drain(..) {
            each(&self.octets[start..end], content);
            start = end;
        }
        self.octets.clear();
    }
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        Outbox::new()
    }
}

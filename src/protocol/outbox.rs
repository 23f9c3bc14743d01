//! The messages that a state machine wants published, in order. Reused from call to call: no allocation per
//! message once it has grown.

use crate::wire::Message;

/// Messages to publish, each a first frame and perhaps a content frame.
pub struct Outbox<P> {
    octets: Vec<u8>,
    messages: Vec<Outgoing<P>>,
}

struct Outgoing<P> {
    /// Where the first frame ends in `octets`; it starts where the one before ends.
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
        // A name that does not fit can only come from a hostile subscription: nobody to answer.
        if message.encode(&mut self.octets).is_ok() {
            self.messages.push(Outgoing { end: self.octets.len(), content: None });
        }
    }

    /// Adds a message whose first frame is encoded already, with its content.
    pub fn record(&mut self, frame: &[u8], content: P) {
        self.octets.extend_from_slice(frame);
        self.messages.push(Outgoing { end: self.octets.len(), content: Some(content) });
    }

    /// Adds a message without content whose first frame is encoded already.
    pub fn frame(&mut self, frame: &[u8]) {
        self.octets.extend_from_slice(frame);
        self.messages.push(Outgoing { end: self.octets.len(), content: None });
    }

    /// True when there is nothing to publish.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Hands out every message in order and empties the outbox.
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

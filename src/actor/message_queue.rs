//! A queue of received messages in compact memory.

use super::received::{Content, Received};
use crate::net::{Frame, Origin};
use std::collections::VecDeque;

/// The longest frame that the queue copies. libzmq (4.3) allocates separate memory for each longer frame.
const MAX_COPIED_LEN: usize = 8 << 10;
/// The size of a chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// The memory that a copied message takes in the queue besides its bytes.
pub(super) const OVERHEAD_BYTES: usize = 2 * size_of::<Entry>();
/// The same for a message that is not copied.
const UNCOPIED_BYTES: usize = 256;

/// A first-in, first-out queue.
#[derive(Default)]
pub(super) struct MessageQueue {
    entries: VecDeque<Entry>,
    chunks: VecDeque<Vec<u8>>,
    /// How many bytes of the first chunk were popped.
    taken_len: usize,
    occupied_bytes: usize,
}

/// A message. The bytes of a copied one are in a chunk.
enum Entry {
    Whole(Box<Received>),
    Copied { origin: Origin, frame_len: u16, content: CopiedContent },
}

/// The frames after the first one.
#[derive(Clone, Copy)]
enum CopiedContent {
    None,
    TooMuch,
    One { len: u16 },
}

impl MessageQueue {
    /// The number of messages.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory that the messages occupy.
    pub(super) fn occupied_bytes(&self) -> usize {
        self.occupied_bytes
    }

    /// Appends a message.
    pub(super) fn push(&mut self, received: Received) {
        self.occupied_bytes += cost_bytes(&received);
        let entry = match is_copied(&received) {
            false => Entry::Whole(Box::new(received.into_own_memory())),
            true => self.copy(&received),
        };
        self.entries.push_back(entry);
    }

    fn copy(&mut self, received: &Received) -> Entry {
        let (frame, content) = (received.frame.as_ref(), received.content.bytes());
        let len = frame.len() + content.len();
        if self.chunks.back().is_none_or(|chunk| chunk.capacity() - chunk.len() < len) {
            self.chunks.push_back(Vec::with_capacity(CHUNK_BYTES));
        }
        let chunk = self.chunks.back_mut().expect("there is one now");
        chunk.extend_from_slice(frame);
        chunk.extend_from_slice(content);
        let content = match received.content {
            Content::None => CopiedContent::None,
            Content::TooMuch => CopiedContent::TooMuch,
            Content::One(_) => CopiedContent::One { len: content.len() as u16 },
        };
        Entry::Copied { origin: received.origin, frame_len: frame.len() as u16, content }
    }

    /// Removes the first message.
    pub(super) fn pop(&mut self) -> Option<Received> {
        let received = match self.entries.pop_front()? {
            Entry::Whole(received) => *received,
            Entry::Copied { origin, frame_len, content } => {
                let frame = Frame::copy(self.take(frame_len));
                let content = match content {
                    CopiedContent::None => Content::None,
                    CopiedContent::TooMuch => Content::TooMuch,
                    CopiedContent::One { len } => Content::One(Frame::copy(self.take(len))),
                };
                Received { frame, content, origin, is_own: true }
            }
        };
        self.occupied_bytes -= cost_bytes(&received);
        if self.entries.is_empty() {
            // Frees the memory of a queue that was long.
            *self = MessageQueue::default();
        }
        Some(received)
    }

    /// The next `len` bytes of the chunks.
    fn take(&mut self, len: u16) -> &[u8] {
        if self.chunks.front().is_some_and(|chunk| chunk.len() == self.taken_len) {
            self.chunks.pop_front();
            self.taken_len = 0;
        }
        let start = self.taken_len;
        self.taken_len += usize::from(len);
        self.chunks.front().map_or(&[], |chunk| &chunk[start..self.taken_len])
    }
}

fn cost_bytes(received: &Received) -> usize {
    let overhead_bytes = if is_copied(received) { OVERHEAD_BYTES } else { UNCOPIED_BYTES };
    overhead_bytes + received.len_bytes()
}

fn is_copied(received: &Received) -> bool {
    [received.frame.as_ref(), received.content.bytes()].iter().all(|bytes| bytes.len() <= MAX_COPIED_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize, content: Content) -> Received {
        let frame = Frame::copy(&number.to_be_bytes()[..number % 9]);
        Received { origin: frame.origin(), frame, content, is_own: true }
    }

    fn content(number: usize) -> Content {
        match number % 5 {
            0 => Content::None,
            1 => Content::TooMuch,
            2 => Content::One(Frame::new()),
            3 => Content::One(Frame::copy(&vec![number as u8; number % MAX_COPIED_LEN])),
            _ => Content::One(Frame::copy(&vec![number as u8; number % 100 + MAX_COPIED_LEN - 50])),
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut queue = MessageQueue::default();
        let (mut pushed, mut popped) = (0, 0);
        // The queue is empty at times, and long at others.
        for (push, pop) in [(1, 1), (1_000, 10), (5, 900), (2_000, 2_095)] {
            for number in pushed..pushed + push {
                queue.push(message(number, content(number)));
            }
            pushed += push;
            for number in popped..popped + pop {
                let (received, expected) = (queue.pop().unwrap(), message(number, content(number)));
                assert_eq!(received.frame.as_ref(), expected.frame.as_ref());
                assert_eq!(received.content.bytes(), expected.content.bytes());
                assert_eq!(received.content.is_one(), expected.content.is_one());
                assert_eq!(received.content.is_none(), expected.content.is_none());
            }
            popped += pop;
            assert_eq!(queue.len(), pushed - popped);
        }
        assert!(queue.pop().is_none());
        assert_eq!((queue.occupied_bytes(), queue.chunks.len(), queue.entries.capacity()), (0, 0, 0));
    }
}

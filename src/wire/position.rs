//! Where a record stands, and the frames that say nothing else.

use super::cursor::{Reader, Writer};
use super::{DecodeError, EncodeError, MAX_NAME_LEN, Message, id};
use crate::partition_name::PartitionName;
use std::fmt;
use std::ptr;

/// Where a record stands: what RECORD, DIRECT-RECORD, HEAD and DIRECT-HEAD have in common.
#[derive(Clone, Copy)]
pub struct Position<'a> {
    /// The ZeroMQ topic of the first frame: the topic's name in RECORD and HEAD, the requester's address in
    /// DIRECT-RECORD and DIRECT-HEAD.
    pub topic: &'a [u8],
    /// The partition: the address of the producer that numbered the record.
    pub address: &'a [u8],
    /// The topic's name.
    pub subject: &'a [u8],
    /// The record's offset in its partition: 0 for the first.
    pub sequence: u64,
    /// The address and subject strings as they stand in the frame that this was decoded from.
    encoded: Option<&'a [u8]>,
}

impl<'a> Position<'a> {
    /// A position to be sent. Names that the protocol cannot carry are found when it is encoded.
    pub fn new(topic: &'a [u8], address: &'a [u8], subject: &'a [u8], sequence: u64) -> Self {
        Self { topic, address, subject, sequence, encoded: None }
    }

    /// The partition.
    pub fn partition(&self) -> PartitionName<'a> {
        PartitionName { topic: self.subject, producer: self.address }
    }

    /// The partition's key in a hash table, when this was decoded from a frame: the octets of its address and
    /// subject strings, lengths included, back to back. They lie so in the frame, so that finding a partition
    /// by them needs neither a copy nor two lookups. [`partition_key`] makes the same octets from names.
    ///
    /// `None` when this was made by [`new`](Self::new), or when the address or the subject was replaced
    /// since.
    pub fn key(&self) -> Option<&'a [u8]> {
        let key = self.encoded?;
        // The fields are public, so the key must prove that it still belongs to them. Comparing where the
        // slices lie costs next to nothing.
        let (address, subject) = key.get(1..)?.split_at_checked(self.address.len())?;
        let same = ptr::eq(address, self.address) && ptr::eq(subject.get(1..)?, self.subject);
        same.then_some(key)
    }

    pub(super) fn read(topic: &'a [u8], fields: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let strings = fields.rest();
        let address = fields.string("address")?;
        let subject = fields.string("subject")?;
        let encoded = strings.get(..strings.len() - fields.rest().len());
        let sequence = fields.number_8("sequence")?;
        Ok(Self { topic, address, subject, sequence, encoded })
    }

    pub(super) fn write(&self, fields: &mut Writer) -> Result<(), EncodeError> {
        fields.string("address", self.address)?;
        fields.string("subject", self.subject)?;
        // PositionTemplate relies on the sequence being last.
        fields.number_8(self.sequence);
        Ok(())
    }
}

/// Equal when they say the same, whether decoded or made.
impl PartialEq for Position<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
            && self.address == other.address
            && self.subject == other.subject
            && self.topic == other.topic
    }
}

impl Eq for Position<'_> {}

impl fmt::Debug for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Position")
            .field("topic", &format_args!("\"{}\"", self.topic.escape_ascii()))
            .field("address", &format_args!("\"{}\"", self.address.escape_ascii()))
            .field("subject", &format_args!("\"{}\"", self.subject.escape_ascii()))
            .field("sequence", &self.sequence)
            .finish()
    }
}

/// The key of a partition, octet for octet what [`Position::key`] gives for the same names.
///
/// No frame can carry names of more than [`MAX_NAME_LEN`] octets, so no key exists for them: the caller has
/// checked that. (Here they are cut, so that a mistake cannot make keys that are not well formed.)
pub fn partition_key(name: PartitionName) -> Vec<u8> {
    let PartitionName { topic, producer } = name;
    let mut key = Vec::with_capacity(2 + producer.len() + topic.len());
    for name in [producer, topic] {
        debug_assert!(name.len() <= MAX_NAME_LEN, "a name of {} octets has no key", name.len());
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        key.push(len);
        key.extend_from_slice(&name[..usize::from(len)]);
    }
    key
}

/// The first frame of one partition's RECORDs (or HEADs, or DIRECT- ones to one requester), ready but for the
/// sequence. Publishing encodes a frame for each record, of which only the last eight octets ever change.
#[derive(Clone, Debug)]
pub struct PositionTemplate {
    frame: Vec<u8>,
}

impl PositionTemplate {
    /// A template for the message with this id: RECORD, DIRECT-RECORD, HEAD or DIRECT-HEAD.
    pub fn new(id: u8, topic: &[u8], address: &[u8], subject: &[u8]) -> Result<Self, EncodeError> {
        let position = Position::new(topic, address, subject, 0);
        let message = match id {
            id::RECORD => Message::Record(position),
            id::DIRECT_RECORD => Message::DirectRecord(position),
            id::HEAD => Message::Head(position),
            id::DIRECT_HEAD => Message::DirectHead { position, store: b"" },
            _ => return Err(EncodeError::NotAPosition(id)),
        };
        let mut frame = Vec::new();
        message.encode(&mut frame)?;
        Ok(Self { frame })
    }

    /// The whole first frame for this sequence.
    pub fn frame(&mut self, sequence: u64) -> &[u8] {
        if let Some(field) = self.frame.last_chunk_mut() {
            *field = sequence.to_be_bytes();
        }
        &self.frame
    }
}

//! The position of a record: the fields that RECORD, DIRECT-RECORD, HEAD and DIRECT-HEAD have in common.

use super::cursor::{Reader, Writer};
use super::{DecodeError, EncodeError, MAX_NAME_LEN, Message, id};
use crate::partition_name::PartitionName;
use std::fmt;
use std::ptr;

/// The position of a record in RECORD, DIRECT-RECORD, HEAD and DIRECT-HEAD. In RECORDS and DIRECT-RECORDS, it is the
/// position of the batch's first record.
#[derive(Clone, Copy)]
pub struct Position<'a> {
    /// The ZeroMQ topic of the first frame. In RECORD, RECORDS and HEAD it is the topic's name. In DIRECT-RECORD,
    /// DIRECT-RECORDS and DIRECT-HEAD it is the address of the requester.
    pub topic: &'a [u8],
    /// The address of the record's producer, which names the partition within the topic.
    pub address: &'a [u8],
    /// The topic's name.
    pub subject: &'a [u8],
    /// The offset of the record in its partition; 0 for the first one.
    pub sequence: u64,
    /// The `string`s of address and subject in the frame from which this position was decoded.
    encoded: Option<&'a [u8]>,
}

impl<'a> Position<'a> {
    /// A position to send. Its names are checked when it is encoded.
    pub fn new(topic: &'a [u8], address: &'a [u8], subject: &'a [u8], sequence: u64) -> Self {
        Self { topic, address, subject, sequence, encoded: None }
    }

    /// The partition.
    pub fn partition(&self) -> PartitionName<'a> {
        PartitionName { topic: self.subject, producer: self.address }
    }

    /// The key of the partition in hash tables: the `string`s of address and subject, including their lengths. These
    /// octets are adjacent in the frame, so that a lookup needs no copy. [`partition_key`] makes the same key from
    /// names.
    ///
    /// `None` when this position was made by [`new`](Self::new), or when the address or the subject was replaced.
    pub fn key(&self) -> Option<&'a [u8]> {
        let key = self.encoded?;
        // The fields are public, so the key may no longer match them. Comparing pointers and lengths detects that, and
        // costs almost nothing.
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
        // PositionTemplate relies on the sequence being the last field.
        fields.number_8(self.sequence);
        Ok(())
    }
}

/// Compares the public fields. `encoded` does not count, because it depends on how the position was made.
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

/// The key of a partition. [`Position::key`] returns the same octets for the same names.
///
/// The caller ensures that the names have at most [`MAX_NAME_LEN`] octets, as in every frame. Longer names are cut
/// here, so that a mistake cannot make a malformed key.
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

/// The first frame of one kind of message about one partition, complete except for the sequence. (A DIRECT message also
/// has one requester.) The frames of different records differ only in the last eight octets, so a template makes
/// publishing faster.
#[derive(Clone, Debug)]
pub struct PositionTemplate {
    frame: Vec<u8>,
}

impl PositionTemplate {
    /// A template for the message with this id. The message must carry a [`Position`].
    pub fn new(id: u8, topic: &[u8], address: &[u8], subject: &[u8]) -> Result<Self, EncodeError> {
        let position = Position::new(topic, address, subject, 0);
        let message = match id {
            id::RECORD => Message::Record(position),
            id::DIRECT_RECORD => Message::DirectRecord(position),
            id::RECORDS => Message::Records(position),
            id::DIRECT_RECORDS => Message::DirectRecords(position),
            id::HEAD => Message::Head(position),
            id::DIRECT_HEAD => Message::DirectHead { position, store: b"" },
            _ => return Err(EncodeError::NotAPosition(id)),
        };
        let mut frame = Vec::new();
        message.encode(&mut frame)?;
        Ok(Self { frame })
    }

    /// The first frame for this sequence.
    pub fn frame(&mut self, sequence: u64) -> &[u8] {
        if let Some(field) = self.frame.last_chunk_mut() {
            *field = sequence.to_be_bytes();
        }
        &self.frame
    }
}

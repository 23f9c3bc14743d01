//! The nine messages that nodes publish, and their first frame.

use super::cursor::{Reader, Writer};
use super::{DecodeError, EncodeError, Position, Subjects, VERSION, id};
use crate::partition_name::PartitionName;

/// A message, without the content frame that follows a RECORD or DIRECT-RECORD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// RECORD: a producer's record, to whoever subscribed to the topic. A content frame follows.
    Record(Position<'a>),
    /// DIRECT-RECORD: one of the records that a node asked for with FETCH. A content frame follows.
    DirectRecord(Position<'a>),
    /// HEAD: the last sequence of a partition, from its producer to whoever subscribed to the topic.
    Head(Position<'a>),
    /// DIRECT-HEAD: the last sequence of a partition, to the node that sent GET-HEADS or CONSUMER-HELLO.
    DirectHead {
        /// The last record that is there.
        position: Position<'a>,
        /// Which store has it, by the name of its ACKs. Empty when it does not say: a producer, or libdafka 0.1.0, which
        /// ignores this field.
        store: &'a [u8],
    },
    /// FETCH: asks for records of one partition, as DIRECT-RECORDs in ascending order.
    Fetch {
        /// The partition: the address of its producer.
        topic: &'a [u8],
        /// The requester, who gets the DIRECT-RECORDs.
        address: &'a [u8],
        /// The topic's name.
        subject: &'a [u8],
        /// The first record that is asked for.
        sequence: u64,
        /// How many records are asked for.
        count: u32,
        /// The one store that is asked, by the name in its DIRECT-HEADs: others need not answer. Empty: every store is.
        /// Producers answer in any case with what they keep, and so do stores of libdafka 0.1.0, which ignore this field.
        store: &'a [u8],
    },
    /// ACK: a store has durably stored the partition from its first record to this one.
    Ack {
        /// The producer, and so the partition.
        topic: &'a [u8],
        /// The topic's name.
        subject: &'a [u8],
        /// The last record that is stored.
        sequence: u64,
        /// Which store that is, by a name that survives its restarts. Empty in ACKs of libdafka 0.1.0, whose stores do
        /// not say; they ignore this field, which comes after all that they know.
        store: &'a [u8],
    },
    /// GET-HEADS: asks stores and producers for the DIRECT-HEADs of a topic's partitions.
    GetHeads {
        /// The topic's name; empty for all topics.
        topic: &'a [u8],
        /// The requester, who gets the DIRECT-HEADs.
        address: &'a [u8],
    },
    /// CONSUMER-HELLO: a consumer tells a store what it wants the DIRECT-HEADs of.
    ConsumerHello {
        /// The store's reader.
        topic: &'a [u8],
        /// The consumer, who gets the DIRECT-HEADs.
        address: &'a [u8],
        /// The topics' names.
        subjects: Subjects<'a>,
    },
    /// STORE-HELLO: a store greets a consumer, who answers with CONSUMER-HELLO.
    StoreHello {
        /// The consumer.
        topic: &'a [u8],
        /// The store's reader.
        address: &'a [u8],
    },
}

impl<'a> Message<'a> {
    /// Reads a message's first frame.
    ///
    /// Octets after the last known field are ignored: a later revision may add fields there.
    pub fn decode(frame: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        let (&id, octets) = frame.split_first().ok_or(DecodeError::Empty)?;
        let mut fields = Reader::new(name_of(id).ok_or(DecodeError::UnknownId(id))?, octets);
        let topic = fields.topic()?;
        match fields.number_1("version")? {
            VERSION => {}
            version => return Err(DecodeError::Version(version)),
        }
        Ok(match id {
            id::RECORD => Message::Record(Position::read(topic, &mut fields)?),
            id::DIRECT_RECORD => Message::DirectRecord(Position::read(topic, &mut fields)?),
            id::HEAD => Message::Head(Position::read(topic, &mut fields)?),
            id::DIRECT_HEAD => Message::DirectHead {
                position: Position::read(topic, &mut fields)?,
                store: fields.extension(),
            },
            // A struct's fields are evaluated in the order in which they are written: that of the wire.
            id::FETCH => Message::Fetch {
                topic,
                address: fields.string("address")?,
                subject: fields.string("subject")?,
                sequence: fields.number_8("sequence")?,
                count: fields.number_4("count")?,
                store: fields.extension(),
            },
            id::ACK => Message::Ack {
                topic,
                subject: fields.string("subject")?,
                sequence: fields.number_8("sequence")?,
                store: fields.extension(),
            },
            id::GET_HEADS => Message::GetHeads { topic, address: fields.string("address")? },
            id::CONSUMER_HELLO => Message::ConsumerHello {
                topic,
                address: fields.string("address")?,
                subjects: Subjects::read(&mut fields)?,
            },
            id::STORE_HELLO => Message::StoreHello { topic, address: fields.string("address")? },
            _ => return Err(DecodeError::UnknownId(id)),
        })
    }

    /// Appends the message's first frame to `out`. On an error `out` is as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        let written = self.write(&mut Writer::new(self.name(), out));
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn write(&self, fields: &mut Writer) -> Result<(), EncodeError> {
        fields.number_1(self.id());
        fields.topic(self.topic())?;
        fields.number_1(VERSION);
        match *self {
            Message::Record(position) | Message::DirectRecord(position) | Message::Head(position) => {
                position.write(fields)?;
            }
            Message::DirectHead { position, store } => {
                position.write(fields)?;
                fields.extension(store)?;
            }
            Message::Fetch { topic: _, address, subject, sequence, count, store } => {
                fields.string("address", address)?;
                fields.string("subject", subject)?;
                fields.number_8(sequence);
                fields.number_4(count);
                fields.extension(store)?;
            }
            Message::Ack { topic: _, subject, sequence, store } => {
                fields.string("subject", subject)?;
                fields.number_8(sequence);
                fields.extension(store)?;
            }
            Message::ConsumerHello { topic: _, address, subjects } => {
                fields.string("address", address)?;
                subjects.write(fields);
            }
            Message::GetHeads { topic: _, address } | Message::StoreHello { topic: _, address } => {
                fields.string("address", address)?;
            }
        }
        Ok(())
    }

    /// The first octet of the frame: one of [`id`].
    pub fn id(&self) -> u8 {
        match self {
            Message::Record(_) => id::RECORD,
            Message::DirectRecord(_) => id::DIRECT_RECORD,
            Message::Head(_) => id::HEAD,
            Message::DirectHead { .. } => id::DIRECT_HEAD,
            Message::Fetch { .. } => id::FETCH,
            Message::Ack { .. } => id::ACK,
            Message::GetHeads { .. } => id::GET_HEADS,
            Message::ConsumerHello { .. } => id::CONSUMER_HELLO,
            Message::StoreHello { .. } => id::STORE_HELLO,
        }
    }

    /// The ZeroMQ topic of the first frame; what it means depends on the message.
    pub fn topic(&self) -> &'a [u8] {
        match *self {
            Message::Record(position)
            | Message::DirectRecord(position)
            | Message::Head(position)
            | Message::DirectHead { position, .. } => position.topic,
            Message::Fetch { topic, .. }
            | Message::Ack { topic, .. }
            | Message::GetHeads { topic, .. }
            | Message::ConsumerHello { topic, .. }
            | Message::StoreHello { topic, .. } => topic,
        }
    }

    /// The partition that the message is about; `None` when it is about no single partition.
    pub fn partition(&self) -> Option<PartitionName<'a>> {
        match *self {
            Message::Record(position)
            | Message::DirectRecord(position)
            | Message::Head(position)
            | Message::DirectHead { position, .. } => Some(position.partition()),
            Message::Fetch { topic: producer, subject: topic, .. }
            | Message::Ack { topic: producer, subject: topic, .. } => Some(PartitionName { topic, producer }),
            Message::GetHeads { .. } | Message::ConsumerHello { .. } | Message::StoreHello { .. } => None,
        }
    }

    /// The message's name in RFC 46/DAFKA.
    pub fn name(&self) -> &'static str {
        name_of(self.id()).unwrap_or_default()
    }

    /// Whether a content frame follows the first one.
    pub fn has_content(&self) -> bool {
        matches!(self, Message::Record(_) | Message::DirectRecord(_))
    }
}

/// The name in RFC 46/DAFKA of the message with this id.
fn name_of(id: u8) -> Option<&'static str> {
    Some(match id {
        id::RECORD => "RECORD",
        id::DIRECT_RECORD => "DIRECT-RECORD",
        id::FETCH => "FETCH",
        id::ACK => "ACK",
        id::HEAD => "HEAD",
        id::DIRECT_HEAD => "DIRECT-HEAD",
        id::GET_HEADS => "GET-HEADS",
        id::CONSUMER_HELLO => "CONSUMER-HELLO",
        id::STORE_HELLO => "STORE-HELLO",
        _ => return None,
    })
}

//! The messages, and how their first frame is encoded.

use super::cursor::{Reader, Writer};
use super::{DecodeError, EncodeError, Position, Subjects, VERSION, id};
use crate::committed::Committed;
use crate::partition_name::PartitionName;

/// The flag of FETCH for [`Message::Fetch::takes_batches`](Message::Fetch). The other flags have no meaning yet.
const TAKES_BATCHES: u8 = 1;
/// The flags of MEMBER. The other ones have no meaning yet.
const IS_LEAVING: u8 = 1;
const IS_LISTENING: u8 = 2;

/// A message, without its content frame. Only some messages have one, see [`Message::has_content`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// RECORD: a record from its producer to all subscribers of the topic. A content frame follows.
    Record(Position<'a>),
    /// DIRECT-RECORD: a record that a node has requested with FETCH. A content frame follows.
    DirectRecord(Position<'a>),
    /// RECORDS: consecutive records from their producer to all subscribers of the topic. The position is that of the
    /// first record. A content frame follows, which is a [`batch`](super::batch).
    Records(Position<'a>),
    /// DIRECT-RECORDS: consecutive records that a node has requested with FETCH. Position and content are as in
    /// RECORDS.
    DirectRecords(Position<'a>),
    /// HEAD: the last sequence of a partition, from its producer to all subscribers of the topic.
    Head(Position<'a>),
    /// DIRECT-HEAD: the last sequence of a partition, to the node that sent GET-HEADS or CONSUMER-HELLO.
    DirectHead {
        /// The last record of the partition.
        position: Position<'a>,
        /// The name of the store that has the record, the same as in its ACKs. Empty in messages of producers and of
        /// libdafka 0.1.0, which ignores this field.
        store: &'a [u8],
    },
    /// FETCH: requests records of one partition. The responses are DIRECT-RECORD or DIRECT-RECORDS messages, in
    /// ascending order of their records.
    Fetch {
        /// The partition: the address of its producer.
        topic: &'a [u8],
        /// The requester. It receives the responses.
        address: &'a [u8],
        /// The topic's name.
        subject: &'a [u8],
        /// The first requested record.
        sequence: u64,
        /// The number of requested records.
        count: u32,
        /// The name of the store that should respond, the same as in its DIRECT-HEADs. Empty: every store should
        /// respond. Producers ignore this field and send the records that they still have. Stores of libdafka 0.1.0
        /// ignore it too.
        store: &'a [u8],
        /// Whether the requester takes DIRECT-RECORDS. Nodes of libdafka 0.1.0 ignore this field, and send
        /// DIRECT-RECORDs.
        takes_batches: bool,
    },
    /// ACK: a store has stored the partition from its first record to this one.
    Ack {
        /// The producer, and so the partition.
        topic: &'a [u8],
        /// The topic's name.
        subject: &'a [u8],
        /// The last stored record.
        sequence: u64,
        /// The name of the store, which survives its restarts. Empty in ACKs of libdafka 0.1.0, whose nodes ignore this
        /// field.
        store: &'a [u8],
    },
    /// GET-HEADS: requests the heads of a topic's partitions from stores and producers, as DIRECT-HEADs.
    GetHeads {
        /// The topic's name; empty for all topics.
        topic: &'a [u8],
        /// The requester. It receives the DIRECT-HEADs.
        address: &'a [u8],
    },
    /// CONSUMER-HELLO: a consumer requests the heads of all partitions of some topics from a store, as DIRECT-HEADs.
    ConsumerHello {
        /// The address of the store's reader.
        topic: &'a [u8],
        /// The address of the consumer. It receives the DIRECT-HEADs.
        address: &'a [u8],
        /// The topics' names.
        subjects: Subjects<'a>,
    },
    /// STORE-HELLO: a store introduces itself to a consumer, which responds with CONSUMER-HELLO.
    StoreHello {
        /// The address of the consumer.
        topic: &'a [u8],
        /// The address of the store's reader.
        address: &'a [u8],
    },
    /// COMMIT: a consumer with a name has processed the records of a partition up to, not including, this position.
    Commit {
        /// The name of the consumer is the ZeroMQ topic. The sequence is the record to read next.
        position: Position<'a>,
        /// When the consumer made the commit, in milliseconds since the Unix epoch.
        timestamp_ms: u64,
        /// The address of the consumer. It receives a COMMIT-ACK when a store has the commit.
        requester: &'a [u8],
    },
    /// COMMIT-ACK: a store has this commit, or a later one for the same name and partition, on disk.
    CommitAck {
        /// The address of the consumer is the ZeroMQ topic. The sequence is the record to read next.
        position: Position<'a>,
        /// See [`Message::Commit`].
        timestamp_ms: u64,
        /// The name of the store.
        store: &'a [u8],
    },
    /// POSITION: the response to GET-POSITIONS. A store has this commit. Without partition, it ends the response.
    Position {
        /// The address of the node that gets the message is the ZeroMQ topic. The sequence is the record to read next.
        position: Position<'a>,
        /// See [`Message::Commit`].
        timestamp_ms: u64,
        /// The name of the consumer.
        name: &'a [u8],
        /// The name of the store.
        store: &'a [u8],
    },
    /// GET-POSITIONS: requests the committed positions of one consumer, as POSITIONs.
    GetPositions {
        /// The name of the consumer; empty for all consumers.
        topic: &'a [u8],
        /// The requester. It receives the POSITIONs.
        address: &'a [u8],
    },
    /// MEMBER: a member of a group announces itself to the other members.
    Member {
        /// The name of the group, and how its members share records, see
        /// [`GroupBy::group_name`](crate::slots::GroupBy::group_name).
        topic: &'a [u8],
        /// The address of the member.
        address: &'a [u8],
        /// A hash of the addresses of all members that this member knows, including its own.
        view: u64,
        /// The slots that this member holds, one bit each.
        held: u64,
        /// Whether the member leaves the group.
        is_leaving: bool,
        /// Whether the member is new, and does not handle records yet.
        is_listening: bool,
    },
}

impl<'a> Message<'a> {
    /// Decodes the first frame of a message. Octets after the last known field are ignored.
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
            id::RECORDS => Message::Records(Position::read(topic, &mut fields)?),
            id::DIRECT_RECORDS => Message::DirectRecords(Position::read(topic, &mut fields)?),
            id::HEAD => Message::Head(Position::read(topic, &mut fields)?),
            id::DIRECT_HEAD => Message::DirectHead {
                position: Position::read(topic, &mut fields)?,
                store: fields.extension(),
            },
            // Rust evaluates these fields in the order in which they are written here, which is their order on the
            // wire.
            id::FETCH => Message::Fetch {
                topic,
                address: fields.string("address")?,
                subject: fields.string("subject")?,
                sequence: fields.number_8("sequence")?,
                count: fields.number_4("count")?,
                store: fields.extension(),
                takes_batches: fields.flags() & TAKES_BATCHES != 0,
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
            id::COMMIT => Message::Commit {
                position: Position::read(topic, &mut fields)?,
                timestamp_ms: fields.number_8("timestamp")?,
                requester: fields.string("requester")?,
            },
            id::COMMIT_ACK => Message::CommitAck {
                position: Position::read(topic, &mut fields)?,
                timestamp_ms: fields.number_8("timestamp")?,
                store: fields.string("store")?,
            },
            id::POSITION => Message::Position {
                position: Position::read(topic, &mut fields)?,
                timestamp_ms: fields.number_8("timestamp")?,
                name: fields.string("name")?,
                store: fields.string("store")?,
            },
            id::GET_POSITIONS => Message::GetPositions { topic, address: fields.string("address")? },
            id::MEMBER => {
                let (address, view) = (fields.string("address")?, fields.number_8("view")?);
                let (held, flags) = (fields.number_8("held")?, fields.number_1("flags")?);
                let (is_leaving, is_listening) = (flags & IS_LEAVING != 0, flags & IS_LISTENING != 0);
                Message::Member { topic, address, view, held, is_leaving, is_listening }
            }
            _ => return Err(DecodeError::UnknownId(id)),
        })
    }

    /// Appends the first frame of the message to `out`. After an error, `out` is unchanged.
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
            Message::Record(position)
            | Message::DirectRecord(position)
            | Message::Records(position)
            | Message::DirectRecords(position)
            | Message::Head(position) => {
                position.write(fields)?;
            }
            Message::DirectHead { position, store } => {
                position.write(fields)?;
                fields.extension(store)?;
            }
            Message::Fetch { topic: _, address, subject, sequence, count, store, takes_batches } => {
                fields.string("address", address)?;
                fields.string("subject", subject)?;
                fields.number_8(sequence);
                fields.number_4(count);
                if takes_batches {
                    // The flags follow the store's name, so an empty name must be written too.
                    fields.string("extension", store)?;
                    fields.number_1(TAKES_BATCHES);
                } else {
                    fields.extension(store)?;
                }
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
            Message::GetHeads { topic: _, address }
            | Message::StoreHello { topic: _, address }
            | Message::GetPositions { topic: _, address } => {
                fields.string("address", address)?;
            }
            Message::Commit { position, timestamp_ms, requester } => {
                position.write(fields)?;
                fields.number_8(timestamp_ms);
                fields.string("requester", requester)?;
            }
            Message::CommitAck { position, timestamp_ms, store } => {
                position.write(fields)?;
                fields.number_8(timestamp_ms);
                fields.string("store", store)?;
            }
            Message::Position { position, timestamp_ms, name, store } => {
                position.write(fields)?;
                fields.number_8(timestamp_ms);
                fields.string("name", name)?;
                fields.string("store", store)?;
            }
            Message::Member { topic: _, address, view, held, is_leaving, is_listening } => {
                fields.string("address", address)?;
                fields.number_8(view);
                fields.number_8(held);
                fields.number_1(u8::from(is_leaving) * IS_LEAVING + u8::from(is_listening) * IS_LISTENING);
            }
        }
        Ok(())
    }

    /// The message's id, the first octet of the frame: one of [`id`].
    pub fn id(&self) -> u8 {
        match self {
            Message::Record(_) => id::RECORD,
            Message::DirectRecord(_) => id::DIRECT_RECORD,
            Message::Records(_) => id::RECORDS,
            Message::DirectRecords(_) => id::DIRECT_RECORDS,
            Message::Head(_) => id::HEAD,
            Message::DirectHead { .. } => id::DIRECT_HEAD,
            Message::Fetch { .. } => id::FETCH,
            Message::Ack { .. } => id::ACK,
            Message::GetHeads { .. } => id::GET_HEADS,
            Message::ConsumerHello { .. } => id::CONSUMER_HELLO,
            Message::StoreHello { .. } => id::STORE_HELLO,
            Message::Commit { .. } => id::COMMIT,
            Message::CommitAck { .. } => id::COMMIT_ACK,
            Message::Position { .. } => id::POSITION,
            Message::GetPositions { .. } => id::GET_POSITIONS,
            Message::Member { .. } => id::MEMBER,
        }
    }

    /// The ZeroMQ topic of the first frame. Its meaning depends on the message.
    pub fn topic(&self) -> &'a [u8] {
        match *self {
            Message::Record(position)
            | Message::DirectRecord(position)
            | Message::Records(position)
            | Message::DirectRecords(position)
            | Message::Head(position)
            | Message::DirectHead { position, .. }
            | Message::Commit { position, .. }
            | Message::CommitAck { position, .. }
            | Message::Position { position, .. } => position.topic,
            Message::Fetch { topic, .. }
            | Message::Ack { topic, .. }
            | Message::GetHeads { topic, .. }
            | Message::ConsumerHello { topic, .. }
            | Message::StoreHello { topic, .. }
            | Message::GetPositions { topic, .. }
            | Message::Member { topic, .. } => topic,
        }
    }

    /// The partition that the message is about; `None` when it is about no single partition.
    pub fn partition(&self) -> Option<PartitionName<'a>> {
        match *self {
            Message::Record(position)
            | Message::DirectRecord(position)
            | Message::Records(position)
            | Message::DirectRecords(position)
            | Message::Head(position)
            | Message::DirectHead { position, .. }
            | Message::Commit { position, .. }
            | Message::CommitAck { position, .. }
            | Message::Position { position, .. } => Some(position.partition()),
            Message::Fetch { topic: producer, subject: topic, .. }
            | Message::Ack { topic: producer, subject: topic, .. } => Some(PartitionName { topic, producer }),
            Message::GetHeads { .. }
            | Message::ConsumerHello { .. }
            | Message::StoreHello { .. }
            | Message::GetPositions { .. }
            | Message::Member { .. } => None,
        }
    }

    /// The commit that a COMMIT, a COMMIT-ACK or a POSITION contains.
    pub fn committed(&self) -> Option<Committed> {
        match *self {
            Message::Commit { position, timestamp_ms, .. }
            | Message::CommitAck { position, timestamp_ms, .. }
            | Message::Position { position, timestamp_ms, .. } => {
                Some(Committed { timestamp_ms, next: position.sequence })
            }
            _ => None,
        }
    }

    /// The name of the message. For a message of libdafka 0.1.0, it is the name in RFC 46/DAFKA.
    pub fn name(&self) -> &'static str {
        name_of(self.id()).unwrap_or_default()
    }

    /// Whether a content frame follows the first one.
    pub fn has_content(&self) -> bool {
        match self {
            Message::Record(_)
            | Message::DirectRecord(_)
            | Message::Records(_)
            | Message::DirectRecords(_) => true,
            Message::Head(_)
            | Message::DirectHead { .. }
            | Message::Fetch { .. }
            | Message::Ack { .. }
            | Message::GetHeads { .. }
            | Message::ConsumerHello { .. }
            | Message::StoreHello { .. }
            | Message::Commit { .. }
            | Message::CommitAck { .. }
            | Message::Position { .. }
            | Message::GetPositions { .. }
            | Message::Member { .. } => false,
        }
    }
}

/// The name of the message with this id.
fn name_of(id: u8) -> Option<&'static str> {
    Some(match id {
        id::RECORD => "RECORD",
        id::DIRECT_RECORD => "DIRECT-RECORD",
        id::RECORDS => "RECORDS",
        id::DIRECT_RECORDS => "DIRECT-RECORDS",
        id::FETCH => "FETCH",
        id::ACK => "ACK",
        id::HEAD => "HEAD",
        id::DIRECT_HEAD => "DIRECT-HEAD",
        id::GET_HEADS => "GET-HEADS",
        id::CONSUMER_HELLO => "CONSUMER-HELLO",
        id::STORE_HELLO => "STORE-HELLO",
        id::COMMIT => "COMMIT",
        id::COMMIT_ACK => "COMMIT-ACK",
        id::POSITION => "POSITION",
        id::GET_POSITIONS => "GET-POSITIONS",
        id::MEMBER => "MEMBER",
        _ => return None,
    })
}

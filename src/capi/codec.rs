//! The object behind class `dafka_proto`: one protocol message of libdafka 0.1.0, with its fields in C's types. It
//! converts the message to and from frames.
//!
//! [`wire`](crate::wire) decides what is valid on the wire.

use super::boundary::{Outcome, socket_of, wait_for_input};
use super::zlist::ZList;
use crate::czmq::{owned::ZFrame, sys::zsock_t};
use crate::net::{Frame, Kind, Socket};
use crate::wire::{DecodeError, MAX_NAME_LEN, Message, Position, SubjectsBuf, Subscription, id};
use std::ffi::{CStr, CString, c_char, c_int};

/// A protocol message: its id, its ZeroMQ topic, and all fields that any message may have. The id determines which
/// fields are sent.
#[allow(non_camel_case_types)]
#[derive(Default)]
pub struct dafka_proto_t {
    pub(super) routing_id: ZFrame,
    pub(super) id: u8,
    pub(super) is_subscribe: bool,
    pub(super) topic: Name,
    pub(super) address: Name,
    pub(super) subject: Name,
    pub(super) sequence: u64,
    pub(super) count: u32,
    pub(super) content: Frame,
    pub(super) subjects: ZList,
}

/// The result of `dafka_proto_recv`.
pub(super) enum Received {
    Message,
    /// A signal came, or the socket's timeout has passed.
    Nothing,
    /// The received frames are not a message. They were dropped.
    Malformed(String),
}

/// A NUL-terminated string of at most 255 bytes.
pub(super) struct Name(CString);

impl Name {
    /// The bytes before the first NUL, but at most 255 bytes.
    pub(super) fn new(bytes: &[u8]) -> Name {
        let len = bytes.iter().take(MAX_NAME_LEN).take_while(|&&byte| byte != 0).count();
        Name(CString::new(&bytes[..len]).expect("cut before the first NUL"))
    }

    pub(super) fn as_c(&self) -> *const c_char {
        self.0.as_ptr()
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        &self.0
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Default for Name {
    fn default() -> Name {
        Name::new(b"")
    }
}

/// Which fields a message has besides its topic, in their order on the wire.
pub(super) struct Fields {
    pub(super) id: u8,
    /// The name of the C constant without `DAFKA_PROTO_`.
    pub(super) name: &'static CStr,
    pub(super) address: bool,
    pub(super) subject: bool,
    pub(super) sequence: bool,
    pub(super) count: bool,
    pub(super) subjects: bool,
    pub(super) content: bool,
}

const NO_FIELDS: Fields = Fields {
    id: 0,
    name: c"?",
    address: false,
    subject: false,
    sequence: false,
    count: false,
    subjects: false,
    content: false,
};

const POSITION: Fields = Fields { address: true, subject: true, sequence: true, ..NO_FIELDS };

pub(super) const MESSAGES: [Fields; 9] = [
    Fields { id: id::RECORD, name: c"RECORD", content: true, ..POSITION },
    Fields { id: id::DIRECT_RECORD, name: c"DIRECT_RECORD", content: true, ..POSITION },
    Fields { id: id::FETCH, name: c"FETCH", count: true, ..POSITION },
    Fields { id: id::ACK, name: c"ACK", address: false, ..POSITION },
    Fields { id: id::HEAD, name: c"HEAD", ..POSITION },
    Fields { id: id::DIRECT_HEAD, name: c"DIRECT_HEAD", ..POSITION },
    Fields { id: id::GET_HEADS, name: c"GET_HEADS", address: true, ..NO_FIELDS },
    Fields { id: id::CONSUMER_HELLO, name: c"CONSUMER_HELLO", address: true, subjects: true, ..NO_FIELDS },
    Fields { id: id::STORE_HELLO, name: c"STORE_HELLO", address: true, ..NO_FIELDS },
];

pub(super) fn fields(id: u8) -> Option<&'static Fields> {
    MESSAGES.iter().find(|fields| fields.id == id)
}

impl dafka_proto_t {
    /// The message's name; "?" when no message has this id.
    pub(super) fn command(&self) -> &'static CStr {
        fields(self.id).unwrap_or(&NO_FIELDS).name
    }

    pub(super) fn duplicate(&mut self) -> Outcome<dafka_proto_t> {
        let subjects = match self.subjects.as_c().is_null() {
            true => ZList::default(),
            false => ZList::new(self.subjects.strings().iter().map(CString::as_c_str))?,
        };
        Ok(dafka_proto_t {
            // SAFETY: NULL or live.
            routing_id: unsafe { ZFrame::copy(self.routing_id.as_c()) },
            id: self.id,
            is_subscribe: self.is_subscribe,
            topic: Name::new(self.topic.bytes()),
            address: Name::new(self.address.bytes()),
            subject: Name::new(self.subject.bytes()),
            sequence: self.sequence,
            count: self.count,
            // Copied and not shared, because the caller of dafka_proto_content may write to the zmq_msg_t.
            content: Frame::try_copy(self.content.as_ref()).ok_or("out of memory")?,
            subjects,
        })
    }

    /// The message's first frame.
    pub(super) fn encode(&self) -> Outcome<Vec<u8>> {
        let (topic, address, subject) = (self.topic.bytes(), self.address.bytes(), self.subject.bytes());
        let (sequence, count) = (self.sequence, self.count);
        let position = Position::new(topic, address, subject, sequence);
        let mut subjects = SubjectsBuf::new();
        let message = match self.id {
            id::RECORD => Message::Record(position),
            id::DIRECT_RECORD => Message::DirectRecord(position),
            id::HEAD => Message::Head(position),
            id::DIRECT_HEAD => Message::DirectHead { position, store: &[] },
            id::FETCH => {
                let (store, takes_batches): (&[u8], _) = (&[], false);
                Message::Fetch { topic, address, subject, sequence, count, store, takes_batches }
            }
            id::ACK => Message::Ack { topic, subject, sequence, store: &[] },
            id::GET_HEADS => Message::GetHeads { topic, address },
            id::STORE_HELLO => Message::StoreHello { topic, address },
            id::CONSUMER_HELLO => {
                for subject in self.subjects.strings() {
                    subjects.push(subject.as_bytes()).map_err(|error| error.to_string())?;
                }
                Message::ConsumerHello { topic, address, subjects: subjects.as_subjects() }
            }
            other => return Err(format!("no message has the id 0x{other:02X}").into()),
        };
        let mut frame = Vec::new();
        message.encode(&mut frame).map_err(|error| error.to_string())?;
        Ok(frame)
    }

    /// Sends the message. If the socket is a ROUTER, first sends the message's routing id, which selects the peer.
    pub(super) fn send(&mut self, output: &Socket) -> Outcome<()> {
        let sent = |result: zmq::Result<()>| result.map_err(|error| format!("cannot send: {error}"));
        let frame = self.encode()?;
        if is(output, Kind::ROUTER) {
            let routing_id = self.routing_id.content().ok_or("a ROUTER needs the message's routing id")?;
            sent(output.send(&mut Frame::copy(routing_id), true))?;
        }
        let has_content = fields(self.id).is_some_and(|fields| fields.content);
        sent(output.send(&mut Frame::copy(&frame), has_content))?;
        if has_content {
            sent(output.send(&mut self.content.share(), false))?;
        }
        Ok(())
    }

    /// Reads one message, or a subscription from an XPUB. Malformed input changes only the routing id.
    ///
    /// # Safety
    /// `input` is NULL or a live socket.
    pub(super) unsafe fn recv(&mut self, input: *mut zsock_t) -> Outcome<Received> {
        // SAFETY: the caller's promise.
        let input = unsafe { socket_of(input, "socket") }?;
        if !wait_for_input(&input, &|| None)? {
            return Ok(Received::Nothing);
        }
        let mut frame = Frame::new();
        if input.recv(&mut frame).is_err() {
            return Ok(Received::Nothing);
        }
        let malformed = |last: &Frame, why: String| {
            input.skip_rest(last);
            Ok(Received::Malformed(why))
        };
        if is(&input, Kind::ROUTER) {
            self.routing_id = ZFrame::new(frame.as_ref());
            // The frames of a message arrive together, so reading the next one does not wait.
            if !frame.more() || input.recv_more(&mut frame).is_err() {
                return Ok(Received::Malformed("no frame follows the routing id".into()));
            }
        }
        if is(&input, Kind::XPUB) {
            let Some(subscription) = Subscription::decode(frame.as_ref()) else {
                return malformed(&frame, "not a subscription to a message".into());
            };
            if subscription.topic.len() > MAX_NAME_LEN {
                return malformed(&frame, "a subscription to a topic of more than 255 bytes".into());
            }
            self.is_subscribe = subscription.subscribe;
            self.id = subscription.id;
            self.topic = Name::new(subscription.topic);
            input.skip_rest(&frame);
            return Ok(Received::Message);
        }
        let message = match decode(frame.as_ref()) {
            Ok(message) => message,
            Err(error) => {
                return malformed(&frame, error.to_string());
            }
        };
        let mut content = Frame::new();
        if message.has_content() && (!frame.more() || input.recv_more(&mut content).is_err()) {
            return Ok(Received::Malformed(format!("{} without a content frame", message.name())));
        }
        let last = if message.has_content() { &content } else { &frame };
        if last.more() {
            return malformed(last, format!("{} with more frames than it has", message.name()));
        }
        self.set_message(&message)?;
        self.content = content;
        Ok(Received::Message)
    }

    /// Replaces all fields with those of `message`. Fields that `message` does not have become empty or 0.
    fn set_message(&mut self, message: &Message) -> Outcome<()> {
        let none: &[u8] = &[];
        let (mut address, mut subject, mut sequence, mut count) = (none, none, 0, 0);
        let mut subjects = ZList::default();
        match *message {
            Message::Record(position)
            | Message::DirectRecord(position)
            | Message::Records(position)
            | Message::DirectRecords(position)
            | Message::Head(position)
            | Message::DirectHead { position, store: _ } => {
                (address, subject, sequence) = (position.address, position.subject, position.sequence);
            }
            Message::Fetch {
                topic: _,
                address: from,
                subject: of,
                sequence: first,
                count: wanted,
                store: _,
                takes_batches: _,
            } => {
                (address, subject, sequence, count) = (from, of, first, wanted);
            }
            Message::Commit { .. }
            | Message::CommitAck { .. }
            | Message::Position { .. }
            | Message::GetPositions { .. }
            | Message::Member { .. } => {
                unreachable!("decode refuses the message, because 0.1.0 does not have it")
            }
            Message::Ack { topic: _, subject: of, sequence: last, store: _ } => {
                (subject, sequence) = (of, last)
            }
            Message::GetHeads { topic: _, address: from }
            | Message::StoreHello { topic: _, address: from } => {
                address = from;
            }
            Message::ConsumerHello { topic: _, address: from, subjects: wanted } => {
                address = from;
                let names: Vec<Name> = wanted.iter().map(Name::new).collect();
                subjects = ZList::new(names.iter().map(Name::as_c_str))?;
            }
        }
        self.id = message.id();
        self.topic = Name::new(message.topic());
        (self.address, self.subject) = (Name::new(address), Name::new(subject));
        (self.sequence, self.count, self.subjects) = (sequence, count, subjects);
        Ok(())
    }
}

/// Decodes the first frame of a message. The class exposes only the messages of libdafka 0.1.0. It has neither
/// constants nor fields for newer messages, so their ids are unknown here, as in 0.1.0.
fn decode(frame: &[u8]) -> Result<Message<'_>, DecodeError> {
    match frame.first() {
        Some(&id) if fields(id).is_none() => Err(DecodeError::UnknownId(id)),
        _ => Message::decode(frame),
    }
}

/// Subscribes to all messages with this id whose topic begins with `topic`, or unsubscribes from them.
pub(super) fn set_subscription(sub: &Socket, id: u8, topic: &[u8], subscribe: bool) -> Outcome<()> {
    let prefix = crate::wire::prefix(id, topic);
    let set = if subscribe { sub.zmq().set_subscribe(&prefix) } else { sub.zmq().set_unsubscribe(&prefix) };
    set.map_err(|error| format!("the socket does not accept subscriptions: {error}").into())
}

fn is(socket: &Socket, kind: Kind) -> bool {
    socket.zmq().get_socket_type() == Ok(kind)
}

/// Moves a message into another initialized one (zmq_msg_move).
///
/// # Safety
/// Each pointer is NULL or points to a live, initialized message.
pub(super) unsafe fn move_message(to: *mut zmq_sys::zmq_msg_t, from: *mut zmq_sys::zmq_msg_t) -> Outcome<()> {
    if to.is_null() || from.is_null() {
        return Err("the zmq_msg_t is NULL".into());
    }
    // SAFETY: the caller's promise.
    let rc: c_int = unsafe { zmq_sys::zmq_msg_move(to, from) };
    if rc == 0 { Ok(()) } else { Err("the zmq_msg_t is not initialized".into()) }
}

// dafka_proto_content returns a pointer to a Frame as a zmq_msg_t.
const _: () = assert!(size_of::<Frame>() == size_of::<zmq_sys::zmq_msg_t>());

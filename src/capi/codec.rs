//! The protocol codec behind class `dafka_proto`: one message as an object with fields, in C's types.
//!
//! What is valid on the wire is [`wire`](crate::wire)'s business. Here a message moves between its frames, its
//! fields and its ZPL form.

use super::boundary::{Outcome, socket_of, wait_for_input};
use crate::czmq::{
    self,
    owned::ZFrame,
    sys::{self, zconfig_t, zlist_t, zsock_t},
};
use crate::net::{Frame, Kind, Socket};
use crate::wire::{MAX_NAME_LEN, Message, Position, SubjectsBuf, Subscription, VERSION, id};
use std::ffi::{CStr, CString, c_char, c_int};

/// A protocol message: its id, its ZeroMQ topic, and the fields of all messages; each message uses some of them.
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

/// What `dafka_proto_recv` returns.
pub(super) enum Received {
    Message,
    /// A signal came, or nothing within the socket's time limit.
    Nothing,
    /// What came is no message; it was dropped.
    Malformed(String),
}

/// A string of at most 255 octets, NUL-terminated for C.
pub(super) struct Name(CString);

impl Name {
    /// The octets up to the first NUL, if there is one, and at most 255 of them.
    pub(super) fn new(octets: &[u8]) -> Name {
        let len = octets.iter().take(MAX_NAME_LEN).take_while(|&&octet| octet != 0).count();
        Name(CString::new(&octets[..len]).expect("cut before the first NUL"))
    }

    pub(super) fn as_c(&self) -> *const c_char {
        self.0.as_ptr()
    }

    fn octets(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Default for Name {
    fn default() -> Name {
        Name::new(b"")
    }
}

/// A `zlist_t` of strings that we own, or none.
pub(super) struct ZList(*mut zlist_t);

impl ZList {
    /// Takes a list of the caller's.
    ///
    /// # Safety
    /// `list` is NULL or a live list of strings that the caller gives away.
    pub(super) unsafe fn from_c(list: *mut zlist_t) -> ZList {
        ZList(list)
    }

    /// Gives the list away; NULL when there is none.
    pub(super) fn take(&mut self) -> *mut zlist_t {
        std::mem::replace(&mut self.0, std::ptr::null_mut())
    }

    pub(super) fn as_c(&self) -> *mut zlist_t {
        self.0
    }

    /// A list that owns copies of `strings`.
    fn new<'a>(strings: impl IntoIterator<Item = &'a CStr>) -> Outcome<ZList> {
        // SAFETY: a fresh list, checked for NULL; with autofree it copies each string.
        unsafe {
            let list = ZList(sys::zlist_new());
            if list.0.is_null() {
                return Err("out of memory".into());
            }
            sys::zlist_autofree(list.0);
            for string in strings {
                if sys::zlist_append(list.0, string.as_ptr().cast_mut().cast()) != 0 {
                    return Err("out of memory".into());
                }
            }
            Ok(list)
        }
    }

    /// Copies of the strings, in order. Moves the list's cursor.
    fn strings(&self) -> Vec<CString> {
        let mut strings = Vec::new();
        if !self.0.is_null() {
            // SAFETY: the list is live and ours, its items are strings; each is copied before the next call.
            unsafe {
                let mut item = sys::zlist_first(self.0);
                while !item.is_null() {
                    strings.push(CStr::from_ptr(item.cast::<c_char>()).to_owned());
                    item = sys::zlist_next(self.0);
                }
            }
        }
        strings
    }
}

impl Default for ZList {
    fn default() -> ZList {
        ZList(std::ptr::null_mut())
    }
}

impl Drop for ZList {
    fn drop(&mut self) {
        // SAFETY: NULL, or ours and destroyed once.
        unsafe { sys::zlist_destroy(&mut self.0) }
    }
}

/// Which fields a message carries besides its topic, in the order of the wire.
struct Fields {
    id: u8,
    /// As C programs write it, without `DAFKA_PROTO_`.
    name: &'static CStr,
    address: bool,
    subject: bool,
    sequence: bool,
    count: bool,
    subjects: bool,
    content: bool,
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

const MESSAGES: [Fields; 9] = [
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

fn fields(id: u8) -> Option<&'static Fields> {
    MESSAGES.iter().find(|fields| fields.id == id)
}

/// What the names of messages begin with in C and in ZPL.
const PREFIX: &str = "DAFKA_PROTO_";

impl dafka_proto_t {
    /// The message's name; "?" when the id is that of no message.
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
            topic: Name::new(self.topic.octets()),
            address: Name::new(self.address.octets()),
            subject: Name::new(self.subject.octets()),
            sequence: self.sequence,
            count: self.count,
            // A copy of its own: whoever is given a zmq_msg_t may write to it.
            content: Frame::try_copy(self.content.as_ref()).ok_or("out of memory")?,
            subjects,
        })
    }

    /// The message's first frame.
    pub(super) fn encode(&self) -> Outcome<Vec<u8>> {
        let (topic, address, subject) = (self.topic.octets(), self.address.octets(), self.subject.octets());
        let (sequence, count) = (self.sequence, self.count);
        let position = Position::new(topic, address, subject, sequence);
        let mut subjects = SubjectsBuf::new();
        let message = match self.id {
            id::RECORD => Message::Record(position),
            id::DIRECT_RECORD => Message::DirectRecord(position),
            id::HEAD => Message::Head(position),
            id::DIRECT_HEAD => Message::DirectHead { position, store: &[] },
            id::FETCH => Message::Fetch { topic, address, subject, sequence, count, store: &[] },
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

    /// Sends the message; on a ROUTER after its routing id.
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

    /// Reads one message, or a subscription off an XPUB. What is no message changes nothing but the routing id.
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
            // The frames of a message come all at once.
            if !frame.more() || input.recv_more(&mut frame).is_err() {
                return Ok(Received::Malformed("nothing follows the routing id".into()));
            }
        }
        if is(&input, Kind::XPUB) {
            let Some(subscription) = Subscription::decode(frame.as_ref()) else {
                return malformed(&frame, "no subscription to a message".into());
            };
            if subscription.topic.len() > MAX_NAME_LEN {
                return malformed(&frame, "a subscription to a topic of more than 255 octets".into());
            }
            self.is_subscribe = subscription.subscribe;
            self.id = subscription.id;
            self.topic = Name::new(subscription.topic);
            input.skip_rest(&frame);
            return Ok(Received::Message);
        }
        let message = match Message::decode(frame.as_ref()) {
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

    /// Takes the fields over; those that the message does not have are empty then.
    fn set_message(&mut self, message: &Message) -> Outcome<()> {
        let none: &[u8] = &[];
        let (mut address, mut subject, mut sequence, mut count) = (none, none, 0, 0);
        let mut subjects = ZList::default();
        match *message {
            Message::Record(position)
            | Message::DirectRecord(position)
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
            } => {
                (address, subject, sequence, count) = (from, of, first, wanted);
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
                subjects = ZList::new(names.iter().map(|name| name.0.as_c_str()))?;
            }
        }
        self.id = message.id();
        self.topic = Name::new(message.topic());
        (self.address, self.subject) = (Name::new(address), Name::new(subject));
        (self.sequence, self.count, self.subjects) = (sequence, count, subjects);
        Ok(())
    }

    /// The message's fields as lines `name=value`.
    pub(super) fn lines(&self) -> Vec<String> {
        let Some(fields) = fields(self.id) else {
            return vec![format!("{PREFIX}? (id 0x{:02X})", self.id)];
        };
        let text = |name: &str, value: &Name| format!("    {name}='{}'", value.octets().escape_ascii());
        let mut lines = vec![format!("{PREFIX}{}:", fields.name.to_string_lossy())];
        if let Some(routing_id) = self.routing_id.content() {
            lines.push(format!("    routing_id={}", hex(routing_id)));
        }
        lines.push(text("topic", &self.topic));
        lines.push(format!("    version={VERSION}"));
        lines.extend(fields.address.then(|| text("address", &self.address)));
        lines.extend(fields.subject.then(|| text("subject", &self.subject)));
        lines.extend(fields.sequence.then(|| format!("    sequence={}", self.sequence)));
        lines.extend(fields.count.then(|| format!("    count={}", self.count)));
        if fields.subjects {
            let quoted = |subject: CString| format!("'{}'", subject.as_bytes().escape_ascii());
            let subjects: Vec<String> = self.subjects.strings().into_iter().map(quoted).collect();
            lines.push(format!("    subjects={{{}}}", subjects.join(", ")));
        }
        lines.extend(fields.content.then(|| format!("    content=[{} octets]", self.content.as_ref().len())));
        lines
    }

    /// The message's ZPL form, as a child of `parent` (NULL: as a root).
    ///
    /// # Safety
    /// `parent` is NULL or a live configuration.
    pub(super) unsafe fn zpl(&self, parent: *mut zconfig_t) -> Outcome<*mut zconfig_t> {
        let fields = fields(self.id).ok_or("no message has this id")?;
        // SAFETY: the caller's promise; the nodes belong to their parents, the strings are copied.
        unsafe {
            let root = new_node(c"dafka_proto", parent)?;
            let put = |node, name: &CStr, value: &CStr| sys::zconfig_put(node, name.as_ptr(), value.as_ptr());
            let put_text = |node, name, value: String| put(node, name, &Name::unlimited(value));
            put_text(root, c"message", format!("{PREFIX}{}", fields.name.to_string_lossy()));
            if let Some(routing_id) = self.routing_id.content() {
                put_text(root, c"routing_id", hex(routing_id));
            }
            put(root, c"topic", &self.topic.0);
            let content = new_node(c"content", root)?;
            put_text(content, c"version", VERSION.to_string());
            if fields.address {
                put(content, c"address", &self.address.0);
            }
            if fields.subject {
                put(content, c"subject", &self.subject.0);
            }
            if fields.sequence {
                put_text(content, c"sequence", self.sequence.to_string());
            }
            if fields.count {
                put_text(content, c"count", self.count.to_string());
            }
            if fields.subjects {
                let list = new_node(c"subjects", content)?;
                for (i, subject) in self.subjects.strings().iter().enumerate() {
                    put(list, &Name::unlimited(i.to_string()), subject);
                }
            }
            if fields.content {
                put_text(content, c"content", hex(self.content.as_ref()));
            }
            Ok(root)
        }
    }

    /// A message out of its ZPL form.
    ///
    /// # Safety
    /// `root` is NULL or a live configuration.
    pub(super) unsafe fn from_zpl(root: *mut zconfig_t) -> Outcome<dafka_proto_t> {
        if root.is_null() {
            return Err("the configuration is NULL".into());
        }
        // SAFETY: `root` is live, by the caller's promise; what is found in it lives as long as it does.
        let (text, list) = unsafe {
            let text = |path: &str| czmq::config_get_octets(root, path);
            (text, sys::zconfig_locate(root, c"content/subjects".as_ptr()))
        };
        let message = text("message").ok_or("the configuration names no message")?;
        let name = message.strip_prefix(PREFIX.as_bytes());
        let fields = MESSAGES
            .iter()
            .find(|fields| name == Some(fields.name.to_bytes()))
            .ok_or_else(|| format!("there is no message {}", message.escape_ascii()))?;
        let need = |path: &str| text(path).ok_or_else(|| format!("{path} is missing"));
        let name = |path: &str, wanted: bool| -> Outcome<Name> {
            let octets = if wanted { need(path)? } else { Vec::new() };
            if octets.len() > MAX_NAME_LEN {
                return Err(format!("{path} has more than {MAX_NAME_LEN} octets").into());
            }
            Ok(Name::new(&octets))
        };
        let number = |path: &str, wanted: bool| -> Outcome<u64> {
            let text = if wanted { need(path)? } else { return Ok(0) };
            let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
            number.ok_or_else(|| format!("{path} is no number").into())
        };
        if number("content/version", true)? != u64::from(VERSION) {
            return Err(format!("content/version is not {VERSION}").into());
        }
        let octets = |path: &str| -> Outcome<Option<Vec<u8>>> {
            let Some(text) = text(path) else { return Ok(None) };
            unhex(&text).map(Some).ok_or_else(|| format!("{path} is not hexadecimal").into())
        };
        let content = octets("content/content")?.filter(|_| fields.content).unwrap_or_default();
        let mut subjects = Vec::new();
        if fields.subjects && !list.is_null() {
            // SAFETY: the nodes are live as long as `root`; values are strings or NULL, copied at once.
            unsafe {
                let mut child = sys::zconfig_child(list);
                while !child.is_null() {
                    let value = sys::zconfig_value(child);
                    if !value.is_null() {
                        subjects.push(CStr::from_ptr(value).to_owned());
                    }
                    child = sys::zconfig_next(child);
                }
            }
        }
        Ok(dafka_proto_t {
            routing_id: octets("routing_id")?.map_or_else(ZFrame::default, |octets| ZFrame::new(&octets)),
            id: fields.id,
            is_subscribe: false,
            topic: name("topic", true)?,
            address: name("content/address", fields.address)?,
            subject: name("content/subject", fields.subject)?,
            sequence: number("content/sequence", fields.sequence)?,
            count: u32::try_from(number("content/count", fields.count)?)
                .map_err(|_| "content/count is more than 2^32 - 1")?,
            content: Frame::try_copy(&content).ok_or("out of memory")?,
            subjects: match fields.subjects {
                true => ZList::new(subjects.iter().map(CString::as_c_str))?,
                false => ZList::default(),
            },
        })
    }
}

impl Name {
    /// A C string of any length, for values that were made here and hold no NUL.
    fn unlimited(text: String) -> CString {
        CString::new(text).unwrap_or_default()
    }
}

/// Subscribes to all messages with this id whose topic begins with `topic`, or no longer does.
pub(super) fn set_subscription(sub: &Socket, id: u8, topic: &[u8], subscribe: bool) -> Outcome<()> {
    let prefix = crate::wire::prefix(id, topic);
    let set = if subscribe { sub.zmq().set_subscribe(&prefix) } else { sub.zmq().set_unsubscribe(&prefix) };
    set.map_err(|error| format!("the socket takes no subscription: {error}").into())
}

fn is(socket: &Socket, kind: Kind) -> bool {
    socket.zmq().get_socket_type() == Ok(kind)
}

/// A new node of a configuration.
///
/// # Safety
/// `parent` is NULL or a live configuration, which owns the node then.
unsafe fn new_node(name: &CStr, parent: *mut zconfig_t) -> Outcome<*mut zconfig_t> {
    // SAFETY: the caller's promise; the name is copied.
    let node = unsafe { sys::zconfig_new(name.as_ptr(), parent) };
    if node.is_null() { Err("out of memory".into()) } else { Ok(node) }
}

fn hex(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02X}");
        text
    })
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |octet: u8| char::from(octet).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair[0])? << 4 | digit(*pair.get(1)?)?).ok();
    text.chunks(2).map(pair).collect()
}

/// Moves a message into another that is initialized (zmq_msg_move).
///
/// # Safety
/// Each is NULL or a live, initialized message.
pub(super) unsafe fn move_message(to: *mut zmq_sys::zmq_msg_t, from: *mut zmq_sys::zmq_msg_t) -> Outcome<()> {
    if to.is_null() || from.is_null() {
        return Err("the zmq_msg_t is NULL".into());
    }
    // SAFETY: the caller's promise.
    let rc: c_int = unsafe { zmq_sys::zmq_msg_move(to, from) };
    if rc == 0 { Ok(()) } else { Err("the zmq_msg_t is not initialized".into()) }
}

// The content is handed out as a pointer to the zmq_msg_t that a Frame is.
const _: () = assert!(size_of::<Frame>() == size_of::<zmq_sys::zmq_msg_t>());

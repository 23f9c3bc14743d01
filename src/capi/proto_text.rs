//! The readable forms of a protocol message: lines for the log (`dafka_proto_print`) and ZPL (`dafka_proto_zpl`).

use super::boundary::Outcome;
use super::codec::{MESSAGES, Name, dafka_proto_t, fields};
use super::zlist::ZList;
use crate::czmq::{
    self,
    owned::ZFrame,
    sys::{self, zconfig_t},
};
use crate::net::Frame;
use crate::wire::{MAX_NAME_LEN, VERSION};
use std::ffi::{CStr, CString};

/// The prefix of message names in C and in ZPL.
const PREFIX: &str = "DAFKA_PROTO_";

impl dafka_proto_t {
    /// The message's fields as lines `name=value`.
    pub(super) fn lines(&self) -> Vec<String> {
        let Some(fields) = fields(self.id) else {
            return vec![format!("{PREFIX}? (id 0x{:02X})", self.id)];
        };
        let text =
            |name: &str, value: &Name| format!("    {name}='{}'", value.as_c_str().to_bytes().escape_ascii());
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
        lines.extend(fields.content.then(|| format!("    content=[{} bytes]", self.content.as_ref().len())));
        lines
    }

    /// The message's ZPL form: a child of `parent`, or the root of a new configuration when `parent` is NULL.
    ///
    /// # Safety
    /// `parent` is NULL or a live configuration.
    pub(super) unsafe fn zpl(&self, parent: *mut zconfig_t) -> Outcome<*mut zconfig_t> {
        let fields = fields(self.id).ok_or("no message has this id")?;
        // SAFETY: the caller's promise; the nodes belong to their parents, the strings are copied.
        unsafe {
            let root = new_node(c"dafka_proto", parent)?;
            let put = |node, name: &CStr, value: &CStr| sys::zconfig_put(node, name.as_ptr(), value.as_ptr());
            let put_text = |node, name, value: String| put(node, name, &c_string(value));
            put_text(root, c"message", format!("{PREFIX}{}", fields.name.to_string_lossy()));
            if let Some(routing_id) = self.routing_id.content() {
                put_text(root, c"routing_id", hex(routing_id));
            }
            put(root, c"topic", self.topic.as_c_str());
            let content = new_node(c"content", root)?;
            put_text(content, c"version", VERSION.to_string());
            if fields.address {
                put(content, c"address", self.address.as_c_str());
            }
            if fields.subject {
                put(content, c"subject", self.subject.as_c_str());
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
                    put(list, &c_string(i.to_string()), subject);
                }
            }
            if fields.content {
                put_text(content, c"content", hex(self.content.as_ref()));
            }
            Ok(root)
        }
    }

    /// Reads a message from its ZPL form.
    ///
    /// # Safety
    /// `root` is NULL or a live configuration.
    pub(super) unsafe fn from_zpl(root: *mut zconfig_t) -> Outcome<dafka_proto_t> {
        if root.is_null() {
            return Err("the configuration is NULL".into());
        }
        let zpl = Zpl(root);
        let message = zpl.text("message").ok_or("the configuration names no message")?;
        let name = message.strip_prefix(PREFIX.as_bytes());
        let fields = MESSAGES
            .iter()
            .find(|fields| name == Some(fields.name.to_bytes()))
            .ok_or_else(|| format!("there is no message {}", message.escape_ascii()))?;
        if zpl.number("content/version", true)? != u64::from(VERSION) {
            return Err(format!("content/version is not {VERSION}").into());
        }
        let content = zpl.hex("content/content")?.filter(|_| fields.content).unwrap_or_default();
        Ok(dafka_proto_t {
            routing_id: zpl.hex("routing_id")?.map_or_else(ZFrame::default, |id| ZFrame::new(&id)),
            id: fields.id,
            is_subscribe: false,
            topic: zpl.name("topic", true)?,
            address: zpl.name("content/address", fields.address)?,
            subject: zpl.name("content/subject", fields.subject)?,
            sequence: zpl.number("content/sequence", fields.sequence)?,
            count: u32::try_from(zpl.number("content/count", fields.count)?)
                .map_err(|_| "content/count is more than 2^32 - 1")?,
            content: Frame::try_copy(&content).ok_or("out of memory")?,
            subjects: match fields.subjects {
                true => ZList::new(zpl.strings(c"content/subjects").iter().map(CString::as_c_str))?,
                false => ZList::default(),
            },
        })
    }
}

/// A live configuration that contains a message. Each method reads one field. If the message does not have this field,
/// the caller sets `wanted` to false, and the method returns an empty value or 0.
struct Zpl(*mut zconfig_t);

impl Zpl {
    fn text(&self, path: &str) -> Option<Vec<u8>> {
        // SAFETY: the configuration is live.
        unsafe { czmq::config_get_bytes(self.0, path) }
    }

    fn required(&self, path: &str) -> Outcome<Vec<u8>> {
        Ok(self.text(path).ok_or_else(|| format!("{path} is missing"))?)
    }

    fn name(&self, path: &str, wanted: bool) -> Outcome<Name> {
        let name = if wanted { self.required(path)? } else { Vec::new() };
        if name.len() > MAX_NAME_LEN {
            return Err(format!("{path} has more than {MAX_NAME_LEN} bytes").into());
        }
        Ok(Name::new(&name))
    }

    fn number(&self, path: &str, wanted: bool) -> Outcome<u64> {
        let text = if wanted { self.required(path)? } else { return Ok(0) };
        let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| format!("{path} is not a number").into())
    }

    fn hex(&self, path: &str) -> Outcome<Option<Vec<u8>>> {
        let Some(text) = self.text(path) else { return Ok(None) };
        unhex(&text).map(Some).ok_or_else(|| format!("{path} is not hexadecimal").into())
    }

    /// The values of the children of `path`.
    fn strings(&self, path: &CStr) -> Vec<CString> {
        let mut strings = Vec::new();
        // SAFETY: the nodes are live as long as the configuration; values are strings or NULL, copied at once.
        unsafe {
            let list = sys::zconfig_locate(self.0, path.as_ptr());
            let mut child = if list.is_null() { list } else { sys::zconfig_child(list) };
            while !child.is_null() {
                let value = sys::zconfig_value(child);
                if !value.is_null() {
                    strings.push(CStr::from_ptr(value).to_owned());
                }
                child = sys::zconfig_next(child);
            }
        }
        strings
    }
}

/// A new node of a configuration.
///
/// # Safety
/// `parent` is NULL or a live configuration, which then owns the node.
unsafe fn new_node(name: &CStr, parent: *mut zconfig_t) -> Outcome<*mut zconfig_t> {
    // SAFETY: the caller's promise; the name is copied.
    let node = unsafe { sys::zconfig_new(name.as_ptr(), parent) };
    if node.is_null() { Err("out of memory".into()) } else { Ok(node) }
}

/// Converts a text to a C string. This file makes the text, so it contains no NUL.
fn c_string(text: String) -> CString {
    CString::new(text).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair[0])? << 4 | digit(*pair.get(1)?)?).ok();
    text.chunks(2).map(pair).collect()
}

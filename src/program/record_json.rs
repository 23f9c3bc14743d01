//! A record as JSON.

use super::record_format::Place;
use crate::wire::batch::Record;
use std::io::{self, Write};

/// Writes a record as a JSON object on one line. Text in UTF-8 becomes a string. Other bytes become a string in base64,
/// and the name of the field then ends in `_base64`.
pub(super) fn write_json(place: &Place, record: &Record, output: &mut impl Write) -> io::Result<()> {
    output.write_all(b"{")?;
    write_text("topic", place.partition.topic, output)?;
    output.write_all(b",")?;
    write_text("partition", place.partition.producer, output)?;
    write_number("offset", place.offset, output)?;
    write_number("timestamp", record.timestamp_ms, output)?;
    output.write_all(b",")?;
    match record.key {
        Some(key) => write_text("key", key, output)?,
        None => output.write_all(b"\"key\":null")?,
    }
    output.write_all(b",\"headers\":[")?;
    for (index, (name, value)) in record.headers.iter().enumerate() {
        output.write_all(if index > 0 { b",{" } else { b"{" })?;
        write_text("name", name, output)?;
        output.write_all(b",")?;
        write_text("value", value, output)?;
        output.write_all(b"}")?;
    }
    output.write_all(b"],")?;
    write_text("content", record.content, output)?;
    output.write_all(b"}\n")
}

/// Writes `,"name":number`, or null in place of the number.
fn write_number(name: &str, number: Option<impl ToString>, output: &mut impl Write) -> io::Result<()> {
    let number = number.map_or_else(|| "null".into(), |number| number.to_string());
    write!(output, ",\"{name}\":{number}")
}

/// Writes `"name":"text"`, or `"name_base64":"text"` for bytes that are not UTF-8.
fn write_text(name: &str, bytes: &[u8], output: &mut impl Write) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            write!(output, "\"{name}\":\"")?;
            write_escaped(text, output)?;
        }
        Err(_) => {
            write!(output, "\"{name}_base64\":\"")?;
            write_base64(bytes, output)?;
        }
    }
    output.write_all(b"\"")
}

/// Writes the inside of a JSON string.
fn write_escaped(mut text: &str, output: &mut impl Write) -> io::Result<()> {
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0x7f | ..0x20);
    while let Some(at) = text.as_bytes().iter().position(is_special) {
        output.write_all(&text.as_bytes()[..at])?;
        match text.as_bytes()[at] {
            byte @ (b'"' | b'\\') => output.write_all(&[b'\\', byte])?,
            b'\n' => output.write_all(b"\\n")?,
            b'\r' => output.write_all(b"\\r")?,
            b'\t' => output.write_all(b"\\t")?,
            byte => write!(output, "\\u{byte:04x}")?,
        }
        text = &text[at + 1..];
    }
    output.write_all(text.as_bytes())
}

/// Writes bytes in base64 (RFC 4648, with padding).
fn write_base64(bytes: &[u8], output: &mut impl Write) -> io::Result<()> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let mut digits = [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize]);
        digits[group.len() + 1..].fill(b'=');
        output.write_all(&digits)?;
    }
    Ok(())
}

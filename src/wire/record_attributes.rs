//! The field *attributes* of RECORD and DIRECT-RECORD, which 0.1.0 ignores: the attributes of the record.
//!
//! The field consists of a length in four octets and an attribute block, as in a [`batch`](super::batch). It follows the
//! last field of 0.1.0. A record without attributes has no such field.

use super::Position;
use super::batch::{Attributes, PushError};

/// Appends the field to the first frame of a message. Appends nothing when there are no attributes.
///
/// # Errors
/// When the key or the headers are too long. The frame is then unchanged.
pub fn append(frame: &mut Vec<u8>, attributes: &Attributes) -> Result<(), PushError> {
    if attributes.is_empty() {
        return Ok(());
    }
    let len = attributes.block_len()? as u32;
    frame.extend_from_slice(&len.to_be_bytes());
    attributes.write(frame)
}

/// Returns the attributes in the first frame of a message with this position. There are none if the octets at the place
/// of the field are missing or not valid: they may be another extension, and the message is still valid.
pub fn of<'a>(frame: &'a [u8], position: &Position) -> Attributes<'a> {
    let Position { topic, address, subject, .. } = position;
    // The id, the topic and its NUL, the version, two strings with their lengths, the sequence.
    let fields_len = 1 + topic.len() + 1 + 1 + 1 + address.len() + 1 + subject.len() + 8;
    frame.get(fields_len..).and_then(read).unwrap_or_default()
}

fn read(field: &[u8]) -> Option<Attributes<'_>> {
    let (len, rest) = field.split_first_chunk()?;
    let block = rest.get(..u32::from_be_bytes(*len) as usize)?;
    let (attributes, after) = Attributes::split(block).ok()?;
    (after.is_empty() && attributes.headers.are_valid()).then_some(attributes)
}

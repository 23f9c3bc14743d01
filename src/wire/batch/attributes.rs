//! The attributes of a record: timestamp, key and headers.

use super::PushError;
use super::error::AttributesFault;
use std::fmt;

const TIMESTAMP: u8 = 0x01;
const KEY: u8 = 0x02;
const HEADERS: u8 = 0x04;

/// The longest attribute block: the first octet, a timestamp, two lengths, the longest key and the longest headers.
pub const MAX_BLOCK_LEN: usize = 1 + 8 + 2 + 2 + 2 * MAX_LEN;

/// The longest key.
pub const MAX_KEY_LEN_BYTES: usize = MAX_LEN;

/// The greatest length of a key, and of the headers of a record.
const MAX_LEN: usize = u16::MAX as usize;

/// The attributes of a record. The default is a record without attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// The record's own timestamp, in milliseconds since the Unix epoch. Without it, the batch's timestamp applies.
    pub timestamp_ms: Option<i64>,
    /// The key, at most 65,535 octets. An empty key differs from no key.
    pub key: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
}

impl<'a> Attributes<'a> {
    /// Whether the record has no attributes.
    pub fn is_empty(&self) -> bool {
        self.timestamp_ms.is_none() && !self.has_key_or_headers()
    }

    /// Splits a record into its attributes and its content. The headers are not checked.
    pub(in crate::wire) fn split(record: &'a [u8]) -> Result<(Self, &'a [u8]), AttributesFault> {
        let (&bits, mut rest) = record.split_first().ok_or(AttributesFault::Truncated)?;
        if bits == 0 {
            return Ok((Self::default(), rest));
        }
        if bits & !(TIMESTAMP | KEY | HEADERS) != 0 {
            return Err(AttributesFault::Unknown(bits));
        }
        let mut attributes = Self::default();
        if bits & TIMESTAMP != 0 {
            attributes.timestamp_ms = Some(i64::from_be_bytes(take(&mut rest)?));
        }
        let mut len = |bit| if bits & bit == 0 { Ok(0) } else { take(&mut rest).map(u16::from_be_bytes) };
        let (key_len, headers_len) = (len(KEY)?, len(HEADERS)?);
        if bits & HEADERS != 0 && headers_len == 0 {
            return Err(AttributesFault::NoHeaders);
        }
        let mut octets = |len| {
            let (octets, after) =
                rest.split_at_checked(usize::from(len)).ok_or(AttributesFault::Truncated)?;
            rest = after;
            Ok(octets)
        };
        let (key, headers) = (octets(key_len)?, octets(headers_len)?);
        attributes.key = (bits & KEY != 0).then_some(key);
        attributes.headers = Headers { octets: headers };
        Ok((attributes, rest))
    }

    /// The number of octets of key and headers.
    pub fn len_bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.headers.octets.len()
    }

    /// The lengths of key and headers, as in the block.
    fn lens(&self) -> Result<(u16, u16), PushError> {
        let key = u16::try_from(self.key.map_or(0, <[u8]>::len)).map_err(|_| PushError::KeyTooLong)?;
        let headers = u16::try_from(self.headers.octets.len()).map_err(|_| PushError::HeadersTooLong)?;
        Ok((key, headers))
    }

    /// Checks the lengths of key and headers.
    ///
    /// # Errors
    ///
    /// [`PushError::KeyTooLong`] and [`PushError::HeadersTooLong`].
    pub fn check(&self) -> Result<(), PushError> {
        self.lens().map(|_| ())
    }

    /// Whether there are a key or headers.
    pub fn has_key_or_headers(&self) -> bool {
        self.key.is_some() || !self.headers.is_empty()
    }

    /// The length of the attribute block.
    pub(in crate::wire) fn block_len(&self) -> Result<usize, PushError> {
        let (key, headers) = self.lens()?;
        let mut len = 1 + usize::from(key) + usize::from(headers);
        if self.timestamp_ms.is_some() {
            len += 8;
        }
        len += 2 * (usize::from(self.key.is_some()) + usize::from(headers > 0));
        Ok(len)
    }

    /// Appends the attribute block. After an error, `out` is unchanged.
    pub(in crate::wire) fn write(&self, out: &mut Vec<u8>) -> Result<(), PushError> {
        let (key_len, headers_len) = self.lens()?;
        let block = out.len();
        out.push(0);
        let mut bits = 0;
        if let Some(timestamp) = self.timestamp_ms {
            bits |= TIMESTAMP;
            out.extend_from_slice(&timestamp.to_be_bytes());
        }
        if self.key.is_some() {
            bits |= KEY;
            out.extend_from_slice(&key_len.to_be_bytes());
        }
        if headers_len > 0 {
            bits |= HEADERS;
            out.extend_from_slice(&headers_len.to_be_bytes());
        }
        out.extend_from_slice(self.key.unwrap_or_default());
        out.extend_from_slice(self.headers.octets);
        out[block] = bits;
        Ok(())
    }
}

/// The first octet of a block after a timestamp was added, and the timestamp to insert after this octet. A block that
/// has a timestamp keeps it.
pub(super) fn with_timestamp(bits: u8, timestamp_ms: Option<i64>) -> (u8, Option<i64>) {
    match timestamp_ms.filter(|_| bits & TIMESTAMP == 0) {
        Some(timestamp_ms) => (bits | TIMESTAMP, Some(timestamp_ms)),
        None => (bits, None),
    }
}

/// Takes the octets of a number from the beginning of `rest`.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], AttributesFault> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(AttributesFault::Truncated)?;
    *rest = after;
    Ok(*taken)
}

/// The headers of a record, encoded as in a batch. They come from a checked batch or from a [`HeadersBuf`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    octets: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Name and value of each header, in the order in which they were added. A name may occur more than once.
    pub fn iter(&self) -> HeadersIter<'a> {
        HeadersIter { rest: self.octets }
    }

    /// Returns the header at a position, and changes `position` to that of the next header. The first header is at 0.
    pub fn next(&self, position: &mut usize) -> Option<(&'a [u8], &'a [u8])> {
        let mut headers = HeadersIter { rest: self.octets.get(*position..)? };
        let header = headers.next()?;
        *position = self.octets.len() - headers.rest.len();
        Some(header)
    }

    /// Whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Whether the octets are headers and nothing else.
    pub(in crate::wire) fn are_valid(&self) -> bool {
        let mut headers = self.iter();
        headers.by_ref().for_each(drop);
        headers.rest.is_empty()
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |octets: &[u8]| octets.escape_ascii().to_string();
        f.debug_list().entries(self.iter().map(|(name, value)| (text(name), text(value)))).finish()
    }
}

/// Iterates over [`Headers`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    /// The iterator ends before malformed octets. A checked batch contains no malformed octets.
    fn next(&mut self) -> Option<Self::Item> {
        let (&[name_len, v0, v1], rest) = self.rest.split_first_chunk::<3>()?;
        let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([v0, v1])))?;
        self.rest = rest;
        Some((name, value))
    }
}

impl std::iter::FusedIterator for HeadersIter<'_> {}

/// Builds the [`Headers`] of a record.
#[derive(Clone, Debug, Default)]
pub struct HeadersBuf {
    octets: Vec<u8>,
}

impl HeadersBuf {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a header. After an error, the headers are unchanged.
    ///
    /// # Errors
    ///
    /// [`PushError::HeaderNameTooLong`] and [`PushError::HeadersTooLong`].
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), PushError> {
        let name_len = u8::try_from(name.len()).map_err(|_| PushError::HeaderNameTooLong)?;
        let value_len = u16::try_from(value.len()).map_err(|_| PushError::HeadersTooLong)?;
        if self.octets.len() + 3 + name.len() + value.len() > MAX_LEN {
            return Err(PushError::HeadersTooLong);
        }
        self.octets.push(name_len);
        self.octets.extend_from_slice(&value_len.to_be_bytes());
        self.octets.extend_from_slice(name);
        self.octets.extend_from_slice(value);
        Ok(())
    }

    /// Removes all headers, but keeps the memory.
    pub fn clear(&mut self) {
        self.octets.clear();
    }

    /// The headers, for [`Attributes::headers`].
    pub fn as_headers(&self) -> Headers<'_> {
        Headers { octets: &self.octets }
    }
}

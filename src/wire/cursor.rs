//! Reads and writes the field types of the protocol. All bounds are checked here.

use super::{DecodeError, EncodeError, MAX_NAME_LEN};

/// Reads the fields of a frame, one after the other.
pub(super) struct Reader<'a> {
    /// The name of the message, for errors.
    message: &'static str,
    /// The octets that were not read yet.
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'static str, octets: &'a [u8]) -> Self {
        Self { message, rest: octets }
    }

    /// The octets that were not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.truncated(field))?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.truncated(field))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A number-1.
    pub(super) fn number_1(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.take_array(field).map(u8::from_be_bytes)
    }

    /// A number-4.
    pub(super) fn number_4(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.take_array(field).map(u32::from_be_bytes)
    }

    /// A number-8.
    pub(super) fn number_8(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.take_array(field).map(u64::from_be_bytes)
    }

    /// A name as a `string`. It cannot be too long, because its length fits into one octet.
    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.number_1(field)?;
        self.name(field, usize::from(len))
    }

    /// A name as a `string` after all fields of libdafka 0.1.0. Empty when the octets there are missing or not a
    /// `string`: they may be another extension, and the message is still valid. In this case, the fields after the name
    /// count as missing.
    pub(super) fn extension(&mut self) -> &'a [u8] {
        self.string("extension").unwrap_or_else(|_| {
            self.rest = &[];
            &[]
        })
    }

    /// Flags as a number-1 after an [`extension`](Self::extension). 0 when they are missing.
    pub(super) fn flags(&mut self) -> u8 {
        self.number_1("flags").unwrap_or_default()
    }

    /// A name as a `longstr`. It has the same limit as other names, because it must fit into a ZeroMQ topic.
    pub(super) fn longstr(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.number_4(field)?;
        match usize::try_from(len) {
            Ok(len) if len <= MAX_NAME_LEN => self.name(field, len),
            _ => Err(DecodeError::TooLong { message: self.message, field }),
        }
    }

    /// The ZeroMQ topic and the NUL that ends it.
    pub(super) fn topic(&mut self) -> Result<&'a [u8], DecodeError> {
        let field = "topic";
        // The longest valid topic and its NUL. This limits the search in a long frame.
        let window = self.rest.get(..=MAX_NAME_LEN);
        match window.unwrap_or(self.rest).iter().position(|&octet| octet == 0) {
            Some(len) => {
                let topic = self.take(field, len)?;
                self.take(field, 1)?;
                Ok(topic)
            }
            None if window.is_some() => Err(DecodeError::TooLong { message: self.message, field }),
            None => Err(self.truncated(field)),
        }
    }

    fn name(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let name = self.take(field, len)?;
        if name.contains(&0) {
            return Err(DecodeError::Nul { message: self.message, field });
        }
        Ok(name)
    }

    pub(super) fn truncated(&self, field: &'static str) -> DecodeError {
        DecodeError::Truncated { message: self.message, field }
    }
}

/// Appends fields to a frame.
pub(super) struct Writer<'o> {
    /// The name of the message, for errors.
    message: &'static str,
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    pub(super) fn new(message: &'static str, out: &'o mut Vec<u8>) -> Self {
        Self { message, out }
    }

    /// Appends octets without a length.
    pub(super) fn octets(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
    }

    /// A number-1.
    pub(super) fn number_1(&mut self, number: u8) {
        self.out.push(number);
    }

    /// A number-4.
    pub(super) fn number_4(&mut self, number: u32) {
        self.octets(&number.to_be_bytes());
    }

    /// A number-8.
    pub(super) fn number_8(&mut self, number: u64) {
        self.octets(&number.to_be_bytes());
    }

    /// A name as a `string`.
    pub(super) fn string(&mut self, field: &'static str, name: &[u8]) -> Result<(), EncodeError> {
        let len = self.check(field, name)?;
        self.number_1(len);
        self.octets(name);
        Ok(())
    }

    /// A name as a `string` after all fields of libdafka 0.1.0. Appends nothing when the name is empty.
    pub(super) fn extension(&mut self, name: &[u8]) -> Result<(), EncodeError> {
        if name.is_empty() { Ok(()) } else { self.string("extension", name) }
    }

    /// A name as a `longstr`.
    pub(super) fn longstr(&mut self, field: &'static str, name: &[u8]) -> Result<(), EncodeError> {
        let len = self.check(field, name)?;
        self.number_4(u32::from(len));
        self.octets(name);
        Ok(())
    }

    /// The ZeroMQ topic and the NUL that ends it.
    pub(super) fn topic(&mut self, topic: &[u8]) -> Result<(), EncodeError> {
        self.check("topic", topic)?;
        self.octets(topic);
        self.number_1(0);
        Ok(())
    }

    /// The length of a valid name.
    fn check(&self, field: &'static str, name: &[u8]) -> Result<u8, EncodeError> {
        if name.contains(&0) {
            return Err(EncodeError::Nul { message: self.message, field });
        }
        // MAX_NAME_LEN is the greatest number that fits into one octet.
        u8::try_from(name.len()).map_err(|_| EncodeError::TooLong { message: self.message, field })
    }
}

//! The list of topics in a CONSUMER-HELLO, in its encoding on the wire.

use super::cursor::{Reader, Writer};
use super::{DecodeError, EncodeError};
use std::fmt;

/// The message and the field that contain the list, for errors.
const MESSAGE: &str = "CONSUMER-HELLO";
const FIELD: &str = "subjects";

/// The shortest encoding of a subject: an empty `longstr`.
const MIN_SUBJECT_LEN: usize = 4;

/// The topics that a consumer sends to a store. The list is checked when it is decoded, or built by [`SubjectsBuf`]. It
/// stays encoded, so that it needs no memory of its own.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Subjects<'a> {
    /// `count` valid longstrs and nothing else.
    octets: &'a [u8],
    count: u32,
}

impl<'a> Subjects<'a> {
    /// The subjects in the order in which they were sent. There may be duplicates.
    pub fn iter(&self) -> SubjectsIter<'a> {
        SubjectsIter { rest: self.octets, left: self.count }
    }

    /// The number of subjects.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether the list is empty. A consumer of 0.1.0 with offset reset `latest` sends an empty
    /// list.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn read(fields: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = fields.number_4(FIELD)?;
        let octets = fields.rest();
        // An impossible count is refused before the loop.
        if u64::from(count) > (octets.len() / MIN_SUBJECT_LEN) as u64 {
            return Err(fields.truncated(FIELD));
        }
        for _ in 0..count {
            fields.longstr(FIELD)?;
        }
        let octets = &octets[..octets.len() - fields.rest().len()];
        Ok(Self { octets, count })
    }

    pub(super) fn write(&self, fields: &mut Writer) {
        fields.number_4(self.count);
        fields.octets(self.octets);
    }
}

impl<'a> IntoIterator for Subjects<'a> {
    type Item = &'a [u8];
    type IntoIter = SubjectsIter<'a>;

    fn into_iter(self) -> SubjectsIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Subjects<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|subject| subject.escape_ascii().to_string())).finish()
    }
}

/// Iterates over [`Subjects`].
#[derive(Clone, Debug)]
pub struct SubjectsIter<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for SubjectsIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let mut fields = Reader::new(MESSAGE, self.rest);
        // The list was checked, so this never fails.
        let subject = fields.longstr(FIELD).ok()?;
        self.rest = fields.rest();
        self.left -= 1;
        Some(subject)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for SubjectsIter<'_> {}

impl std::iter::FusedIterator for SubjectsIter<'_> {}

/// Builds a list of [`Subjects`] to send.
#[derive(Clone, Debug, Default)]
pub struct SubjectsBuf {
    octets: Vec<u8>,
    count: u32,
}

impl SubjectsBuf {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a subject. After an error, the list is unchanged.
    pub fn push(&mut self, subject: &[u8]) -> Result<(), EncodeError> {
        let count = self.count.checked_add(1).ok_or(EncodeError::TooManySubjects)?;
        Writer::new(MESSAGE, &mut self.octets).longstr(FIELD, subject)?;
        self.count = count;
        Ok(())
    }

    /// The list for a CONSUMER-HELLO.
    pub fn as_subjects(&self) -> Subjects<'_> {
        Subjects { octets: &self.octets, count: self.count }
    }
}

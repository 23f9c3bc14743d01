//! How the console producer makes records of its input.

use super::escapes::{delimiter, key_delimiter};
use super::{Failure, Result};
use crate::text::printable;
use crate::wire::batch::{Attributes, HeadersBuf, MAX_KEY_LEN_BYTES};
use clap::ArgMatches;
use std::ffi::OsString;

/// The options of the console producer for its records.
pub struct InputFormat {
    /// The last byte of each line. `None`: a line ends as [`Lines::new`](super::Lines::new) describes.
    pub delimiter: Option<u8>,
    key_delimiter: Option<Vec<u8>>,
    headers: HeadersBuf,
}

impl InputFormat {
    /// Reads the options.
    ///
    /// # Errors
    /// When the value of an option is not valid.
    pub fn of(matches: &ArgMatches) -> Result<InputFormat> {
        let mut headers = HeadersBuf::new();
        for header in matches.get_many::<OsString>("header").into_iter().flatten() {
            let header = header.as_encoded_bytes();
            let equals = header.iter().position(|&byte| byte == b'=').filter(|&at| at > 0);
            let Some(at) = equals else {
                return Err(Failure(format!("--header must be NAME=VALUE, not {}", printable(header))));
            };
            headers
                .push(&header[..at], &header[at + 1..])
                .map_err(|error| Failure(format!("--header: {error}")))?;
        }
        Ok(InputFormat { delimiter: delimiter(matches)?, key_delimiter: key_delimiter(matches)?, headers })
    }

    /// The length of the longest line whose content has at most `max_content_bytes`.
    pub fn max_line_bytes(&self, max_content_bytes: usize) -> usize {
        let key_bytes =
            self.key_delimiter.as_ref().map_or(0, |delimiter| MAX_KEY_LEN_BYTES + delimiter.len());
        max_content_bytes.saturating_add(key_bytes)
    }

    /// The attributes and the content of the record in a line.
    pub fn record<'a>(&'a self, line: &'a [u8]) -> (Attributes<'a>, &'a [u8]) {
        let at = self.key_delimiter.as_ref().and_then(|delimiter| {
            let at = line.windows(delimiter.len()).position(|bytes| bytes == delimiter)?;
            Some((at, at + delimiter.len()))
        });
        let key = at.map(|(end, _)| &line[..end]);
        let content = at.map_or(line, |(_, begin)| &line[begin..]);
        (Attributes { key, headers: self.headers.as_headers(), ..Attributes::default() }, content)
    }
}

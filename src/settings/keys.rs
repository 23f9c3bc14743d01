//! Reads and checks the values of single keys.

use super::{Commit, Isolation, OffsetReset, TopicMatch, TowerAddress};
use crate::committed::is_consumer_name;
use crate::net::canonical;
use crate::slots::{GroupBy, is_of_group};
use crate::storage::outbox::is_name;
use crate::text::printable;
use crate::wire::batch::Compression;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The longest time that a key may set, 24 days: libzmq keeps milliseconds in 32 bits.
pub(super) const MAX_MS: i64 = i32::MAX as i64;

/// One invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {why}")]
pub struct Problem {
    /// The path of the key.
    pub key: &'static str,
    /// The value in the configuration.
    pub value: String,
    /// What a valid value must be.
    pub why: String,
    /// Which value an actor uses instead.
    pub used: String,
    /// True for a value that libdafka 0.1.0 accepts: an actor interprets it in the same way, and warns. Programs refuse
    /// it.
    pub is_accepted: bool,
}

/// The values of a configuration, and the invalid ones among those that were read.
pub(super) struct Keys<'a> {
    lookup: &'a dyn Fn(&str) -> Vec<Vec<u8>>,
    problems: Vec<Problem>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Vec<Vec<u8>>) -> Keys<'a> {
        Keys { lookup, problems: Vec::new() }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(super) fn report(&mut self, key: &'static str, value: &[u8], why: impl Into<String>) {
        self.report_with(key, value, why, "the default is used");
    }

    fn report_with(&mut self, key: &'static str, value: &[u8], why: impl Into<String>, used: &str) {
        let (value, why, used) = (printable(value), why.into(), used.to_owned());
        self.problems.push(Problem { key, value, why, used, is_accepted: false });
    }

    /// Reports an invalid value that 0.1.0 accepts and reads as `used`.
    fn report_accepted(&mut self, key: &'static str, value: &[u8], why: String, used: &str) {
        let (value, used) = (printable(value), format!("{used} is used, as in libdafka 0.1.0"));
        self.problems.push(Problem { key, value, why, used, is_accepted: true });
    }

    /// The first value of a key. Reports a later value of the same key that differs from the first one.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Vec<u8>> {
        let mut values = (self.lookup)(key).into_iter();
        let first = values.next()?;
        if let Some(other) = values.find(|other| *other != first) {
            let (value, first) = (printable(&other), printable(&first));
            let why = format!("another value of the same key is {first}");
            let used = format!("{first} is used");
            self.problems.push(Problem { key, value, why, used, is_accepted: false });
        }
        Some(first)
    }

    pub(super) fn number(&mut self, key: &'static str, default: i64, min: i64, max: i64) -> i64 {
        let Some(value) = self.value(key) else { return default };
        match std::str::from_utf8(&value).ok().and_then(|value| value.trim().parse().ok()) {
            Some(number) if (min..=max).contains(&number) => number,
            _ => {
                self.report(key, &value, format!("must be a whole number from {min} to {max}"));
                default
            }
        }
    }

    /// Does the same as [`Keys::number`] for a key that 0.1.0 has. 0.1.0 ignores the text after the digits: `100ms` is
    /// 100.
    pub(super) fn number_with_suffix(&mut self, key: &'static str, default: i64, min: i64, max: i64) -> i64 {
        let Some(value) = self.value(key) else { return default };
        match digits(&value) {
            Some((number, rest)) if !rest.trim_ascii().is_empty() && (min..=max).contains(&number) => {
                let why = format!("must be a whole number from {min} to {max}");
                self.report_accepted(key, &value, why, &number.to_string());
                number
            }
            _ => self.number(key, default, min, max),
        }
    }

    /// A limit of at least 1.
    pub(super) fn count(&mut self, key: &'static str, default: u32) -> usize {
        let max = i64::try_from(isize::MAX).unwrap_or(i64::MAX);
        self.number(key, i64::from(default), 1, max) as usize
    }

    /// A limit in bytes. `None` if it is 0: no limit.
    pub(super) fn bytes(&mut self, key: &'static str, default: i64) -> Option<u64> {
        u64::try_from(self.number(key, default, 0, i64::MAX)).ok().filter(|&bytes| bytes > 0)
    }

    /// The limit of one peer. The default is half of `whole`, the limit of all peers, so that no peer can use up all of
    /// it.
    pub(super) fn share(&mut self, key: &'static str, whole: usize) -> usize {
        self.count(key, u32::try_from(whole.div_ceil(2)).unwrap_or(u32::MAX))
    }

    /// The limit for the length of a record. The default is the longest record that a store can keep.
    pub(super) fn record_len(&mut self, key: &'static str) -> usize {
        self.number(key, 1 << 30, 1, 1 << 30) as usize
    }

    pub(super) fn sync(&mut self, key: &'static str) -> bool {
        match self.value(key).as_deref() {
            None | Some(b"always") => true,
            Some(b"never") => false,
            Some(other) => {
                self.report(key, other, "must be always or never");
                true
            }
        }
    }

    /// Permissions of files, in octal digits as for chmod. They must let the owner read and write.
    pub(super) fn file_mode(&mut self, key: &'static str) -> u32 {
        const DEFAULT: u32 = 0o600;
        let Some(value) = self.value(key) else { return DEFAULT };
        let text = std::str::from_utf8(&value).unwrap_or_default().trim();
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => mode,
            _ => {
                self.report(key, &value, "must be permissions for files, from 600 to 666, as for chmod");
                DEFAULT
            }
        }
    }

    pub(super) fn high_watermark(&mut self, key: &'static str, default: i64) -> i32 {
        self.number_with_suffix(key, default, 0, i64::from(i32::MAX)) as i32
    }

    /// Any number except 0 is true, as in 0.1.0.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        let Some(value) = self.value(key) else { return false };
        let why = "must be 0 or 1";
        let Some((number, rest)) = digits(&value) else {
            self.report(key, &value, why);
            return false;
        };
        if !rest.trim_ascii().is_empty() {
            self.report_accepted(key, &value, why.into(), if number != 0 { "1" } else { "0" });
        }
        number != 0
    }

    /// A member of a group cannot begin at a time: the search in a partition does not find out where each slot begins.
    pub(super) fn offset_reset(&mut self, key: &'static str, is_member: bool) -> Option<OffsetReset> {
        let value = self.value(key)?;
        if is_member && matches!(OffsetReset::parse(&value), Some(OffsetReset::Time(_))) {
            self.report(key, &value, "must not be a time in a group (consumer/group)");
            return None;
        }
        Some(OffsetReset::parse(&value).unwrap_or_else(|| {
            self.report_accepted(key, &value, format!("must be {}", OffsetReset::VALID), "earliest");
            OffsetReset::Earliest
        }))
    }

    pub(super) fn isolation(&mut self, key: &'static str) -> Isolation {
        match self.value(key).as_deref() {
            Some(b"acknowledged") => Isolation::Acknowledged,
            Some(b"published") | None => Isolation::Published,
            Some(other) => {
                self.report(key, other, "must be published or acknowledged");
                Isolation::Published
            }
        }
    }

    /// An empty value counts as no name.
    pub(super) fn consumer_name(&mut self, key: &'static str, max_len: usize) -> Option<Vec<u8>> {
        let value = self.value(key).filter(|value| !value.is_empty())?;
        if !is_consumer_name(&value) || value.len() > max_len || is_of_group(&value) {
            let why =
                format!("must be a name of at most {max_len} bytes, without the control character 0x1F");
            self.report(key, &value, why);
            return None;
        }
        Some(value)
    }

    pub(super) fn group_by(&mut self, key: &'static str) -> GroupBy {
        match self.value(key).as_deref() {
            Some(b"offset") | None => GroupBy::Offset,
            Some(b"key") => GroupBy::Key,
            Some(b"partition") => GroupBy::Partition,
            Some(other) => {
                self.report(key, other, "must be offset, key or partition");
                GroupBy::Offset
            }
        }
    }

    pub(super) fn commit(&mut self, key: &'static str) -> Commit {
        match self.value(key).as_deref() {
            Some(b"manual") => Commit::Manual,
            Some(b"auto") | None => Commit::Auto,
            Some(other) => {
                self.report(key, other, "must be auto or manual");
                Commit::Auto
            }
        }
    }

    pub(super) fn compression(&mut self, key: &'static str) -> Option<Compression> {
        match self.value(key).as_deref() {
            Some(b"lz4") => Some(Compression::Lz4),
            Some(b"zstd") => Some(Compression::Zstd),
            Some(b"none") | None => None,
            Some(other) => {
                self.report(key, other, "must be none, lz4 or zstd");
                None
            }
        }
    }

    pub(super) fn topic_match(&mut self, key: &'static str) -> TopicMatch {
        match self.value(key).as_deref() {
            Some(b"prefix") => TopicMatch::Prefix,
            Some(b"exact") | None => TopicMatch::Exact,
            Some(other) => {
                self.report(key, other, "must be exact or prefix");
                TopicMatch::Exact
            }
        }
    }

    pub(super) fn directory(&mut self, key: &'static str, default: &str) -> OsString {
        match self.value(key) {
            Some(value) if value.is_empty() => {
                self.report(key, &value, "must name a directory");
                default.into()
            }
            Some(value) => OsString::from_vec(value),
            None => default.into(),
        }
    }

    /// The name of a producer. `None` when the key is not set, or empty. An invalid name stays: the producer must not run
    /// without a name, so it fails when it opens its outbox.
    pub(super) fn producer_name(&mut self, key: &'static str) -> Option<Vec<u8>> {
        let value = self.value(key).filter(|value| !value.is_empty())?;
        let why = "must have at most 255 characters; each one except letters, digits, \".\", \"_\" and \"-\" counts \
                   as three";
        if !is_name(&value) {
            self.report_with(key, &value, why, "the producer does not start");
        }
        Some(value)
    }

    pub(super) fn host(&mut self, key: &'static str) -> String {
        let value = self.value(key).unwrap_or_default();
        if let Ok(host) = str::from_utf8(&value)
            && (host.is_empty()
                || host.is_ascii() && host.len() <= 255 && canonical(&format!("tcp://{host}:1")).is_some())
        {
            return host.into();
        }
        let why =
            "must be a host name or the address of one host, without a port, of at most 255 ASCII characters";
        self.report(key, &value, why);
        String::new()
    }

    pub(super) fn address(&mut self, key: &'static str, default: &'static str) -> TowerAddress {
        let Some(value) = self.value(key) else { return default.into() };
        TowerAddress::check(&value).unwrap_or_else(|why| {
            self.report(key, &value, why);
            default.into()
        })
    }

    pub(super) fn addresses(&mut self, key: &'static str, default: &'static str) -> Vec<TowerAddress> {
        let Some(value) = self.value(key) else { return vec![default.into()] };
        let addresses: Result<Vec<_>, _> =
            value.split(|&octet| octet == b',').map(TowerAddress::check).collect();
        addresses.unwrap_or_else(|why| {
            self.report(key, &value, why);
            vec![default.into()]
        })
    }
}

/// Splits a value into the number at its beginning, as C's `atoi` reads it, and the rest. `None` when it does not begin
/// with a number.
fn digits(value: &[u8]) -> Option<(i64, &[u8])> {
    let value = value.trim_ascii_start();
    let sign_len = usize::from(value.first().is_some_and(|&octet| octet == b'-' || octet == b'+'));
    let len = sign_len + value[sign_len..].iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (number, rest) = value.split_at(len);
    Some((str::from_utf8(number).ok()?.parse().ok()?, rest))
}

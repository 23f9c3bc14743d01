//! The outbox of a named producer: the records that the producer publishes, until stores have acknowledged them.
//!
//! A producer writes each record to its outbox before it publishes the record. When the producer has been killed, the
//! next one with the same name finds here the address of the partition, the offset of the next record, and all records
//! that may be unacknowledged. doc/storage-format.md describes the files.
//!
//! An outbox is a directory. The producer that uses it has a lock on it. The records are in files of up to about 8 MiB,
//! in the order of their offsets. A file whose records are all acknowledged is removed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::directory::{self, Lock, failed};
use super::error::OpenError;
use super::records::Records;
use crate::text::printable_path;
use crate::wire::batch::AnyBatch;
use entry::Entry;
use files::{Current, Found, Note};

mod entry;
mod files;
mod number;

/// The length of an address.
pub const ADDRESS_LEN: usize = 32;

/// When a file has reached this length, the next records go to a new file.
const FILE_LEN_BYTES: u64 = 8 << 20;

/// The permissions of new files. Only the user who runs the producer needs them.
const FILE_MODE: u32 = 0o600;

/// The most slices that one system call writes.
const MAX_SLICES: usize = 1_000;

/// How many directories belong to an outbox: its own one, that of its topic, and `base`.
const OUTBOX_DEPTH: usize = 3;

/// The time between two notes of the acknowledged records. Each note is a write to another part of the file, which the
/// next synchronization includes.
const NOTE_INTERVAL: Duration = Duration::from_millis(100);

/// Why an outbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// An operation on a file or directory failed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Another producer uses the outbox.
    #[error("another producer with the same name uses the outbox {}", printable_path(path))]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The name of a topic or producer makes the name of a directory too long.
    #[error(
        "{what} is too long for a named producer: it may have 255 characters, and each one except letters, digits, \
         \".\", \"_\" and \"-\" counts as three"
    )]
    TooLong {
        /// Which name it is.
        what: &'static str,
    },
    /// A file does not have the format of an outbox.
    #[error(
        "{} is damaged, or not a file of an outbox: {reason}; it was left untouched",
        printable_path(path)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Records that an outbox contained when it was opened.
#[derive(Debug)]
pub enum Kept {
    /// One record without key and headers: its content, and its timestamp in milliseconds since the Unix epoch.
    One(Vec<u8>, Option<i64>),
    /// A batch.
    Batch(AnyBatch<Vec<u8>>),
}

/// What an outbox contained when it was opened.
#[derive(Debug)]
pub struct Contents {
    /// The address of the partition.
    pub address: String,
    /// The records before this offset are acknowledged.
    pub acknowledged: u64,
    /// The offset of the first record in `kept`. It may be below `acknowledged`.
    pub first: u64,
    /// All records from `first` on, in order.
    pub kept: Vec<Kept>,
}

/// An outbox that this process uses.
pub struct Outbox {
    dir: PathBuf,
    is_synced: bool,
    address: [u8; ADDRESS_LEN],
    /// The first offset of each file. The last file is `current`.
    firsts: VecDeque<u64>,
    current: Current,
    /// The current file may have a part of a failed write after its complete entries.
    is_torn: bool,
    /// The next records cannot go to the current file.
    must_begin_file: bool,
    next: u64,
    acknowledged: u64,
    /// The `acknowledged` in the note of the current file.
    noted: u64,
    noted_at: Instant,
    // Dropped last.
    _lock: Lock,
}

impl Outbox {
    /// Opens the outbox of a producer, and creates it if it does not exist. `base` contains the outboxes of all
    /// producers. `new_address` becomes the address of an outbox that has never had records. With `is_synced`, records
    /// are on disk when they have been appended.
    ///
    /// # Errors
    /// See [`OutboxError`].
    pub fn open(
        base: &Path,
        topic: &[u8],
        name: &[u8],
        new_address: &[u8; ADDRESS_LEN],
        is_synced: bool,
    ) -> Result<(Outbox, Contents), OutboxError> {
        let topic = file_name(topic).ok_or(OutboxError::TooLong { what: "the topic" })?;
        let name = file_name(name).ok_or(OutboxError::TooLong { what: "the name" })?;
        let dir = base.join(topic).join(name);
        directory::create_private(&dir)?;
        let lock = directory::lock(&dir, FILE_MODE).map_err(|error| match error {
            OpenError::Locked { path } => OutboxError::InUse { path },
            error => OutboxError::Open(error),
        })?;
        let Found { mut firsts, last, torn_bytes, acknowledged, first, kept, end } = files::load(&dir)?;
        // A process that was killed may have created entries without synchronizing them.
        directory::sync_with_parents(&dir, OUTBOX_DEPTH)?;
        let has_records = end > 0 || acknowledged > 0;
        let (current, is_new) = match last {
            Some(last) => (last, false),
            None => {
                firsts.push_back(0);
                let new = files::create(&dir, 0, *new_address, is_synced, Note { acknowledged: 0 });
                (new.map_err(failed("create a file in", &dir))?, true)
            }
        };
        // Without records, the file has another address.
        let can_continue = has_records && current.header.is_synced == is_synced && acknowledged <= end;
        let mut outbox = Outbox {
            address: if has_records { current.header.address } else { *new_address },
            dir,
            is_synced,
            firsts,
            current,
            is_torn: !is_new,
            must_begin_file: !is_new && !can_continue,
            // After a power failure, the note may be newer than records that were not synchronized.
            next: end.max(acknowledged),
            acknowledged,
            noted: 0,
            noted_at: Instant::now(),
            _lock: lock,
        };
        if !is_new {
            outbox.repair(torn_bytes).map_err(failed("repair the outbox", &outbox.dir))?;
        }
        outbox.remove_acknowledged();
        let address = String::from_utf8_lossy(&outbox.address).into_owned();
        Ok((outbox, Contents { address, acknowledged, first, kept }))
    }

    /// Removes an interrupted write, and synchronizes the records that were found: they will be published.
    fn repair(&mut self, torn_bytes: u64) -> io::Result<()> {
        if torn_bytes > 0 {
            log::warn!(
                "Producer: the last write to the outbox {} was interrupted; removed its {torn_bytes} bytes",
                printable_path(&self.dir)
            );
        }
        self.cut()?;
        if self.is_synced {
            self.current.file.sync_data()?;
        }
        if self.is_wasteful() {
            // If this fails, the old file stays.
            let _ = self.begin_file();
        }
        Ok(())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The offset after the last record.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Appends records. If it fails, the outbox contains none of them, and the call can be repeated.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn append<'a>(&mut self, runs: impl IntoIterator<Item = Records<'a>>) -> io::Result<()> {
        self.cut()?;
        if self.must_begin_file || self.current.len_bytes >= FILE_LEN_BYTES {
            self.begin_file()?;
        }
        let (salt, append) = (self.current.header.salt, self.next);
        let mut next = append;
        let entries: Vec<Entry> = runs
            .into_iter()
            .map(|records| {
                let count = records.count() as u64;
                let entry = Entry::new(salt, append, next, records);
                next += count;
                entry
            })
            .collect();
        self.is_torn = true;
        let written = write_all(&mut self.current.file, &entries);
        let written =
            written.and_then(|()| if self.is_synced { self.current.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // On a full disk, other programs need this space, and the next attempt too. If this fails, the next attempt
            // removes the incomplete entries.
            let _ = self.cut();
            return Err(error);
        }
        self.is_torn = false;
        self.current.len_bytes += entries.iter().map(Entry::len_bytes).sum::<u64>();
        self.next = next;
        Ok(())
    }

    /// Removes what a failed write has left after the complete entries.
    fn cut(&mut self) -> io::Result<()> {
        if self.is_torn {
            let Current { file, len_bytes, .. } = &mut self.current;
            file.set_len(*len_bytes)?;
            file.seek(SeekFrom::Start(*len_bytes))?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// The records before `end` are acknowledged. Removes files that are no longer needed. To be called also when `end`
    /// is the same as before: it is noted later if the last note is recent.
    pub fn acknowledge(&mut self, end: u64) {
        if end > self.acknowledged {
            self.acknowledged = end;
            self.remove_acknowledged();
        }
        if self.noted != self.acknowledged && self.noted_at.elapsed() >= NOTE_INTERVAL {
            self.note();
            self.noted_at = Instant::now();
        }
    }

    /// Notes which records are acknowledged. If this fails, the next producer publishes records again that are
    /// acknowledged.
    fn note(&mut self) {
        let note = Note { acknowledged: self.acknowledged }.encode();
        let _ = self.current.file.write_all_at(&note, files::NOTE_AT);
        self.noted = self.acknowledged;
    }

    fn remove_acknowledged(&mut self) {
        while let Some(&second) = self.firsts.get(1)
            && second <= self.acknowledged
        {
            // If this fails, the next open tries again.
            let _ = std::fs::remove_file(files::path(&self.dir, self.firsts[0]));
            self.firsts.pop_front();
        }
    }

    /// The next records go to a new file. All earlier files are then complete, and on disk.
    fn begin_file(&mut self) -> io::Result<()> {
        self.cut()?;
        if !self.current.header.is_synced {
            self.current.file.sync_data()?;
        }
        let note = Note { acknowledged: self.acknowledged };
        self.current = files::create(&self.dir, self.next, self.address, self.is_synced, note)?;
        (self.must_begin_file, self.noted) = (false, self.acknowledged);
        // Without records, the new file has replaced the current one.
        if self.firsts.back() != Some(&self.next) {
            self.firsts.push_back(self.next);
        }
        self.remove_acknowledged();
        Ok(())
    }

    /// Whether only acknowledged records occupy space.
    fn is_wasteful(&self) -> bool {
        self.acknowledged == self.next && self.current.len_bytes > files::HEADER_LEN
    }
}

impl Drop for Outbox {
    /// An outbox without unacknowledged records needs little space.
    fn drop(&mut self) {
        // If beginning a file fails, the old one stays.
        if !(self.is_wasteful() && self.begin_file().is_ok()) && self.noted != self.acknowledged {
            self.note();
        }
    }
}

/// Writes entries, with few system calls.
fn write_all(file: &mut File, entries: &[Entry]) -> io::Result<()> {
    let mut slices: Vec<IoSlice> =
        entries.iter().flat_map(Entry::slices).filter(|slice| !slice.is_empty()).map(IoSlice::new).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let count = left.len().min(MAX_SLICES);
        match file.write_vectored(&left[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => IoSlice::advance_slices(&mut left, len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The name of a directory for any name: letters, digits, `_`, `-` and inner dots as they are, other octets as `%` and
/// two hexadecimal digits. `None` when it is too long or empty.
fn file_name(name: &[u8]) -> Option<PathBuf> {
    let mut encoded = Vec::new();
    for &octet in name {
        match octet {
            b'.' if encoded.is_empty() => encoded.extend(b"%2E"),
            b'.' | b'_' | b'-' => encoded.push(octet),
            _ if octet.is_ascii_alphanumeric() => encoded.push(octet),
            _ => encoded.extend(format!("%{octet:02X}").as_bytes()),
        }
    }
    (1..=255).contains(&encoded.len()).then(|| std::ffi::OsStr::from_bytes(&encoded).into())
}

/// Whether a producer may have this name.
pub fn is_name(name: &[u8]) -> bool {
    file_name(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_short_name_names_a_directory() {
        let of = |name: &[u8]| file_name(name).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(of(b"station-7.b_C").as_deref(), Some("station-7.b_C"));
        assert_eq!(of(b"../a b\xff").as_deref(), Some("%2E.%2Fa%20b%FF"));
        assert_eq!((of(b""), of(&[b'a'; 256]), of(&[b'/'; 86])), (None, None, None));
        assert_eq!((of(&[b'a'; 255]).is_some(), of(&[b'/'; 85]).is_some()), (true, true));
    }
}

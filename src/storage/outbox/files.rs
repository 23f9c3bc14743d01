//! The files of an outbox. doc/storage-format.md describes their format.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{ADDRESS_LEN, FILE_MODE, Kept, OutboxError};
use crate::storage::directory::failed;
use crate::storage::records::Records;
use crate::wire::batch::{AnyBatch, MAX_LEN_BYTES};

/// How the header of a file begins: a name, and the version of the format.
const MAGIC: &[u8; 16] = b"dafka outbox\0\0\0\x01";
/// The length of a file's header.
pub(super) const HEADER_LEN: u64 = 80;
/// Where the note of the acknowledged records is in the header.
pub(super) const NOTE_AT: u64 = 64;
/// The length of the note.
const NOTE_LEN: usize = 16;
/// The length of an entry's header.
const ENTRY_HEADER_LEN: usize = 32;
/// How the names of files end.
const EXTENSION: &str = "outbox";
/// How the name of a file under construction ends.
const NEW_EXTENSION: &str = "new";

/// The path of the file whose first record has this offset.
pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:016X}.{EXTENSION}"))
}

/// The note of the acknowledged records, in the header of a file.
#[derive(Clone, Copy)]
pub(super) struct Note {
    pub(super) acknowledged: u64,
}

impl Note {
    /// The offset, and its complement. So a note that is not complete is detected.
    pub(super) fn encode(self) -> [u8; NOTE_LEN] {
        let mut octets = [0; NOTE_LEN];
        octets[..8].copy_from_slice(&self.acknowledged.to_be_bytes());
        octets[8..].copy_from_slice(&(!self.acknowledged).to_be_bytes());
        octets
    }

    fn decode(octets: &[u8]) -> Option<Note> {
        let (acknowledged, complement) = (number_8(octets, 0), number_8(octets, 8));
        (complement == !acknowledged).then_some(Note { acknowledged })
    }
}

/// The 8 octets at `at`, as a number.
fn number_8(octets: &[u8], at: usize) -> u64 {
    let octets = octets.get(at..at + 8).and_then(|octets| octets.try_into().ok());
    octets.map_or(0, u64::from_be_bytes)
}

/// The 4 octets at `at`, as a number.
fn number_4(octets: &[u8], at: usize) -> u32 {
    let octets = octets.get(at..at + 4).and_then(|octets| octets.try_into().ok());
    octets.map_or(0, u32::from_be_bytes)
}

/// Creates a file without records. `first` is the offset of its first record.
pub(super) fn create(
    dir: &Path,
    first: u64,
    address: &[u8; ADDRESS_LEN],
    note: Note,
    is_synced: bool,
) -> io::Result<File> {
    let path = path(dir, first);
    let new = path.with_extension(NEW_EXTENSION);
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).read(true).write(true).mode(FILE_MODE);
    let mut file = options.open(&new)?;
    let mut header = [&MAGIC[..], &first.to_be_bytes(), address].concat();
    header.extend(crc32fast::hash(&header).to_be_bytes());
    header.extend([0; 4]);
    header.extend(note.encode());
    file.write_all(&header)?;
    if is_synced {
        file.sync_data()?;
    }
    fs::rename(&new, &path)?;
    if is_synced {
        File::open(dir)?.sync_all()?;
    }
    Ok(file)
}

/// An entry to write.
pub(super) struct Entry<'a> {
    header: [u8; ENTRY_HEADER_LEN],
    content: Cow<'a, [u8]>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(first: u64, records: Records<'a>) -> Entry<'a> {
        let count = records.count() as u32;
        let (is_record, timestamp_ms, content) = match records {
            Records::One(content, timestamp_ms) => (true, timestamp_ms, content.into()),
            Records::Compressed(batch) => (false, None, batch.into_octets().into()),
            Records::Of(batch, range) if range.len() == batch.count() => {
                (false, None, batch.into_octets().into())
            }
            Records::Of(batch, range) => {
                let part = batch.copy(range).expect("a run has records");
                (false, None, part.into_octets().into())
            }
        };
        let content: Cow<[u8]> = content;
        let mut header = [0; ENTRY_HEADER_LEN];
        header[4..8].copy_from_slice(&(content.len() as u32).to_be_bytes());
        header[8..16].copy_from_slice(&first.to_be_bytes());
        header[16..20].copy_from_slice(&count.to_be_bytes());
        header[20] = u8::from(is_record);
        header[21] = u8::from(timestamp_ms.is_some());
        header[24..].copy_from_slice(&timestamp_ms.unwrap_or(0).to_be_bytes());
        let checksum = checksum(&header, &content);
        header[..4].copy_from_slice(&checksum.to_be_bytes());
        Entry { header, content }
    }

    pub(super) fn slices(&self) -> [&[u8]; 2] {
        [&self.header, &self.content]
    }

    pub(super) fn len_bytes(&self) -> u64 {
        (ENTRY_HEADER_LEN + self.content.len()) as u64
    }
}

/// The checksum of an entry, without the field that contains it.
fn checksum(header: &[u8; ENTRY_HEADER_LEN], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[4..]);
    hasher.update(content);
    hasher.finalize()
}

/// What the files contain.
#[derive(Default)]
pub(super) struct Found {
    /// `None` without files.
    pub(super) address: Option<[u8; ADDRESS_LEN]>,
    /// The first offset of each file.
    pub(super) firsts: VecDeque<u64>,
    /// The last file, and the length of its complete entries.
    pub(super) last: Option<(File, u64)>,
    pub(super) acknowledged: u64,
    /// The offset of the first record in `kept`.
    pub(super) first: u64,
    /// All entries with records that are not acknowledged.
    pub(super) kept: Vec<Kept>,
    /// The offset after the last record.
    pub(super) end: u64,
}

/// Reads all files. Removes files whose construction was interrupted.
pub(super) fn load(dir: &Path) -> Result<Found, OutboxError> {
    let mut found = Found { firsts: firsts(dir)?, ..Found::default() };
    let mut files = Vec::new();
    for &first in &found.firsts {
        let path = path(dir, first);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(&path).map_err(failed("open the file", &path))?;
        let mut header = [0; HEADER_LEN as usize];
        let is_header = file.read_exact_at(&mut header, 0).is_ok() && is_header(&header, first);
        let address: [u8; ADDRESS_LEN] = header[24..56].try_into().unwrap_or_default();
        if !is_header || found.address.is_some_and(|known| known != address) {
            return Err(OutboxError::Damaged { path, reason: "its header is invalid" });
        }
        found.address = Some(address);
        let note = Note::decode(&header[NOTE_AT as usize..]);
        found.acknowledged = note.map_or(0, |note| note.acknowledged).max(found.acknowledged);
        files.push((path, file));
    }
    let Some(&first) = found.firsts.front() else { return Ok(found) };
    found.acknowledged = found.acknowledged.max(first);
    (found.first, found.end) = (first, first);
    let count = files.len();
    for (index, (path, file)) in files.into_iter().enumerate() {
        if found.firsts[index] != found.end {
            return Err(OutboxError::Damaged { path, reason: "records are missing before it" });
        }
        let (len_bytes, is_whole) = load_entries(&path, &file, &mut found)?;
        if index + 1 < count && !is_whole {
            return Err(OutboxError::Damaged { path, reason: "an entry is invalid" });
        }
        found.last = Some((file, len_bytes));
    }
    Ok(found)
}

/// The first offset of each file, in ascending order.
fn firsts(dir: &Path) -> Result<VecDeque<u64>, OutboxError> {
    let unreadable = || failed("list the directory", dir);
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable())? {
        let path = entry.map_err(unreadable())?.path();
        let first = path.file_stem().and_then(|stem| u64::from_str_radix(stem.to_str()?, 16).ok());
        match (path.extension().and_then(|extension| extension.to_str()), first) {
            (Some(EXTENSION), Some(first)) => firsts.push(first),
            (Some(NEW_EXTENSION), Some(_)) => fs::remove_file(&path).map_err(failed("remove", &path))?,
            _ => {}
        }
    }
    firsts.sort_unstable();
    Ok(firsts.into())
}

fn is_header(header: &[u8; HEADER_LEN as usize], first: u64) -> bool {
    header.starts_with(MAGIC)
        && number_8(header, 16) == first
        && number_4(header, 56) == crc32fast::hash(&header[..56])
}

/// Reads the entries of a file. Returns the length of its complete entries, and whether nothing follows them.
fn load_entries(path: &Path, file: &File, found: &mut Found) -> Result<(u64, bool), OutboxError> {
    let file_len = file.metadata().map_err(failed("access the file", path))?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut len_bytes = HEADER_LEN;
    let unreadable = || failed("read the file", path);
    reader.seek_relative(HEADER_LEN as i64).map_err(unreadable())?;
    while len_bytes < file_len {
        let mut header = [0; ENTRY_HEADER_LEN];
        match reader.read_exact(&mut header) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok((len_bytes, false)),
            read => read.map_err(unreadable())?,
        }
        let content_len = u64::from(number_4(&header, 4));
        let end_bytes = len_bytes + ENTRY_HEADER_LEN as u64 + content_len;
        if end_bytes > file_len || content_len > MAX_LEN_BYTES as u64 {
            return Ok((len_bytes, false));
        }
        let mut content = vec![0; content_len as usize];
        reader.read_exact(&mut content).map_err(unreadable())?;
        let count = u64::from(number_4(&header, 16));
        let is_valid = number_4(&header, 0) == checksum(&header, &content)
            && number_8(&header, 8) == found.end
            && found.end.checked_add(count).is_some();
        let Some(kept) = kept(&header, content, count).filter(|_| is_valid) else {
            return Ok((len_bytes, false));
        };
        (len_bytes, found.end) = (end_bytes, found.end + count);
        if found.end > found.acknowledged {
            found.kept.push(kept);
        } else {
            found.first = found.end;
        }
    }
    Ok((len_bytes, true))
}

/// The records of an entry. `None` if the entry is invalid.
fn kept(header: &[u8; ENTRY_HEADER_LEN], content: Vec<u8>, count: u64) -> Option<Kept> {
    let timestamp_ms = (header[21] != 0).then(|| number_8(header, 24) as i64);
    match header[20] {
        1 if count == 1 => Some(Kept::One(content, timestamp_ms)),
        0 => AnyBatch::check(content).ok().filter(|batch| batch.count() as u64 == count).map(Kept::Batch),
        _ => None,
    }
}

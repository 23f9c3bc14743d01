//! The files of an outbox. doc/storage-format.md describes their format.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::number::{number_4, number_8};
use super::{ADDRESS_LEN, FILE_MODE, Kept, OutboxError, entry};
use crate::storage::directory::failed;

/// How the header of a file begins: a name, and the version of the format.
const MAGIC: &[u8; 16] = b"dafka outbox\0\0\0\x01";
/// The length of a file's header.
pub(super) const HEADER_LEN: u64 = 96;
/// Where the checksum of the octets before it is in the header.
const CHECKSUM_AT: usize = 68;
/// Where the note of the acknowledged records is in the header.
pub(super) const NOTE_AT: u64 = 80;
/// The length of the note.
const NOTE_LEN: usize = 16;
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

/// The header of a file, without its note.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// The offset of the first record.
    pub(super) first: u64,
    pub(super) address: [u8; ADDRESS_LEN],
    /// See `entry::checksum`.
    pub(super) salt: u64,
    /// Each append is synchronized before the next one.
    pub(super) is_synced: bool,
}

impl Header {
    fn encode(self) -> Vec<u8> {
        let mut octets = [&MAGIC[..], &self.first.to_be_bytes(), &self.address].concat();
        octets.extend(self.salt.to_be_bytes());
        octets.extend(u32::from(self.is_synced).to_be_bytes());
        octets.extend(crc32fast::hash(&octets).to_be_bytes());
        octets.extend([0; 8]);
        octets
    }

    fn decode(octets: &[u8; HEADER_LEN as usize]) -> Option<Header> {
        let is_valid = octets.starts_with(MAGIC)
            && number_4(octets, CHECKSUM_AT) == crc32fast::hash(&octets[..CHECKSUM_AT]);
        is_valid.then(|| Header {
            first: number_8(octets, 16),
            address: octets[24..56].try_into().unwrap_or_default(),
            salt: number_8(octets, 56),
            is_synced: number_4(octets, 64) != 0,
        })
    }
}

/// Creates a file without records, and synchronizes it and its directory.
pub(super) fn create(
    dir: &Path,
    first: u64,
    address: [u8; ADDRESS_LEN],
    is_synced: bool,
    note: Note,
) -> io::Result<Current> {
    let path = path(dir, first);
    let new = path.with_extension(NEW_EXTENSION);
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).read(true).write(true).mode(FILE_MODE);
    let mut file = options.open(&new)?;
    // Any two hashers have different random keys.
    let salt = RandomState::new().hash_one(first);
    let header = Header { first, address, salt, is_synced };
    file.write_all(&[&header.encode()[..], &note.encode()].concat())?;
    file.sync_data()?;
    fs::rename(&new, &path)?;
    File::open(dir)?.sync_all()?;
    Ok(Current { file, header, len_bytes: HEADER_LEN })
}

/// The last file.
pub(super) struct Current {
    pub(super) file: File,
    pub(super) header: Header,
    /// The length of its complete entries.
    pub(super) len_bytes: u64,
}

/// What the files contain.
#[derive(Default)]
pub(super) struct Found {
    /// The first offset of each file.
    pub(super) firsts: VecDeque<u64>,
    /// The last file. `None` without files.
    pub(super) last: Option<Current>,
    /// How many octets follow the complete entries of the last file.
    pub(super) torn_bytes: u64,
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
    let mut address = None;
    for &first in &found.firsts {
        let path = path(dir, first);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(&path).map_err(failed("open the file", &path))?;
        let mut octets = [0; HEADER_LEN as usize];
        let is_complete = file.read_exact_at(&mut octets, 0).is_ok();
        let header = Header::decode(&octets).filter(|header| {
            is_complete && header.first == first && *address.get_or_insert(header.address) == header.address
        });
        let Some(header) = header else {
            return Err(OutboxError::Damaged { path, reason: "its header is invalid" });
        };
        let note = Note::decode(&octets[NOTE_AT as usize..]);
        found.acknowledged = note.map_or(0, |note| note.acknowledged).max(found.acknowledged);
        files.push((path, file, header));
    }
    let Some(&first) = found.firsts.front() else { return Ok(found) };
    found.acknowledged = found.acknowledged.max(first);
    // A file whose records are all acknowledged may be incomplete: its removal was perhaps interrupted.
    let unneeded = found.firsts.iter().skip(1).take_while(|&&first| first <= found.acknowledged).count();
    (found.first, found.end) = (found.firsts[unneeded], found.firsts[unneeded]);
    let count = files.len();
    for (index, (path, file, header)) in files.into_iter().enumerate().skip(unneeded) {
        if header.first != found.end {
            return Err(OutboxError::Damaged { path, reason: "records are missing before it" });
        }
        let len_bytes = load_entries(&path, &file, &header, &mut found)?;
        let torn_bytes = file.metadata().map_err(failed("access the file", &path))?.len() - len_bytes;
        if torn_bytes > 0 {
            let is_last = index + 1 == count;
            check_end(&path, &file, len_bytes, is_last, &header, found.end)?;
        }
        found.torn_bytes = torn_bytes;
        found.last = Some(Current { file, header, len_bytes });
        if found.acknowledged > found.end && header.is_synced && index + 1 == count {
            return Err(OutboxError::Damaged { path, reason: "acknowledged records are missing" });
        }
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

/// Reads the entries of a file. Returns the length of its complete entries.
fn load_entries(path: &Path, file: &File, header: &Header, found: &mut Found) -> Result<u64, OutboxError> {
    let file_len = file.metadata().map_err(failed("access the file", path))?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut len_bytes = HEADER_LEN;
    let mut append = header.first;
    let unreadable = || failed("read the file", path);
    reader.seek_relative(HEADER_LEN as i64).map_err(unreadable())?;
    loop {
        let mut octets = [0; entry::HEADER_LEN];
        match reader.read_exact(&mut octets) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(len_bytes),
            read => read.map_err(unreadable())?,
        }
        let is_next = |entry: &entry::Header| {
            entry.first == found.end
                && (entry.append == found.end || entry.append == append)
                && found.end.checked_add(entry.count).is_some()
        };
        let Some(entry) = entry::Header::check(header.salt, &octets).filter(is_next) else {
            return Ok(len_bytes);
        };
        let end_bytes = len_bytes + (entry::HEADER_LEN + entry.content_len) as u64;
        if end_bytes > file_len {
            return Ok(len_bytes);
        }
        let mut content = vec![0; entry.content_len];
        reader.read_exact(&mut content).map_err(unreadable())?;
        let Some(kept) = entry.read(content) else { return Ok(len_bytes) };
        (len_bytes, append, found.end) = (end_bytes, entry.append, found.end + entry.count);
        if found.end > found.acknowledged {
            found.kept.push(kept);
        } else {
            found.first = found.end;
        }
    }
}

/// Checks a file that has more than its complete entries, which end at `len_bytes` and before the record `end`. This is
/// an interrupted write at the end of the last file, or else damage.
fn check_end(
    path: &Path,
    file: &File,
    len_bytes: u64,
    is_last: bool,
    header: &Header,
    end: u64,
) -> Result<(), OutboxError> {
    let damaged = |reason| Err(OutboxError::Damaged { path: path.to_path_buf(), reason });
    if !is_last {
        return damaged("an entry is invalid");
    }
    if !header.is_synced {
        // A power failure may have damaged any append.
        return Ok(());
    }
    let (mut rest, mut reader) = (Vec::new(), file);
    let read = reader.seek(SeekFrom::Start(len_bytes)).and_then(|_| reader.read_to_end(&mut rest));
    read.map_err(failed("read the file", path))?;
    // The next append only began when this one was on disk.
    match entry::has_later_append(header.salt, &rest, end) {
        true => damaged("an entry is invalid, and a later one is valid"),
        false => Ok(()),
    }
}

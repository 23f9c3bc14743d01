//! Lists the partitions of a log, also while a store uses the log. The listing changes nothing, and does not register
//! as a reader.
//!
//! The listing reads the file without LMDB, for three reasons. A process that reads through LMDB needs write access to
//! LMDB's table of readers. If that process is killed, old pages are not reused until its entry in this table is
//! cleared. Two processes in different PID namespaces may get the same entry. But when the listing has no entry, the
//! store may overwrite pages while the listing reads them. So the listing reads few pages at a time, and reads them
//! again if the store may have overwritten them.

use std::fs;
use std::path::Path;

use super::super::directory::{self, DATA_FILE, failed};
use super::super::error::OpenError;
use super::super::keys::{PartitionKey, PartitionValue};
use super::super::opening;
use super::super::partitions::Partition;
use super::database;
use super::pages::{Header, PageError, Pages};

/// After this many attempts to read some pages, the result of the last attempt counts, even if the store may have
/// overwritten the pages. A commit takes longer than one attempt, so even a busy store does not make all attempts fail.
const MAX_TRIES: usize = 100_000;

/// Keys and values of a table.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// All partitions of the log in `dir`, sorted by topic and producer. While a store writes, the result is not a
/// snapshot: each partition is shown as it was when it was read.
///
/// This process or another one may use the log at the same time. Only the database file is read.
///
/// # Errors
///
/// When there is no log, or the log cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Partition>, OpenError> {
    directory::check_links(dir)?;
    if !fs::metadata(dir).map_err(failed("access the directory", dir))?.is_dir() {
        return Err(OpenError::NotADirectory { path: dir.to_path_buf() });
    }
    directory::check_entries(dir)?;
    let data = dir.join(DATA_FILE);
    database::check_headers(&data)?;
    let pages = Pages::open(&data).map_err(failed("open the database", &data))?;
    let mut listed = Vec::new();
    read_all(&pages, &data, &mut |partition| listed.push(partition))?;
    // In the database, partitions are sorted by the length of the topic first.
    listed.sort_by(|a, b| a.name().cmp(&b.name()));
    Ok(listed)
}

fn read_all(pages: &Pages, data: &Path, each: &mut dyn FnMut(Partition)) -> Result<(), OpenError> {
    let page_error = |error| database::page_error(data, error);
    let meta = consistent(pages, |header| {
        let mut meta = Entries::new();
        if let Some(tree) = pages.table(header, b"meta")? {
            pages.for_each(&tree, &mut |key, value| meta.push((key.into(), value.into())))?;
        }
        Ok(meta)
    });
    let meta = meta.map_err(page_error)?;
    let value = |key: &[u8]| meta.iter().find(|(found, _)| found == key).map(|(_, value)| &**value);
    let Ok(format) = opening::format_of(|key| Ok::<_, std::convert::Infallible>(value(key)));
    opening::check_format(data, format, false)?;

    let mut after: Option<Vec<u8>> = None;
    loop {
        let found = consistent(pages, |header| some_partitions(pages, header, after.as_deref()));
        let Some(found) = found.map_err(page_error)? else {
            let reason = "it has no table of partitions";
            return Err(OpenError::NotAStore { path: data.to_path_buf(), reason });
        };
        let Some((last, _)) = found.last() else { return Ok(()) };
        let last = last.clone();
        for (key, value) in &found {
            let (Some(name), Some(value)) = (PartitionKey::name(key), PartitionValue::decode(value)) else {
                let reason = "an entry of the table of partitions is invalid";
                return Err(OpenError::NotAStore { path: data.to_path_buf(), reason });
            };
            each(Partition::new(name, value));
        }
        after = Some(last);
    }
}

/// Some entries of the table of partitions: entries that follow the key `after`, or the first entries if `after` is
/// `None`. Returns at least one entry, if there is one. Returns `None` when there is no such table.
fn some_partitions(
    pages: &Pages,
    header: &Header,
    after: Option<&[u8]>,
) -> Result<Option<Entries>, PageError> {
    let Some(tree) = pages.table(header, b"partitions")? else { return Ok(None) };
    let mut found = Entries::new();
    let after = after.unwrap_or_default();
    pages.for_some_after(&tree, after, &mut |key, value| found.push((key.into(), value.into())))?;
    Ok(Some(found))
}

/// Reads pages that the latest transaction has written or kept. Repeats the read until no later transaction can have
/// overwritten these pages during the read.
fn consistent<R>(pages: &Pages, read: impl Fn(&Header) -> Result<R, PageError>) -> Result<R, PageError> {
    let mut tries = 0;
    loop {
        let before = pages.header()?;
        let result = read(&before);
        let after = pages.header()?;
        tries += 1;
        // Only the third transaction after a transaction, or a later one, can overwrite the pages of that transaction.
        // The third one begins only after the second one is committed. So if at most one transaction was committed
        // during the read, the read is consistent. Two headers with the same transaction number can differ, because
        // LMDB uses the number of a failed transaction again.
        let is_same = after == before || after.transaction() == before.transaction().wrapping_add(1);
        if is_same || tries == MAX_TRIES {
            return result;
        }
    }
}

//! What a store holds, for its operator: read beside a store that runs, without registering as a reader, and without
//! changing anything.
//!
//! LMDB is not used here. Its table of readers must be writable, a reader that is killed holds old pages in it for as long
//! as nobody clears it, and two processes of different PID namespaces may have the same place in it. Without it, the store
//! may write over the pages that are being read. So little is read at a time, and read again when that can have happened.

use std::fs;
use std::path::Path;

use super::database;
use super::directory::{self, DATA_FILE, failed};
use super::error::OpenError;
use super::keys::{PartitionKey, PartitionValue};
use super::opening;
use super::pages::{Header, Pages, Unsound};
use super::partitions::Partition;

/// How often something is read again before the database counts as damaged. A commit takes longer than what is read at a
/// time.
const MAX_TRIES: usize = 100_000;

/// Entries of a table.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// All partitions of the log in `dir`, by topic and producer. Each is shown as it is at the moment when it is read, which is
/// not the same for all while a store writes.
///
/// The log may be in use, by this or another process. Only the file of the database is read.
///
/// # Errors
///
/// When there is no log, or it cannot be read. Nothing is changed in any case.
pub fn list(dir: &Path) -> Result<Vec<Partition>, OpenError> {
    directory::check_links(dir)?;
    if !fs::metadata(dir).map_err(failed("look at the directory", dir))?.is_dir() {
        return Err(OpenError::NotADirectory { path: dir.to_path_buf() });
    }
    directory::look(dir)?;
    let data = dir.join(DATA_FILE);
    database::check_marks(&data)?;
    let pages = Pages::open(&data).map_err(failed("open the database", &data))?;
    let mut listed = Vec::new();
    read_all(&pages, &data, &mut |partition| listed.push(partition))?;
    // The database's own order begins with the length of the topic.
    listed.sort_by(|a, b| a.name().cmp(&b.name()));
    Ok(listed)
}

fn read_all(pages: &Pages, data: &Path, each: &mut dyn FnMut(Partition)) -> Result<(), OpenError> {
    let unsound = |unsound| database::unsound(data, unsound);
    let meta = consistent(pages, |header| {
        let mut meta = Entries::new();
        if let Some(tree) = pages.table(header, b"meta")? {
            pages.walk(&tree, &mut |key, value| meta.push((key.into(), value.into())))?;
        }
        Ok(meta)
    });
    let meta = meta.map_err(unsound)?;
    let value = |key: &[u8]| meta.iter().find(|(found, _)| found == key).map(|(_, value)| &**value);
    let Ok(format) = opening::format_of(|key| Ok::<_, std::convert::Infallible>(value(key)));
    opening::check_format(data, format, false)?;

    let mut after: Option<Vec<u8>> = None;
    loop {
        let found = consistent(pages, |header| some_partitions(pages, header, after.as_deref()));
        let Some(found) = found.map_err(unsound)? else {
            let reason = "it has no table of partitions";
            return Err(OpenError::NotAStore { path: data.to_path_buf(), reason });
        };
        let Some((last, _)) = found.last() else { return Ok(()) };
        let last = last.clone();
        for (key, value) in &found {
            let (Some(name), Some(value)) = (PartitionKey::name(key), PartitionValue::decode(value)) else {
                let reason = "an entry of the table of partitions is none";
                return Err(OpenError::NotAStore { path: data.to_path_buf(), reason });
            };
            each(Partition::new(name, value));
        }
        after = Some(last);
    }
}

/// Entries of the table of partitions that follow a key, or the first ones; at least one when there are any. `None` when
/// there is no such table.
fn some_partitions(pages: &Pages, header: &Header, after: Option<&[u8]>) -> Result<Option<Entries>, Unsound> {
    let Some(tree) = pages.table(header, b"partitions")? else { return Ok(None) };
    let mut found = Entries::new();
    let after = after.unwrap_or_default();
    pages.walk_after(&tree, after, &mut |key, value| found.push((key.into(), value.into())))?;
    Ok(Some(found))
}

/// Reads something that lies within one transaction, again and again until no other one can have written over it.
fn consistent<R>(pages: &Pages, read: impl Fn(&Header) -> Result<R, Unsound>) -> Result<R, Unsound> {
    let mut tries = 0;
    loop {
        let before = pages.header()?;
        let result = read(&before);
        let after = pages.header()?;
        tries += 1;
        // What a transaction sees is written over by the third one after it at the earliest, which begins when the second
        // one is committed. The same number twice may be two transactions, the first one of which has failed.
        let is_same = after == before || after.transaction() == before.transaction().wrapping_add(1);
        if is_same || tries == MAX_TRIES {
            return result;
        }
    }
}

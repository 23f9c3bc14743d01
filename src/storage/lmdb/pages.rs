//! Checks LMDB's pages before LMDB reads them. LMDB does not check their content: a damaged page would make it access
//! memory out of bounds, or abort the process.
//!
//! Opening a log checks all pages of the small trees: free pages, tables, `meta`, `partitions` and `positions`. The tree of
//! `records` can be as large as the disk. A page of this tree is checked only once, before a read or an append first
//! visits it. Pages that are written later are sound. The records themselves are not checked here: batches and chunks
//! have checksums.

mod check;
mod format;
mod verified;

use self::check::{Each, Range, TreeCheck};
pub(super) use self::format::Tree;
use self::format::{FREE_TREE, Kind, MAIN_TREE, NO_PAGE, TABLE, TRANSACTION, TREE_LEN, word64};
use self::verified::Verified;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Why LMDB must not read a page.
#[derive(Debug)]
pub(in crate::storage) enum PageError {
    /// The page cannot be read.
    Io(io::Error),
    /// The page is damaged.
    Damaged {
        /// The number of the page.
        page: u64,
        /// What is wrong with the page.
        reason: &'static str,
    },
}

impl From<io::Error> for PageError {
    fn from(error: io::Error) -> PageError {
        PageError::Io(error)
    }
}

/// The newer one of the two header pages. It describes the last commit.
#[derive(PartialEq, Eq)]
pub(super) struct Header {
    page: u64,
    octets: Vec<u8>,
}

impl Header {
    /// The number of the transaction.
    pub(super) fn transaction(&self) -> u64 {
        word64(&self.octets, TRANSACTION)
    }
}

/// The pages of a database file.
#[derive(Debug)]
pub(in crate::storage) struct Pages {
    file: File,
    page_len: usize,
    pub(in crate::storage) verified: Verified,
}

impl Pages {
    /// Opens a database whose header pages were checked before.
    pub(super) fn open(data: &Path) -> io::Result<Pages> {
        let file = File::open(data)?;
        // The description of the first tree contains the page length.
        let mut len = [0; 4];
        file.read_exact_at(&mut len, FREE_TREE as u64)?;
        Ok(Pages { file, page_len: u32::from_ne_bytes(len) as usize, verified: Verified::default() })
    }

    /// Writes the header pages to disk again, unchanged, and synchronizes the pages that they refer to. This is
    /// necessary after a failed synchronization, because the operating system does not retry a failed write.
    ///
    /// Until this function has succeeded, nothing may be committed: the header on disk may be an older one, and a new
    /// transaction may overwrite pages that the older header refers to. While this function runs, no other thread or
    /// process may write to the database.
    pub(in crate::storage) fn rewrite_headers(&self, data: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(data)?;
        for page in 0..2 {
            file.write_all_at(&self.read(page)?, page * self.page_len as u64)?;
        }
        file.sync_data()
    }

    /// Why the path of the database no longer refers to the open file. `None` when it still does, or when that cannot
    /// be determined.
    pub(in crate::storage) fn why_gone(&self, data: &Path) -> io::Result<Option<&'static str>> {
        let open = self.file.metadata()?;
        Ok(match std::fs::metadata(data) {
            Ok(named) if (named.dev(), named.ino()) == (open.dev(), open.ino()) => None,
            Ok(_) => Some("another file has its name"),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Some("no file has its name")
            }
            // The path cannot be followed at the moment, for example because of permissions.
            Err(_) if open.nlink() > 0 => None,
            Err(_) => Some("it was removed"),
        })
    }

    /// Checks all pages that LMDB and the log read when they start.
    pub(super) fn check_small_trees(&self) -> Result<(), PageError> {
        let header = self.header()?;
        let free = Tree::new(Kind::Free, header.page, &header.octets[FREE_TREE..])?;
        self.check(&free, Range::All, &mut |_| Ok(()))?;
        for name in [&b"meta"[..], b"partitions", b"positions"] {
            if let Some(tree) = self.table(&header, name)? {
                self.check(&tree, Range::All, &mut |_| Ok(()))?;
            }
        }
        Ok(())
    }

    /// The newer header page. Another process may be writing it, so it is read until two reads agree.
    pub(super) fn header(&self) -> io::Result<Header> {
        let mut pages = (self.read(0)?, self.read(1)?);
        loop {
            let again = (self.read(0)?, self.read(1)?);
            if again == pages {
                break;
            }
            pages = again;
        }
        let (first, second) = pages;
        let is_second = word64(&first, TRANSACTION) < word64(&second, TRANSACTION);
        let (page, octets) = if is_second { (1, second) } else { (0, first) };
        Ok(Header { page, octets })
    }

    /// The tree of a table with small values; `None` when there is no such table. Also checks the table of tables.
    pub(super) fn table(&self, header: &Header, name: &[u8]) -> Result<Option<Tree>, PageError> {
        let main = Tree::new(Kind::Main, header.page, &header.octets[MAIN_TREE..])?;
        let mut found = None;
        self.check(&main, Range::All, &mut |entry| {
            if entry.key == name && entry.flags == TABLE {
                found = Some(Tree::new(Kind::Small, header.page, entry.rest)?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Checks the pages of a table with small values, and calls `each` with every key and value.
    pub(super) fn for_each(&self, tree: &Tree, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), PageError> {
        self.check(tree, Range::All, &mut |entry| {
            each(entry.key, entry.rest);
            Ok(())
        })
    }

    /// Like [`Pages::for_each`], for some of the entries that follow a key, in order and without omissions. Visits at
    /// least one entry, if there is one.
    pub(super) fn for_some_after(
        &self,
        tree: &Tree,
        key: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), PageError> {
        self.check(tree, Range::After(key), &mut |entry| {
            if entry.key > key {
                each(entry.key, entry.rest);
            }
            Ok(())
        })
    }

    /// Checks the pages of records with keys in a range, and the neighbours of these pages. `tree` is the description
    /// of the table of records in the current transaction.
    pub(in crate::storage) fn check_records(
        &self,
        tree: &[u8],
        keys: &RangeInclusive<[u8; 16]>,
    ) -> Result<(), PageError> {
        let page = NO_PAGE;
        if tree.len() != TREE_LEN {
            return Err(PageError::Damaged { page, reason: "the table of records has no tree" });
        }
        let tree = Tree::new(Kind::Records, page, tree)?;
        self.check(&tree, Range::Around(&keys.start()[..], &keys.end()[..]), &mut |_| Ok(()))
    }

    fn check(&self, tree: &Tree, range: Range<'_>, each: &mut Each<'_>) -> Result<(), PageError> {
        TreeCheck::run(self, tree, range, each)
    }

    /// The number of pages in the file.
    fn count(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len() / self.page_len as u64)
    }

    fn read(&self, page: u64) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; self.page_len];
        self.file.read_exact_at(&mut octets, page * self.page_len as u64)?;
        Ok(octets)
    }
}

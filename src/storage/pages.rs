//! Looking at LMDB's pages before LMDB does: it believes what it finds in them. A damaged one would make it read or
//! write beyond its memory, or end the process.
//!
//! Opening checks all of the small trees: free pages, tables, `meta`, `partitions`. The tree of the records can be as
//! large as the disk: those of its pages that a read or an append is about to visit are checked then, each page once.
//! A page that was written since is sound. What the records hold is not checked here: chunks have checksums.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::ops::{Range as Span, RangeInclusive};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A page begins with its number (8 octets), a spare word, flags, and where its free room begins and ends.
const HEADER_LEN: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;

/// An entry of a page begins with the length of its value (or a page number), flags, and the length of its key.
const ENTRY_HEADER_LEN: usize = 8;
/// The value lies in overflow pages.
const ELSEWHERE: u16 = 1;
/// The value describes the tree of a table.
const TABLE: u16 = 2;

const MAX_KEY_LEN: usize = 511;
const MAX_DEPTH: u16 = 32;

/// The length of a tree's description.
const TREE_LEN: usize = 48;
/// The root of an empty tree.
const NO_PAGE: u64 = u64::MAX;

/// Where in a header page: the tree of free pages, the tree of tables, the number of the last transaction.
const FREE_TREE: usize = HEADER_LEN + 24;
const MAIN_TREE: usize = FREE_TREE + TREE_LEN;
const TRANSACTION: usize = MAIN_TREE + TREE_LEN + 8;

/// Why a page must not be shown to LMDB.
#[derive(Debug)]
pub(super) enum Unsound {
    /// It cannot be read.
    Io(io::Error),
    /// It is damaged.
    Damaged {
        /// Its number.
        page: u64,
        /// How that was noticed.
        reason: &'static str,
    },
}

impl From<io::Error> for Unsound {
    fn from(error: io::Error) -> Unsound {
        Unsound::Io(error)
    }
}

/// What kind of tree a page belongs to: what its entries may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Keys are numbers, values are lists of free pages.
    Free,
    /// The table of tables.
    Main,
    /// Small values.
    Small,
    /// Values that may lie in overflow pages.
    Records,
}

/// The description of a tree.
pub(super) struct Tree {
    kind: Kind,
    depth: u16,
    root: u64,
}

/// The newer one of the two header pages: what was committed last.
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

/// The pages of a database.
#[derive(Debug)]
pub(super) struct Pages {
    file: File,
    page_len: usize,
    /// Pages of records that were found to be sound: one bit for each.
    sound: Mutex<Vec<u64>>,
    /// Partitions to whose end the way is known to be sound, by a hash of their names.
    ends: Mutex<HashSet<u64>>,
    hasher: RandomState,
    /// By partition: records the way to which is known to be sound.
    checked: Mutex<HashMap<u64, Span<u64>>>,
}

/// Numbers are in the machine's byte order.
fn number<const N: usize>(octets: &[u8], at: usize) -> [u8; N] {
    let mut number = [0; N];
    number.copy_from_slice(&octets[at..at + N]);
    number
}

fn word16(octets: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(number(octets, at))
}

fn word64(octets: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(number(octets, at))
}

impl Tree {
    fn new(kind: Kind, page: u64, octets: &[u8]) -> Result<Tree, Unsound> {
        let damaged = |reason| Unsound::Damaged { page, reason };
        let (flags, depth, root) = (word16(octets, 4), word16(octets, 6), word64(octets, 40));
        // Keys in reverse, values that are duplicates, tables of fixed length: nothing of ours has them. The tree of
        // free pages has the environment's flags too.
        let foreign_flags = if kind == Kind::Free { 0x76 } else { 0x7fff };
        if flags & foreign_flags != 0 {
            return Err(damaged("a tree is of a kind that no store has"));
        }
        if (root == NO_PAGE) != (depth == 0) || depth > MAX_DEPTH {
            return Err(damaged("a tree has no root, or too many levels"));
        }
        Ok(Tree { kind, depth, root })
    }
}

impl Pages {
    /// Puts the header pages on disk as they are, and with them what they lead to, whatever became of the synchronization
    /// before: what the system could not write then it does not try again by itself.
    ///
    /// Until this has succeeded nothing may be committed: the header on disk may be an older one, and new transactions
    /// write to pages that it leads to. Nobody else may write to the database meanwhile.
    pub(super) fn settle_headers(&self, data: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(data)?;
        for page in 0..2 {
            file.write_all_at(&self.read(page)?, page * self.page_len as u64)?;
        }
        file.sync_data()
    }

    /// The pages of a database whose header pages have been looked at.
    pub(super) fn open(data: &Path) -> io::Result<Pages> {
        let file = File::open(data)?;
        // The page length is in the description of the first tree.
        let mut len = [0; 4];
        file.read_exact_at(&mut len, FREE_TREE as u64)?;
        Ok(Pages {
            file,
            page_len: u32::from_ne_bytes(len) as usize,
            sound: Mutex::default(),
            ends: Mutex::default(),
            hasher: RandomState::new(),
            checked: Mutex::default(),
        })
    }

    /// Why the path of the database no longer leads to the file that is open; nothing when it does, or when that cannot be
    /// determined.
    pub(super) fn why_gone(&self, data: &Path) -> io::Result<Option<&'static str>> {
        let open = self.file.metadata()?;
        Ok(match std::fs::metadata(data) {
            Ok(named) if (named.dev(), named.ino()) == (open.dev(), open.ino()) => None,
            Ok(_) => Some("another file has its name"),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Some("no file has its name")
            }
            // The way there is closed for now, for example by permissions.
            Err(_) if open.nlink() > 0 => None,
            Err(_) => Some("it was removed"),
        })
    }

    /// Checks what LMDB and the log read at their start.
    pub(super) fn check_all_but_records(&self) -> Result<(), Unsound> {
        let header = self.header()?;
        let free = Tree::new(Kind::Free, header.page, &header.octets[FREE_TREE..])?;
        self.check(&free, Range::All, &mut |_| Ok(()))?;
        for name in [&b"meta"[..], b"partitions"] {
            if let Some(tree) = self.table(&header, name)? {
                self.check(&tree, Range::All, &mut |_| Ok(()))?;
            }
        }
        Ok(())
    }

    /// What was committed last. Another process may be writing it: it is read until two reads agree.
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

    /// The tree of one of the tables with small values, when there is such a table. Checks the table of tables.
    pub(super) fn table(&self, header: &Header, name: &[u8]) -> Result<Option<Tree>, Unsound> {
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

    /// Checks the pages of a table with small values, and hands over the keys and values that they hold.
    pub(super) fn walk(&self, tree: &Tree, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Unsound> {
        self.check(tree, Range::All, &mut |entry| {
            each(entry.key, entry.rest);
            Ok(())
        })
    }

    /// The same for the entries that follow a key: at least one, when there are any, and no gap before the last one.
    pub(super) fn walk_after(
        &self,
        tree: &Tree,
        key: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Unsound> {
        self.check(tree, Range::After(key), &mut |entry| {
            if entry.key > key {
                each(entry.key, entry.rest);
            }
            Ok(())
        })
    }

    /// Checks the pages of the records with keys in a range, and the ones beside them; `tree` is the description of the
    /// table of records in the transaction at hand.
    pub(super) fn check_records(&self, tree: &[u8], keys: &RangeInclusive<[u8; 16]>) -> Result<(), Unsound> {
        let page = NO_PAGE;
        if tree.len() != TREE_LEN {
            return Err(Unsound::Damaged { page, reason: "the table of records has no tree" });
        }
        let tree = Tree::new(Kind::Records, page, tree)?;
        self.check(&tree, Range::Around(&keys.start()[..], &keys.end()[..]), &mut |_| Ok(()))
    }

    /// Whether the way to these records of a partition was checked before: it stays sound, as what is written later is.
    pub(super) fn is_checked(&self, partition: u64, records: Span<u64>) -> bool {
        let known = lock(&self.checked);
        known.get(&partition).is_some_and(|known| known.start <= records.start && records.end <= known.end)
    }

    /// Remembers that it was.
    pub(super) fn set_checked(&self, partition: u64, records: Span<u64>) {
        let mut checked = lock(&self.checked);
        let known = checked.entry(partition).or_insert(records.clone());
        if known.start <= records.end && records.start <= known.end {
            *known = known.start.min(records.start)..known.end.max(records.end);
        } else {
            // Two places at once are rare: only the last one is remembered.
            *known = records;
        }
    }

    /// Runs `check` for a partition unless it succeeded before: what was appended since is sound.
    pub(super) fn once<E>(&self, name: &[u8], check: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let hash = self.hasher.hash_one(name);
        if !lock(&self.ends).contains(&hash) {
            check()?;
            lock(&self.ends).insert(hash);
        }
        Ok(())
    }

    fn check(&self, tree: &Tree, range: Range<'_>, each: &mut Each<'_>) -> Result<(), Unsound> {
        if tree.depth == 0 {
            return Ok(());
        }
        let page_count = self.file.metadata()?.len() / self.page_len as u64;
        let (kind, depth) = (tree.kind, tree.depth);
        let mut walk = Walk { pages: self, kind, depth, page_count, range, is_done: false, each };
        walk.visit(tree.root, 1, None, None)
    }

    fn read(&self, page: u64) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; self.page_len];
        self.file.read_exact_at(&mut octets, page * self.page_len as u64)?;
        Ok(octets)
    }

    fn is_sound(&self, page: u64) -> bool {
        lock(&self.sound).get((page / 64) as usize).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    fn set_sound(&self, page: u64) {
        let mut sound = lock(&self.sound);
        let index = (page / 64) as usize;
        if sound.len() <= index {
            sound.resize(index + 1, 0);
        }
        sound[index] |= 1 << (page % 64);
    }
}

/// A panic leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which pages of a tree are visited.
#[derive(Clone, Copy)]
enum Range<'a> {
    All,
    /// Those with keys from one to another, and some beside them: a cursor that finds nothing goes there.
    Around(&'a [u8], &'a [u8]),
    /// From the leaf in which a key belongs to the first leaf that has a greater one.
    After(&'a [u8]),
}

/// Sees each entry of a leaf.
type Each<'a> = dyn FnMut(&Entry<'_>) -> Result<(), Unsound> + 'a;

/// A walk over one tree.
struct Walk<'a, 'b> {
    pages: &'a Pages,
    kind: Kind,
    depth: u16,
    page_count: u64,
    range: Range<'a>,
    /// The range has ended: no further page is visited.
    is_done: bool,
    each: &'a mut Each<'b>,
}

/// An entry of a page.
struct Entry<'a> {
    key: &'a [u8],
    flags: u16,
    /// The page below, in a branch.
    child: u64,
    value_len: usize,
    /// What follows the key in the page, in a leaf: the value, or the number of its first page.
    rest: &'a [u8],
}

impl Walk<'_, '_> {
    /// Checks a page and those below it that are within the range; its keys must be from `lower` up to `upper`.
    fn visit(
        &mut self,
        page: u64,
        level: u16,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
    ) -> Result<(), Unsound> {
        let damaged = |reason| Unsound::Damaged { page, reason };
        if page < 2 || page >= self.page_count {
            return Err(damaged("there is no such page"));
        }
        let is_leaf = level == self.depth;
        if is_leaf && self.kind == Kind::Records && self.pages.is_sound(page) {
            return Ok(());
        }
        let octets = self.pages.read(page)?;
        let entries = self.entries(page, &octets, is_leaf)?;
        if !self.are_in_order(&entries, is_leaf, lower, upper) {
            return Err(damaged("its keys are not in order"));
        }
        if is_leaf {
            for entry in &entries {
                self.check_value(page, entry)?;
                (self.each)(entry)?;
            }
            if self.kind == Kind::Records {
                self.pages.set_sound(page);
            }
            if let Range::After(key) = self.range {
                self.is_done = entries.last().is_some_and(|entry| entry.key > key);
            }
            return Ok(());
        }
        let place = |key: &[u8]| entries[1..].partition_point(|entry| entry.key <= key);
        let end = entries.len() - 1;
        let (from, to) = match self.range {
            Range::All => (0, end),
            Range::Around(first, last) => (place(first).saturating_sub(1), (place(last) + 1).min(end)),
            Range::After(key) => (place(key), end),
        };
        for index in from..=to {
            if self.is_done {
                break;
            }
            let lower = if index == 0 { lower } else { Some(entries[index].key) };
            let upper = entries.get(index + 1).map(|entry| entry.key).or(upper);
            self.visit(entries[index].child, level + 1, lower, upper)?;
        }
        Ok(())
    }

    /// The entries of a page, each of which lies within it.
    fn entries<'p>(&self, page: u64, octets: &'p [u8], is_leaf: bool) -> Result<Vec<Entry<'p>>, Unsound> {
        let damaged = |reason| Unsound::Damaged { page, reason };
        if word64(octets, 0) != page {
            return Err(damaged("it is another page"));
        }
        if word16(octets, 10) != if is_leaf { LEAF } else { BRANCH } {
            return Err(damaged("it is not of the kind that it should be"));
        }
        // A page of 65,536 octets that is empty cannot say so: LMDB makes none.
        let (lower, upper) = (usize::from(word16(octets, 12)), usize::from(word16(octets, 14)));
        if lower < HEADER_LEN || lower % 2 != 0 || lower > upper || upper > octets.len() {
            return Err(damaged("its room is not what it should be"));
        }
        let least = if is_leaf || self.kind == Kind::Free { 1 } else { 2 };
        if (lower - HEADER_LEN) / 2 < least {
            return Err(damaged("it has too few entries"));
        }
        let mut entries = Vec::with_capacity((lower - HEADER_LEN) / 2);
        let mut used_len = 0;
        for slot in (HEADER_LEN..lower).step_by(2) {
            let at = usize::from(word16(octets, slot));
            let outside = damaged("an entry is not within it");
            if at < upper || at % 2 != 0 || at + ENTRY_HEADER_LEN > octets.len() {
                return Err(outside);
            }
            let low = u64::from(u32::from_ne_bytes(number(octets, at)));
            let (flags, key_len) = (word16(octets, at + 4), usize::from(word16(octets, at + 6)));
            let value_len = low as usize;
            let rest_len = match (is_leaf, flags & ELSEWHERE != 0) {
                (false, _) => 0,
                (true, true) => 8,
                (true, false) => value_len,
            };
            let key_end = at + ENTRY_HEADER_LEN + key_len;
            let end = key_end.saturating_add(rest_len);
            if key_len > MAX_KEY_LEN || end > octets.len() {
                return Err(outside);
            }
            used_len += (end - at).next_multiple_of(2);
            entries.push(Entry {
                key: &octets[at + ENTRY_HEADER_LEN..key_end],
                flags,
                child: low | u64::from(flags) << 32,
                value_len,
                rest: &octets[key_end..end],
            });
        }
        // LMDB moves them to another page of the same length.
        if used_len > octets.len() - upper {
            return Err(damaged("its entries overlap"));
        }
        Ok(entries)
    }

    /// Whether keys ascend, within bounds. The first key of a branch stands for everything below the second one.
    fn are_in_order(
        &self,
        entries: &[Entry<'_>],
        is_leaf: bool,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
    ) -> bool {
        let keys = &entries[usize::from(!is_leaf)..];
        if self.kind != Kind::Free {
            return keys.is_sorted_by(|a, b| a.key < b.key)
                && keys.first().is_none_or(|first| lower.is_none_or(|lower| lower <= first.key))
                && keys.last().is_none_or(|last| upper.is_none_or(|upper| last.key < upper));
        }
        let number = |key: &[u8]| key.try_into().ok().map(u64::from_ne_bytes);
        let (lower, upper) = (lower.and_then(number), upper.and_then(number));
        let Some(keys) = keys.iter().map(|entry| number(entry.key)).collect::<Option<Vec<u64>>>() else {
            return false;
        };
        keys.is_sorted_by(|a, b| a < b)
            && keys.first().is_none_or(|first| lower.is_none_or(|lower| lower <= *first))
            && keys.last().is_none_or(|last| upper.is_none_or(|upper| *last < upper))
    }

    /// Checks what kind of value an entry of a leaf has, and that its pages are there.
    fn check_value(&self, page: u64, entry: &Entry<'_>) -> Result<(), Unsound> {
        let damaged = |reason| Unsound::Damaged { page, reason };
        let may = match self.kind {
            Kind::Free | Kind::Records => ELSEWHERE,
            Kind::Main => TABLE,
            Kind::Small => 0,
        };
        if entry.flags & !may != 0 || (entry.flags == TABLE && entry.value_len != TREE_LEN) {
            return Err(damaged("an entry is of a kind that no store has"));
        }
        if entry.flags != ELSEWHERE {
            return if self.kind == Kind::Free { self.check_free(page, entry.rest) } else { Ok(()) };
        }
        let first = word64(entry.rest, 0);
        let count = (HEADER_LEN - 1 + entry.value_len) / self.pages.page_len + 1;
        if first < 2 || first.checked_add(count as u64).is_none_or(|end| end > self.page_count) {
            return Err(damaged("a value lies outside of the file"));
        }
        if self.kind == Kind::Records {
            return Ok(());
        }
        let mut octets = vec![0; HEADER_LEN + entry.value_len];
        self.pages.file.read_exact_at(&mut octets, first * self.pages.page_len as u64)?;
        let found_count = u32::from_ne_bytes(number(&octets, 12)) as usize;
        if word64(&octets, 0) != first || word16(&octets, 10) != OVERFLOW || found_count != count {
            return Err(damaged("a list of free pages is another page"));
        }
        self.check_free(page, &octets[HEADER_LEN..])
    }

    /// A list of free pages: their number, the pages in descending order.
    fn check_free(&self, page: u64, list: &[u8]) -> Result<(), Unsound> {
        let (numbers, rest) = list.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|octets| u64::from_ne_bytes(*octets));
        let count = numbers.next().and_then(|count| usize::try_from(count).ok());
        let free: Vec<u64> = numbers.collect();
        let is_list = rest.is_empty()
            && count.and_then(|count| free.get(..count)).is_some_and(|free| {
                free.is_sorted_by(|a, b| a > b) && free.iter().all(|free| (2..self.page_count).contains(free))
            });
        if is_list { Ok(()) } else { Err(Unsound::Damaged { page, reason: "a list of free pages is none" }) }
    }
}

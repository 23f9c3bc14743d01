//! The layout of LMDB's pages. The functions that read a page check that all its entries lie within the page.
//!
//! Numbers are in the machine's byte order.

use super::PageError;

/// A page begins with its number (8 octets), 2 unused octets, flags, and the beginning and end of its free space.
pub(super) const HEADER_LEN: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
pub(super) const OVERFLOW: u16 = 4;

/// An entry of a page begins with the length of its value (or a page number), flags, and the length of its key.
const ENTRY_HEADER_LEN: usize = 8;
/// Flag of an entry whose value lies in overflow pages.
pub(super) const ELSEWHERE: u16 = 1;
/// Flag of an entry whose value describes the tree of a table.
pub(super) const TABLE: u16 = 2;

const MAX_KEY_LEN: usize = 511;
const MAX_DEPTH: u16 = 32;

/// The length of a tree's description.
pub(super) const TREE_LEN: usize = 48;
/// The root of an empty tree.
pub(super) const NO_PAGE: u64 = u64::MAX;

/// Positions in a header page: the tree of free pages, the tree of tables, the number of the last transaction.
pub(super) const FREE_TREE: usize = HEADER_LEN + 24;
pub(super) const MAIN_TREE: usize = FREE_TREE + TREE_LEN;
pub(super) const TRANSACTION: usize = MAIN_TREE + TREE_LEN + 8;

/// The number at position `at`, which lies within `octets`.
pub(super) fn number<const N: usize>(octets: &[u8], at: usize) -> [u8; N] {
    let mut number = [0; N];
    number.copy_from_slice(&octets[at..at + N]);
    number
}

pub(super) fn word16(octets: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(number(octets, at))
}

pub(super) fn word64(octets: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(number(octets, at))
}

/// The kind of a tree. The kind determines which entries the tree's pages may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Keys are numbers, values are lists of free pages.
    Free,
    /// The table of tables.
    Main,
    /// A table of ours whose values are small.
    Small,
    /// A table of ours whose values may lie in overflow pages.
    Records,
}

/// The description of a tree.
pub(in crate::storage) struct Tree {
    pub(super) kind: Kind,
    pub(super) depth: u16,
    pub(super) root: u64,
}

impl Tree {
    /// Reads a description from `octets`, which were found in `page`.
    pub(super) fn new(kind: Kind, page: u64, octets: &[u8]) -> Result<Tree, PageError> {
        let damaged = |reason| PageError::Damaged { page, reason };
        let (flags, depth, root) = (word16(octets, 4), word16(octets, 6), word64(octets, 40));
        // Our tables have no reversed keys, duplicate values or values of fixed length. The flags of the tree of free
        // pages include the flags of the environment.
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

/// An entry of a page.
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    pub(super) flags: u16,
    /// In a branch: the number of the child page.
    pub(super) child: u64,
    pub(super) value_len: usize,
    /// In a leaf: the octets after the key. They are the value, or the number of the value's first overflow page.
    pub(super) rest: &'a [u8],
}

/// The entries of a page of a tree. Each of them lies within the page.
pub(super) fn entries(
    kind: Kind,
    page: u64,
    octets: &[u8],
    is_leaf: bool,
) -> Result<Vec<Entry<'_>>, PageError> {
    let damaged = |reason| PageError::Damaged { page, reason };
    if word64(octets, 0) != page {
        return Err(damaged("it has the number of another page"));
    }
    if word16(octets, 10) != if is_leaf { LEAF } else { BRANCH } {
        return Err(damaged("it is of the wrong kind"));
    }
    // The end of the free space of an empty page of 65,536 octets does not fit into 16 bits. LMDB makes no such pages.
    let (lower, upper) = (usize::from(word16(octets, 12)), usize::from(word16(octets, 14)));
    if lower < HEADER_LEN || lower % 2 != 0 || lower > upper || upper > octets.len() {
        return Err(damaged("the bounds of its free space are wrong"));
    }
    let min_count = if is_leaf || kind == Kind::Free { 1 } else { 2 };
    if (lower - HEADER_LEN) / 2 < min_count {
        return Err(damaged("it has too few entries"));
    }
    let mut entries = Vec::with_capacity((lower - HEADER_LEN) / 2);
    let mut used_len = 0;
    for slot in (HEADER_LEN..lower).step_by(2) {
        let at = usize::from(word16(octets, slot));
        let (entry, len) = entry(octets, at, upper, is_leaf).ok_or(damaged("an entry is not within it"))?;
        used_len += len.next_multiple_of(2);
        entries.push(entry);
    }
    // When LMDB changes a page, it copies the entries into another page of the same length. So the entries must fit.
    if used_len > octets.len() - upper {
        return Err(damaged("its entries overlap"));
    }
    Ok(entries)
}

/// The entry at position `at` and its length. `None` when it is not between `upper` and the end of the page.
fn entry(octets: &[u8], at: usize, upper: usize, is_leaf: bool) -> Option<(Entry<'_>, usize)> {
    if at < upper || !at.is_multiple_of(2) || at + ENTRY_HEADER_LEN > octets.len() {
        return None;
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
        return None;
    }
    let entry = Entry {
        key: &octets[at + ENTRY_HEADER_LEN..key_end],
        flags,
        child: low | u64::from(flags) << 32,
        value_len,
        rest: &octets[key_end..end],
    };
    Some((entry, end - at))
}

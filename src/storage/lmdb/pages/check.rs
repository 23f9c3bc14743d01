//! Checks the pages of one tree, from the root to the leaves.

use super::format::{
    ELSEWHERE, Entry, HEADER_LEN, Kind, OVERFLOW, TABLE, TREE_LEN, Tree, entries, number, word16, word64,
};
use super::{PageError, Pages};
use std::io;
use std::os::unix::fs::FileExt;

/// Which pages of a tree are visited.
#[derive(Clone, Copy)]
pub(super) enum Range<'a> {
    All,
    /// The pages with keys from the first key to the second key, and the neighbours of these pages: LMDB's cursor
    /// visits the neighbours when it does not find a key.
    Around(&'a [u8], &'a [u8]),
    /// The first visited leaf is the one to which the key belongs. The last one is the first leaf with a greater key.
    After(&'a [u8]),
}

/// Called for each entry of each visited leaf.
pub(super) type Each<'a> = dyn FnMut(&Entry<'_>) -> Result<(), PageError> + 'a;

pub(super) struct TreeCheck<'a, 'b> {
    pages: &'a Pages,
    kind: Kind,
    depth: u16,
    /// Pages in the file.
    page_count: u64,
    range: Range<'a>,
    /// The end of the range was reached: no further page is visited.
    is_done: bool,
    each: &'a mut Each<'b>,
}

impl<'a, 'b> TreeCheck<'a, 'b> {
    pub(super) fn run(
        pages: &'a Pages,
        tree: &Tree,
        range: Range<'a>,
        each: &'a mut Each<'b>,
    ) -> Result<(), PageError> {
        let &Tree { kind, depth, root } = tree;
        if depth == 0 {
            return Ok(());
        }
        let page_count = pages.count()?;
        TreeCheck { pages, kind, depth, page_count, range, is_done: false, each }.visit(root, 1, None, None)
    }

    /// Checks a page, and the pages below it that are within the range. The page's keys must be at least `lower` and
    /// less than `upper`.
    fn visit(
        &mut self,
        page: u64,
        level: u16,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
    ) -> Result<(), PageError> {
        let damaged = |reason| PageError::Damaged { page, reason };
        if page < 2 || page >= self.page_count {
            return Err(damaged("there is no such page"));
        }
        let is_leaf = level == self.depth;
        if is_leaf && self.kind == Kind::Records && self.pages.verified.has_page(page) {
            return Ok(());
        }
        let octets = self.pages.read(page)?;
        let entries = entries(self.kind, page, &octets, is_leaf)?;
        if !self.are_in_order(&entries, is_leaf, lower, upper) {
            return Err(damaged("its keys are not in order"));
        }
        if is_leaf {
            return self.visit_leaf(page, &entries);
        }
        let position = |key: &[u8]| entries[1..].partition_point(|entry| entry.key <= key);
        let end = entries.len() - 1;
        let (from, to) = match self.range {
            Range::All => (0, end),
            Range::Around(first, last) => (position(first).saturating_sub(1), (position(last) + 1).min(end)),
            Range::After(key) => (position(key), end),
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

    fn visit_leaf(&mut self, page: u64, entries: &[Entry<'_>]) -> Result<(), PageError> {
        for entry in entries {
            self.check_value(page, entry)?;
            (self.each)(entry)?;
        }
        if self.kind == Kind::Records {
            self.pages.verified.add_page(page);
        }
        if let Range::After(key) = self.range {
            self.is_done = entries.last().is_some_and(|entry| entry.key > key);
        }
        Ok(())
    }

    /// Whether the keys ascend within the bounds. The first key of a branch page has no meaning: all keys that are less
    /// than the second key belong to the first child.
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

    /// Checks the kind of a leaf entry's value, and that the pages of the value exist.
    fn check_value(&self, page: u64, entry: &Entry<'_>) -> Result<(), PageError> {
        let damaged = |reason| PageError::Damaged { page, reason };
        let allowed = match self.kind {
            Kind::Free | Kind::Records => ELSEWHERE,
            Kind::Main => TABLE,
            Kind::Small => 0,
        };
        if entry.flags & !allowed != 0 || (entry.flags == TABLE && entry.value_len != TREE_LEN) {
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
        let octets = self.overflow(first, entry.value_len)?;
        let found_count = u32::from_ne_bytes(number(&octets, 12)) as usize;
        if word64(&octets, 0) != first || word16(&octets, 10) != OVERFLOW || found_count != count {
            return Err(damaged("a list of free pages lies in pages of another kind"));
        }
        self.check_free(page, &octets[HEADER_LEN..])
    }

    /// The header of the overflow pages from `first` on, and the value in them.
    fn overflow(&self, first: u64, value_len: usize) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; HEADER_LEN + value_len];
        self.pages.file.read_exact_at(&mut octets, first * self.pages.page_len as u64)?;
        Ok(octets)
    }

    /// Checks a list of free pages: their count, then their numbers in descending order.
    fn check_free(&self, page: u64, list: &[u8]) -> Result<(), PageError> {
        let (numbers, rest) = list.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|octets| u64::from_ne_bytes(*octets));
        let count = numbers.next().and_then(|count| usize::try_from(count).ok());
        let free: Vec<u64> = numbers.collect();
        let is_list = rest.is_empty()
            && count.and_then(|count| free.get(..count)).is_some_and(|free| {
                free.is_sorted_by(|a, b| a > b) && free.iter().all(|free| (2..self.page_count).contains(free))
            });
        if is_list {
            Ok(())
        } else {
            Err(PageError::Damaged { page, reason: "a list of free pages is invalid" })
        }
    }
}

//! A list of strings, as CZMQ's type `zlist_t`. C programs get and pass this type.

use super::boundary::Outcome;
use crate::czmq::sys::{self, zlist_t};
use std::ffi::{CStr, CString, c_char, c_void};

/// A `zlist_t` of strings that this library owns, or none.
pub(super) struct ZList(*mut zlist_t);

impl ZList {
    /// A list with copies of `strings`.
    pub(super) fn new<'a>(strings: impl IntoIterator<Item = &'a CStr>) -> Outcome<ZList> {
        // SAFETY: the list is checked for NULL.
        let list = unsafe {
            let list = ZList(sys::zlist_new());
            if list.0.is_null() {
                return Err("out of memory".into());
            }
            sys::zlist_autofree(list.0);
            list
        };
        for string in strings {
            list.push(string)?;
        }
        Ok(list)
    }

    /// Takes over a list that the C program owned.
    ///
    /// # Safety
    /// `list` is NULL or a live list of strings that the C program gives away.
    pub(super) unsafe fn from_c(list: *mut zlist_t) -> ZList {
        ZList(list)
    }

    /// Gives the list away; NULL when there is none.
    pub(super) fn take(&mut self) -> *mut zlist_t {
        std::mem::replace(&mut self.0, std::ptr::null_mut())
    }

    /// The list for C functions. This object still owns it. NULL when there is none.
    pub(super) fn as_c(&self) -> *mut zlist_t {
        self.0
    }

    /// Copies of the strings, in order. Moves the list's cursor.
    pub(super) fn strings(&self) -> Vec<CString> {
        let mut strings = Vec::new();
        if !self.0.is_null() {
            // SAFETY: the list is live, and its items are strings; each is copied before the next call.
            unsafe {
                let mut item = sys::zlist_first(self.0);
                while !item.is_null() {
                    strings.push(CStr::from_ptr(item.cast::<c_char>()).to_owned());
                    item = sys::zlist_next(self.0);
                }
            }
        }
        strings
    }

    /// Adds a copy of a string, unless the list contains an equal string. There must be a list.
    pub(super) fn insert(&mut self, string: &CStr) -> Outcome<()> {
        if self.find(string.to_bytes()).is_null() { self.push(string) } else { Ok(()) }
    }

    /// Removes a string, if the list contains it. There must be a list.
    pub(super) fn remove(&mut self, string: &[u8]) {
        let item = self.find(string);
        if !item.is_null() {
            // SAFETY: the list is live, and frees the string, which it owns.
            unsafe { sys::zlist_remove(self.0, item) };
        }
    }

    fn push(&self, string: &CStr) -> Outcome<()> {
        // SAFETY: the list is live, and copies the string (zlist_autofree).
        match unsafe { sys::zlist_append(self.0, string.as_ptr().cast_mut().cast()) } {
            0 => Ok(()),
            _ => Err("out of memory".into()),
        }
    }

    /// Returns the list's item that equals `string`, or NULL. Leaves the list's cursor at the item: a program may
    /// unsubscribe from topics while it iterates over the list, and then depends on the cursor.
    fn find(&self, string: &[u8]) -> *mut c_void {
        // SAFETY: the list is live, and holds strings.
        unsafe {
            let mut item = sys::zlist_first(self.0);
            while !item.is_null() && CStr::from_ptr(item.cast()).to_bytes() != string {
                item = sys::zlist_next(self.0);
            }
            item
        }
    }
}

impl Default for ZList {
    fn default() -> ZList {
        ZList(std::ptr::null_mut())
    }
}

impl Drop for ZList {
    fn drop(&mut self) {
        // SAFETY: NULL, or owned by this object and destroyed once.
        unsafe { sys::zlist_destroy(&mut self.0) }
    }
}

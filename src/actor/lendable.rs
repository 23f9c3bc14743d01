//! A value that a thread lends to other threads from time to time.

use std::ops::{Deref, DerefMut};

/// A value that its owner can lend. Meanwhile the owner must not use it.
pub(super) struct Lendable<T>(Option<Box<T>>);

impl<T> Lendable<T> {
    pub(super) fn new(value: T) -> Lendable<T> {
        Lendable(Some(Box::new(value)))
    }

    /// Takes the value out. The owner gets it back with [`Lendable::take_back`] before its next use.
    pub(super) fn lend(&mut self) -> Box<T> {
        self.0.take().expect("a value is lent once")
    }

    pub(super) fn take_back(&mut self, value: Box<T>) {
        self.0 = Some(value);
    }
}

impl<T> Deref for Lendable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().expect("a lent value is not used")
    }
}

impl<T> DerefMut for Lendable<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_deref_mut().expect("a lent value is not used")
    }
}

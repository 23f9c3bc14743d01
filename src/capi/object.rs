//! Objects that C programs own. Only this file turns a box into a pointer, or a pointer into a box.

/// Hands an object over to C.
pub(super) fn into_c<T>(object: T) -> *mut T {
    Box::into_raw(Box::new(object))
}

/// Takes an object back from C and sets the caller's reference to NULL. `None` when there is no object.
///
/// # Safety
/// `reference` is NULL, or points to NULL or to a pointer that [`into_c`] returned and that was not taken back yet.
pub(super) unsafe fn take_back<T>(reference: *mut *mut T) -> Option<Box<T>> {
    // SAFETY: the caller's promise; the reference becomes NULL, so that a second call finds nothing.
    unsafe {
        let object = std::mem::replace(reference.as_mut()?, std::ptr::null_mut());
        (!object.is_null()).then(|| Box::from_raw(object))
    }
}

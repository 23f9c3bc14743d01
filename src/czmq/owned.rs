//! CZMQ objects that this library owns, one type for each class. They are destroyed when dropped.

use super::fork::generation;
use super::sys::{self, zframe_t, zsock_t};
use std::os::raw::{c_int, c_void};
use std::ptr::null_mut;

/// A `zframe_t` that we own, or no frame.
pub struct ZFrame(*mut zframe_t);

// SAFETY: CZMQ's frames may move between threads.
unsafe impl Send for ZFrame {}
// SAFETY: the methods that take `&self` only read the frame.
unsafe impl Sync for ZFrame {}

impl ZFrame {
    /// Takes ownership of a frame, or of none.
    ///
    /// # Safety
    /// `frame` is NULL or a live frame that nothing else destroys.
    pub unsafe fn from_c(frame: *mut zframe_t) -> ZFrame {
        ZFrame(frame)
    }

    /// A copy of the caller's frame, or no frame.
    ///
    /// # Safety
    /// `frame` is NULL or a live frame.
    pub unsafe fn copy(frame: *mut zframe_t) -> ZFrame {
        // SAFETY: the caller's promise. NULL is not passed on.
        ZFrame(if frame.is_null() { frame } else { unsafe { sys::zframe_dup(frame) } })
    }

    /// A frame with a copy of `content`. No frame when memory is short.
    pub fn new(content: &[u8]) -> ZFrame {
        // SAFETY: zframe_new copies the bytes.
        ZFrame(unsafe { sys::zframe_new(content.as_ptr().cast(), content.len()) })
    }

    /// The frame for C functions. We still own it. NULL when there is none.
    pub fn as_c(&self) -> *mut zframe_t {
        self.0
    }

    /// Gives up ownership: the receiver destroys the frame. NULL when there is none.
    pub fn into_c(mut self) -> *mut zframe_t {
        std::mem::replace(&mut self.0, null_mut())
    }

    /// Sends the frame without waiting. Signals do not interrupt the call. If the frame was sent, this object holds no
    /// frame any more. False when the frame was not sent.
    ///
    /// # Safety
    /// `destination` is a live actor or socket of CZMQ's, and there is a frame.
    pub unsafe fn try_send(&mut self, destination: *mut c_void) -> bool {
        loop {
            // SAFETY: the caller's promise. CZMQ destroys a frame that it has sent, and sets the pointer to NULL.
            let rc = unsafe { sys::zframe_send(&mut self.0, destination, sys::ZFRAME_DONTWAIT) };
            // SAFETY: zmq_errno reads this thread's error number.
            if rc == 0 || unsafe { zmq_sys::zmq_errno() } != libc::EINTR {
                return rc == 0;
            }
        }
    }

    /// The content. `None` when there is no frame.
    pub fn content(&self) -> Option<&[u8]> {
        // SAFETY: NULL, or live and ours. Data and size describe its content.
        unsafe {
            (!self.0.is_null()).then(|| match sys::zframe_size(self.0) {
                0 => &[],
                size => std::slice::from_raw_parts(sys::zframe_data(self.0), size),
            })
        }
    }
}

impl Default for ZFrame {
    fn default() -> ZFrame {
        ZFrame(null_mut())
    }
}

impl Drop for ZFrame {
    fn drop(&mut self) {
        // SAFETY: NULL, or ours and destroyed once.
        unsafe { sys::zframe_destroy(&mut self.0) }
    }
}

/// A `zsock_t` that we own, or no socket.
pub struct ZSock {
    raw: *mut zsock_t,
    /// The generation of the process that made it, see [`generation`].
    generation: u32,
}

// SAFETY: as a ZeroMQ socket, it may move to another thread, as long as one thread at a time uses it.
unsafe impl Send for ZSock {}

impl ZSock {
    /// Takes ownership of a socket, or of none.
    ///
    /// # Safety
    /// `raw` is NULL or a live socket that nothing else destroys.
    pub unsafe fn from_c(raw: *mut zsock_t) -> ZSock {
        ZSock { raw, generation: generation() }
    }

    /// A new socket. When the limit of sockets is reached, CZMQ aborts the process (4.2.1, zsock.c: `assert
    /// (self->handle)`).
    pub fn new(kind: zmq::SocketType) -> ZSock {
        // SAFETY: the name is a static string, and nothing else owns the socket.
        unsafe { ZSock::from_c(sys::zsock_new_checked(kind as c_int, c"dafka".as_ptr(), line!() as usize)) }
    }

    /// The socket for C functions. We still own it. NULL when there is none.
    pub fn as_c(&self) -> *mut zsock_t {
        self.raw
    }
}

impl Default for ZSock {
    fn default() -> ZSock {
        ZSock { raw: null_mut(), generation: generation() }
    }
}

impl Drop for ZSock {
    fn drop(&mut self) {
        // A copy of a parent's socket is not destroyed, see `fork`.
        if self.generation == generation() {
            // SAFETY: NULL or ours, and destroyed once.
            unsafe { sys::zsock_destroy(&mut self.raw) }
        }
    }
}

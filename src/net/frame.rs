//! A ZeroMQ frame. The `zmq` crate's message type cannot share its content between two messages. A producer needs two
//! messages with the content of a record: it publishes one and keeps the other.

use super::peer::Origin;
use crate::czmq::owned::ZFrame;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::os::raw::{c_int, c_void};
use std::sync::Arc;
use zmq_sys::{
    zmq_msg_close, zmq_msg_copy, zmq_msg_data, zmq_msg_get, zmq_msg_gets, zmq_msg_init, zmq_msg_init_data,
    zmq_msg_init_size, zmq_msg_more, zmq_msg_size, zmq_msg_t,
};

/// ZMQ_SRCFD of zmq.h: the descriptor that a message was received from. zmq.h calls it deprecated, and libzmq 4.3
/// supports it.
const SRCFD: c_int = 2;

/// The lengths of frames whose content libzmq (4.3) leaves in the buffer that it has read into. Shorter content is part
/// of the message structure, and longer content has memory of its own.
const KEPT_IN_READ_BUFFER: RangeInclusive<usize> = 34..=8_192;

/// A frame. Content of more than about 30 bytes is reference-counted.
#[repr(transparent)]
pub struct Frame(zmq_msg_t);

// SAFETY: libzmq allows a message to move between threads, and counts its references atomically.
unsafe impl Send for Frame {}
// SAFETY: the methods that take `&self` only read the message.
unsafe impl Sync for Frame {}

impl Frame {
    /// An empty frame.
    pub fn new() -> Frame {
        let mut msg = MaybeUninit::uninit();
        // SAFETY: zmq_msg_init initializes the message and cannot fail.
        unsafe {
            zmq_msg_init(msg.as_mut_ptr());
            Frame(msg.assume_init())
        }
    }

    /// A frame of `len` zero bytes. `None` when memory is short.
    pub fn zeroed(len: usize) -> Option<Frame> {
        let mut frame = Frame::uninit(len)?;
        frame.fill().fill(0);
        Some(frame)
    }

    /// A frame with a copy of `content`. `None` when memory is short.
    pub fn try_copy(content: &[u8]) -> Option<Frame> {
        let mut frame = Frame::uninit(content.len())?;
        frame.fill().copy_from_slice(content);
        Some(frame)
    }

    /// A frame with a copy of `content`.
    ///
    /// # Panics
    /// When memory is short, as Rust's own containers do.
    pub fn copy(content: &[u8]) -> Frame {
        Frame::try_copy(content).expect("out of memory")
    }

    /// A frame with the content of a frame of CZMQ's, without a copy. Empty when `content` holds no frame.
    ///
    /// # Panics
    /// When memory is short, as Rust's own containers do.
    pub fn wrap(content: ZFrame) -> Frame {
        if content.content().is_none() {
            Frame::new()
        } else {
            Frame::of(Arc::new(content), |frame| frame.content().unwrap_or_default())
        }
    }

    /// A frame with content that `owner` holds, without a copy. The owner is dropped with the last handle to the
    /// content, in the thread that drops this handle.
    ///
    /// # Panics
    /// When memory is short, as Rust's own containers do.
    pub fn of<T: Send + Sync + 'static>(owner: Arc<T>, content: fn(&T) -> &[u8]) -> Frame {
        unsafe extern "C" fn release<T>(_data: *mut c_void, owner: *mut c_void) {
            // SAFETY: libzmq calls this once. `of` has given up this handle to the owner.
            drop(unsafe { Arc::from_raw(owner.cast_const().cast::<T>()) });
        }
        let content = content(&owner);
        let (data, len) = (content.as_ptr().cast_mut().cast(), content.len());
        let mut msg = MaybeUninit::uninit();
        // SAFETY: the content is borrowed from the owner, which lives at least until `release`. On success the message is
        // initialized. Nothing writes to the content, as libzmq and `fill` do so only in messages that they have made.
        unsafe {
            let owner = Arc::into_raw(owner).cast_mut().cast();
            let rc = zmq_msg_init_data(msg.as_mut_ptr(), data, len, Some(release::<T>), owner);
            assert_eq!(rc, 0, "out of memory");
            Frame(msg.assume_init())
        }
    }

    fn uninit(len: usize) -> Option<Frame> {
        // No slice is longer than isize::MAX, and libzmq allocates some bytes more than `len`. Larger sizes must not
        // reach malloc: they are negative as signed numbers, which valgrind reports as an error.
        if len > isize::MAX as usize - 1024 {
            return None;
        }
        let mut msg = MaybeUninit::uninit();
        // SAFETY: on success the message has `len` bytes. Both callers write all of them before anyone can read them.
        unsafe { (zmq_msg_init_size(msg.as_mut_ptr(), len) == 0).then(|| Frame(msg.assume_init())) }
    }

    /// The content of a frame that [`Frame::uninit`] has just made. Call this for no other frame: the content of any
    /// other frame may be shared.
    fn fill(&mut self) -> &mut [u8] {
        // SAFETY: as in as_ref. The memory is libzmq's, and no other handle to it exists yet.
        unsafe {
            match zmq_msg_size(&self.0) {
                0 => &mut [],
                len => std::slice::from_raw_parts_mut(zmq_msg_data(&mut self.0) as *mut u8, len),
            }
        }
    }

    /// A second handle to the same content. Long content is shared, and short content is copied.
    pub fn share(&mut self) -> Frame {
        let mut copy = Frame::new();
        // SAFETY: both messages are initialized. zmq_msg_copy fails for invalid messages only.
        let rc = unsafe { zmq_msg_copy(&mut copy.0, &mut self.0) };
        assert_eq!(rc, 0, "an initialized message can be copied");
        copy
    }

    /// True when more frames of the same received message follow.
    pub fn more(&self) -> bool {
        // SAFETY: the message is initialized.
        unsafe { zmq_msg_more(&self.0) != 0 }
    }

    /// The IP address of the peer that sent the message, if the transport provides it (TCP does).
    pub fn peer_address(&self) -> Option<&str> {
        // SAFETY: the message is initialized. The string lives as long as the message's metadata.
        unsafe {
            let address = zmq_msg_gets(&self.0 as *const _ as *mut _, c"Peer-Address".as_ptr());
            if address.is_null() { None } else { CStr::from_ptr(address).to_str().ok() }
        }
    }

    /// The descriptor of the connection over which the message was received. An XPUB socket also sets it for
    /// subscriptions.
    pub fn source_file(&self) -> Option<RawFd> {
        // SAFETY: the message is initialized, and zmq_msg_get only reads it.
        let file = unsafe { zmq_msg_get(&self.0, SRCFD) };
        (file >= 0).then_some(file)
    }

    /// The connection over which the frame was received, for [`Peer::sender_of`](super::Peer::sender_of).
    pub fn origin(&self) -> Origin {
        Origin(self.source_file())
    }

    /// Whether libzmq leaves content of this length in the buffer that it has read into.
    pub fn may_be_in_read_buffer(len: usize) -> bool {
        KEPT_IN_READ_BUFFER.contains(&len)
    }

    /// The memory that content of this length occupies outside of the message structure, with what libzmq and the
    /// allocator add.
    pub fn outer_bytes(len: usize) -> usize {
        const ADDED_BYTES: usize = 56;
        if len < *KEPT_IN_READ_BUFFER.start() { 0 } else { len + ADDED_BYTES }
    }

    /// The same content in memory of its own. The result usually lacks the properties of a received frame
    /// ([`Frame::more`], [`Frame::origin`], [`Frame::peer_address`]).
    ///
    /// Use this for received frames that are kept. libzmq reads up to 8 KiB at once into a buffer of 20 KB, and each
    /// frame in it keeps the whole buffer in memory. So one kept frame of 34 bytes could occupy 20 KB.
    pub fn into_own_memory(self) -> Frame {
        match Frame::may_be_in_read_buffer(self.as_ref().len()) {
            true => Frame::try_copy(self.as_ref()).unwrap_or(self),
            false => self,
        }
    }

    /// The address of the content in memory, also of a content without bytes.
    pub fn address(&self) -> usize {
        // SAFETY: as in as_ref.
        unsafe { zmq_msg_data(&self.0 as *const zmq_msg_t as *mut _).addr() }
    }

    /// The message, for calls that send, receive or move it.
    pub(crate) fn as_raw(&mut self) -> *mut zmq_msg_t {
        &mut self.0
    }
}

impl Default for Frame {
    fn default() -> Frame {
        Frame::new()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: the message is initialized, and is closed once.
        unsafe {
            zmq_msg_close(&mut self.0);
        }
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        let msg = &self.0 as *const zmq_msg_t;
        // SAFETY: zmq_msg_data only reads the message, in spite of its signature. Data and size describe the content,
        // which lives as long as the message. An empty frame may have a NULL pointer.
        unsafe {
            match zmq_msg_size(msg) {
                0 => &[],
                len => std::slice::from_raw_parts(zmq_msg_data(msg as *mut _) as *const u8, len),
            }
        }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Frame({} bytes)", self.as_ref().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_frame_has_the_same_content() {
        for len in [0, 1, 29, 33, 34, 10_000] {
            let content: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut frame = Frame::copy(&content);
            let shared = frame.share();
            assert_eq!(frame.as_ref(), content);
            drop(frame);
            assert_eq!(shared.as_ref(), content);
            assert!(!shared.more());
            assert_eq!(shared.peer_address(), None);
        }
    }

    #[test]
    fn a_wrapped_frame_outlives_its_first_handle() {
        let content: Vec<u8> = (0..10_000).map(|i| i as u8).collect();
        let czmq = ZFrame::new(&content);
        let data = czmq.content().unwrap().as_ptr();
        let mut frame = Frame::wrap(czmq);
        assert_eq!(frame.as_ref().as_ptr(), data, "the content is not copied");
        let shared = frame.share();
        drop(frame);
        assert_eq!(std::thread::spawn(move || shared.as_ref().to_vec()).join().unwrap(), content);
        assert!(Frame::wrap(ZFrame::default()).as_ref().is_empty());
    }

    #[test]
    fn a_zeroed_frame_is_zero() {
        assert!(Frame::zeroed(1_000).unwrap().as_ref().iter().all(|&byte| byte == 0));
        assert!(Frame::zeroed(usize::MAX / 2).is_none());
    }
}

//! What the C functions share: the panic boundary, conversion of arguments, and waiting for input.

use crate::actor;
use crate::actor::producer::SendError;
use crate::czmq::exit::{self, Running};
use crate::czmq::owned::ZFrame;
use crate::czmq::{self, sys};
use crate::net::{Pipe, Socket, now_ms};
use crate::settings::Settings;
use crate::wire::batch::PushError;
use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use zmq::POLLIN;

/// Why a C function failed, such as an argument that it cannot use.
pub(super) struct Failure {
    /// The text of one log line. `None`: the function logs nothing.
    text: Option<Cow<'static, str>>,
    /// The error number for the C program.
    errno: c_int,
}

impl Failure {
    /// A failure that a program expects, such as a timeout.
    pub(super) fn expected(errno: c_int) -> Failure {
        Failure { text: None, errno }
    }

    /// The same failure with another error number.
    pub(super) fn with_errno(self, errno: c_int) -> Failure {
        Failure { errno, ..self }
    }

    fn logged(text: impl Into<Cow<'static, str>>, errno: c_int) -> Failure {
        Failure { text: Some(text.into()), errno }
    }
}

impl From<&'static str> for Failure {
    fn from(text: &'static str) -> Failure {
        Failure::logged(text, libc::EINVAL)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure::logged(text, libc::EINVAL)
    }
}

impl From<actor::command::Ended> for Failure {
    fn from(ended: actor::command::Ended) -> Failure {
        Failure::logged(ended.to_string(), libc::EPIPE)
    }
}

impl From<actor::producer::TooLong> for Failure {
    fn from(error: actor::producer::TooLong) -> Failure {
        Failure::logged(error.to_string(), libc::EMSGSIZE)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Failure {
        match error {
            SendError::Ended(ended) => ended.into(),
            SendError::OutOfMemory => Failure::logged(error.to_string(), libc::ENOMEM),
            SendError::Refused(refused) => refused.into(),
        }
    }
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Failure {
        Failure::logged(error.to_string(), libc::EMSGSIZE)
    }
}

pub(super) type Outcome<T> = Result<T, Failure>;

/// Runs the body of a C function. A failure or a panic becomes a log line and an error number, and the function returns
/// `fallback`.
pub(super) fn entry<T>(name: &str, fallback: T, body: impl FnOnce() -> Outcome<T>) -> T {
    let Failure { text, errno } = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return value,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            Failure::logged(format!("internal error: {}", actor::panic_text(&*panic)), libc::EFAULT)
        }
    };
    exit::hold_application();
    if let Some(text) = text {
        czmq::log::error_at_edge(format_args!("{name}: {text}"));
    }
    // SAFETY: the C library returns a pointer to the error number of this thread.
    unsafe { *libc::__errno_location() = errno };
    fallback
}

/// Like [`entry`], for destructors, which cannot return an error.
pub(super) fn entry_void(name: &str, body: impl FnOnce()) {
    entry(name, (), || {
        body();
        Ok(())
    })
}

/// Runs an actor's body on the thread that CZMQ made. `pipe` is the actor's end of its pipe.
///
/// When the body fails or panics, this function wakes the owner, and returns after the owner has sent `$TERM`. CZMQ
/// then sends the actor's last signal, for which `zactor_destroy` waits. So an owner that has not sent `$TERM` yet
/// cannot read this signal by mistake. At the end of the process this function returns without waiting.
///
/// This function does not return when the program has called `zsys_shutdown`, which closes the pipe while the actor
/// still runs. If this function returned, CZMQ's thread would use the closed pipe and abort the process.
///
/// # Safety
/// `pipe` is NULL or a live `zsock_t` that only this thread uses until this function returns.
pub(super) unsafe fn run_actor(
    name: &str,
    pipe: *mut sys::zsock_t,
    body: impl FnOnce(&Pipe) -> actor::Result,
) {
    czmq::log::install();
    let running = Running::begin();
    // SAFETY: the caller's promise.
    match unsafe { resolve(pipe) } {
        // CZMQ sends the actor's last signal, whether the body succeeded or failed.
        Some(pipe) => {
            if !actor::guard(name, &pipe, body) {
                pipe.wait_for_term();
            }
            exit::park_if_abandoned();
            if pipe.was_closed_by_czmq() {
                running.stop();
            }
        }
        None => czmq::log::error_at_edge(format_args!("{name}: the pipe is NULL")),
    }
}

/// The libzmq socket inside a `zsock_t` or `zactor_t`. `None` for NULL.
///
/// # Safety
/// `object` is NULL, or a live `zsock_t` or `zactor_t` that outlives the result. Only this thread uses it.
pub(super) unsafe fn resolve<T>(object: *mut T) -> Option<Socket> {
    if object.is_null() {
        return None;
    }
    // SAFETY: zsock_resolve takes either type; what it returns lives as long as the object.
    unsafe {
        let raw = sys::zsock_resolve(object.cast::<c_void>());
        (!raw.is_null()).then(|| Socket::borrow(raw))
    }
}

/// The error for an object that a forked child has inherited.
pub(super) const OF_ANOTHER_PROCESS: &str = "belongs to the process that forked this one";

/// Like [`resolve`], for a socket or an actor that a C program passed in. `what` names the object in the error.
///
/// # Safety
/// As [`resolve`].
pub(super) unsafe fn socket_of<T>(object: *mut T, what: &'static str) -> Outcome<Socket> {
    // SAFETY: the caller's promise.
    let socket = unsafe { resolve(object) }.ok_or_else(|| format!("the {what} is NULL"))?;
    match socket.is_of_another_process() {
        true => Err(format!("the {what} {OF_ANOTHER_PROCESS}").into()),
        false => Ok(socket),
    }
}

/// How often a waiting function checks whether another thread has received a signal.
const INTERRUPT_CHECK_MS: u64 = 100;

/// Waits until `socket` is readable. Fails when `ended` returns a reason why no more input can come.
///
/// Returns false when CZMQ's signal handler has handled SIGINT or SIGTERM, when any signal interrupted this thread, or
/// when the socket's own timeout (ZMQ_RCVTIMEO) has passed.
pub(super) fn wait_for_input(socket: &Socket, ended: &dyn Fn() -> Option<&'static str>) -> Outcome<bool> {
    let kind = socket.zmq().get_socket_type();
    if matches!(kind, Ok(zmq::SocketType::PUB | zmq::SocketType::PUSH)) {
        return Err("this socket type cannot receive".into());
    }
    let limit_ms = u64::try_from(socket.zmq().get_rcvtimeo().unwrap_or(-1)).ok();
    let due_ms = limit_ms.map(|limit_ms| now_ms() + limit_ms);
    while !socket.events().contains(POLLIN) {
        exit::hold_application();
        let left_ms = due_ms.map_or(u64::MAX, |due_ms| due_ms.saturating_sub(now_ms()));
        if czmq::interrupted() || left_ms == 0 {
            return Ok(false);
        }
        if let Some(why) = ended()
            && !socket.events().contains(POLLIN)
        {
            return Err(why.into());
        }
        if zmq::poll(&mut [socket.item(POLLIN)], left_ms.min(INTERRUPT_CHECK_MS) as i64).is_err() {
            exit::hold_application();
            return Ok(false);
        }
    }
    Ok(true)
}

/// The bytes of a C string.
///
/// # Safety
/// `text` is NULL or a NUL-terminated string that outlives the result.
pub(super) unsafe fn bytes<'a>(text: *const c_char, what: &'static str) -> Outcome<&'a [u8]> {
    if text.is_null() {
        return Err(format!("{what} is NULL").into());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// A C string as a topic to subscribe to.
///
/// # Safety
/// As [`bytes`].
pub(super) unsafe fn topic<'a>(text: *const c_char) -> Outcome<&'a [u8]> {
    // SAFETY: the caller's promise.
    let topic = unsafe { bytes(text, "topic") }?;
    if actor::consumer::is_subscription(topic) {
        Ok(topic)
    } else {
        Err(format!("a topic has at most 255 bytes, this one has {}", topic.len()).into())
    }
}

/// Reads a configuration. A key may be nested or flat (`store/db`).
///
/// Logs each invalid value. If libdafka 0.1.0 accepts the value, this function interprets the value as 0.1.0 does.
/// Otherwise it uses the key's default. Logs and ignores each key that is in upper case, has empty parts, or is below
/// `root`.
///
/// # Safety
/// `config` is NULL or a live `zconfig_t`.
pub(super) unsafe fn settings(config: *mut sys::zconfig_t) -> Settings {
    // SAFETY: the caller's promise, for as long as this call lasts.
    let tree = unsafe { czmq::config_tree(config) };
    let (settings, problems) =
        Settings::read_all(|path| tree.values(path).iter().map(|value| value.to_vec()).collect());
    if let Some(misspelled) = tree.misspelled(&Settings::keys()) {
        log::error!("configuration: {misspelled}; it is ignored");
    }
    for problem in problems {
        let level = if problem.is_accepted { log::Level::Warn } else { log::Level::Error };
        log::log!(level, "configuration: {problem}; {}", problem.used);
    }
    settings
}

/// Takes over a frame that the caller hands in; the caller's reference becomes NULL.
///
/// # Safety
/// `frame` is NULL, or points to NULL or to a live `zframe_t` that the caller gives away.
pub(super) unsafe fn take_frame(frame: *mut *mut sys::zframe_t) -> ZFrame {
    // SAFETY: the caller's promise; the reference is NULL afterwards, so that the frame has one owner.
    unsafe {
        frame.as_mut().map_or_else(ZFrame::default, |frame| {
            ZFrame::from_c(std::mem::replace(frame, std::ptr::null_mut()))
        })
    }
}

/// Copies the content for C, and adds a NUL. The caller of the C function frees the copy with `zstr_free`.
pub(super) fn c_strdup(content: &[u8]) -> Outcome<*mut c_char> {
    // SAFETY: malloc returned room for the content and the NUL, and both are written before the copy is read.
    unsafe {
        let copy = libc::malloc(content.len() + 1).cast::<u8>();
        if copy.is_null() {
            return Err("out of memory".into());
        }
        copy.copy_from_nonoverlapping(content.as_ptr(), content.len());
        copy.add(content.len()).write(0);
        Ok(copy.cast())
    }
}

//! Sends our log lines through CZMQ's log, so that zsys_set_logstream, zsys_set_logident and
//! zsys_set_logsender hold for them too.

use super::sys;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::ffi::CString;
use std::io::Write;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

struct Czmq;

impl Log for Czmq {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("dafka")
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // A NUL would end the line for C: a name from the network may hold one in its escaped form only.
        let Ok(line) = CString::new(record.args().to_string().replace('\0', "\\0")) else { return };
        let print = match record.level() {
            Level::Error => sys::zsys_error,
            Level::Warn => sys::zsys_warning,
            Level::Info => sys::zsys_info,
            Level::Debug | Level::Trace => sys::zsys_debug,
        };
        if is_exiting() {
            let line = format!("{}: {}\n", &record.level().as_str()[..1], record.args());
            let _ = std::io::stderr().write_all(line.as_bytes());
            return;
        }
        // SAFETY: "%s" takes exactly the one NUL-terminated string that follows.
        unsafe { print(c"%s".as_ptr(), line.as_ptr()) }
    }

    fn flush(&self) {}
}

/// The process ends: CZMQ is shut down, or about to be. A thread that logs through CZMQ after that would initialize it
/// again, which aborts the process while sockets are open (4.2.1, zsys.c: `!s_process_ctx`).
static IS_EXITING: AtomicBool = AtomicBool::new(false);

/// True when the process ends: sockets that CZMQ has made may be closed beneath the threads that use them.
pub fn is_exiting() -> bool {
    IS_EXITING.load(Ordering::Acquire)
}

extern "C" fn note_exit() {
    IS_EXITING.store(true, Ordering::Release);
}

unsafe extern "C" {
    /// The C library's standard error.
    static stderr: *mut libc::FILE;
}

/// Sends CZMQ's log to standard error: a program's standard output is for its data.
pub fn to_stderr() {
    // SAFETY: the stream lives as long as the process.
    unsafe { sys::zsys_set_logstream(stderr) }
}

/// Makes CZMQ's log the destination of this library's lines. A program that has set a logger of its own (one
/// written in Rust) keeps it. Cheap to call again.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // After CZMQ has registered its own function for the end of the process: ours is called before that one.
        super::init();
        // SAFETY: the function only sets a flag. Without memory it is not registered, and nothing else changes.
        unsafe { libc::atexit(note_exit) };
        if log::set_logger(&Czmq).is_ok() {
            log::set_max_level(LevelFilter::Debug);
        }
    });
}

/// Logs what went wrong at the edge of the library, where no panic may pass: that of a logger that the process has
/// installed is dropped with its line.
pub fn error_at_edge(line: std::fmt::Arguments) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        install();
        log::error!("{line}");
    }));
}

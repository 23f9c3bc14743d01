//! Sends our log lines to CZMQ's log, so that zsys_set_logstream, zsys_set_logident and zsys_set_logsender apply to
//! them.

use super::{exit, sys};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::ffi::CString;
use std::io::Write;
use std::sync::Once;

struct Czmq;

impl Log for Czmq {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("dafka")
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // A NUL would end the line in C. Names from the network may contain one, so it is escaped.
        let Ok(line) = CString::new(record.args().to_string().replace('\0', "\\0")) else { return };
        let print = match record.level() {
            Level::Error => sys::zsys_error,
            Level::Warn => sys::zsys_warning,
            Level::Info => sys::zsys_info,
            Level::Debug | Level::Trace => sys::zsys_debug,
        };
        if exit::is_closed() {
            let line = format!("{}: {}\n", &record.level().as_str()[..1], record.args());
            let _ = std::io::stderr().write_all(line.as_bytes());
            return;
        }
        // SAFETY: "%s" uses exactly one NUL-terminated string, which follows.
        unsafe { print(c"%s".as_ptr(), line.as_ptr()) }
    }

    fn flush(&self) {}
}

unsafe extern "C" {
    /// The C library's stderr.
    static stderr: *mut libc::FILE;
}

/// Sends CZMQ's log to standard error, because a program's standard output is for its data.
pub fn to_stderr() {
    // SAFETY: the stream lives as long as the process.
    unsafe { sys::zsys_set_logstream(stderr) }
}

/// Sends this library's log lines to CZMQ's log. If a Rust program has set a logger, that logger stays. Also registers
/// the function that ends the actors at the end of the process. Later calls are cheap.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        exit::install();
        if log::set_logger(&Czmq).is_ok() {
            log::set_max_level(LevelFilter::Debug);
        }
    });
}

/// Logs an error at the boundary to C, which no panic may cross. If the process's logger panics, the panic is dropped.
pub fn error_at_edge(line: std::fmt::Arguments) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        install();
        log::error!("{line}");
    }));
}

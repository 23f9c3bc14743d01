//! Writes to standard output and standard error. Either may be closed or full at any time, and `println!` and
//! `eprintln!` then panic. So nothing in src uses them (a tidy test checks that).

use super::{Failure, Result};
use std::fmt::Display;
use std::io::{BufWriter, ErrorKind, Write};

/// Writes a line to standard error. A failure cannot be reported anywhere.
pub fn complain(line: impl Display) {
    // A single write, so that lines of several programs on one terminal do not mix.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Writes to standard output. It is not an error when the reader of a pipe has closed it: the reader has read enough.
///
/// # Errors
/// When standard output cannot be written, and the errors of `write`.
pub fn print(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result {
    let mut output = BufWriter::new(std::io::stdout().lock());
    // The inner writer has a buffer too.
    let written = write(&mut output).and_then(|()| output.flush()).and_then(|()| output.get_mut().flush());
    written.or_else(not_printed)
}

/// The result of the program after a failed write to standard output.
///
/// # Errors
/// Always, unless standard output is a pipe that its reader has closed.
pub fn not_printed(error: std::io::Error) -> Result {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure(format!("cannot write to standard output: {error}"))),
    }
}

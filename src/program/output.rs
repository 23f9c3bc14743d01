//! What the programs write on standard output and standard error. Either may be closed or full at any time: then
//! `println!` and `eprintln!` panic, so that nothing in src uses them (a tidy test).

use super::{Failure, Result};
use std::fmt::Display;
use std::io::{BufWriter, ErrorKind, Write};

/// Writes a line on standard error. A failure cannot be reported anywhere.
pub fn complain(line: impl Display) {
    // One write, so that lines of several programs on one terminal do not mix.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Writes to standard output. A reader that has closed its pipe has read enough: that is no error.
///
/// # Errors
/// When standard output cannot take it, and those of `write`.
pub fn print(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result {
    let mut output = BufWriter::new(std::io::stdout().lock());
    // The inner writer holds lines back too.
    let written = write(&mut output).and_then(|()| output.flush()).and_then(|()| output.get_mut().flush());
    written.or_else(not_printed)
}

/// What a failed write to standard output means for the program.
///
/// # Errors
/// Unless the reader has closed its pipe.
pub fn not_printed(error: std::io::Error) -> Result {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure(format!("cannot write to standard output: {error}"))),
    }
}

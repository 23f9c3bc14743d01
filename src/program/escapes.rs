//! Escape sequences in the values of options, and the options for delimiters, whose values may contain them.

use super::{Failure, Result};
use crate::text::printable;
use clap::ArgMatches;
use std::ffi::OsString;

/// The option `--delimiter` or `--null`: the byte that ends each record. `None` without such an option.
///
/// # Errors
/// When the value is not one byte.
pub(super) fn delimiter(matches: &ArgMatches) -> Result<Option<u8>> {
    if matches.get_flag("null") {
        return Ok(Some(0));
    }
    match option(matches, "delimiter")?.as_deref() {
        None => Ok(None),
        Some(&[byte]) => Ok(Some(byte)),
        Some(_) => {
            Err(Failure(r"--delimiter must be one byte, or an escape sequence such as \t or \x1e".into()))
        }
    }
}

/// The option `--key-delimiter`: the bytes between key and content.
///
/// # Errors
/// When the value is empty or contains an unknown escape sequence.
pub(super) fn key_delimiter(matches: &ArgMatches) -> Result<Option<Vec<u8>>> {
    match option(matches, "key-delimiter")? {
        Some(delimiter) if delimiter.is_empty() => Err(Failure("--key-delimiter must not be empty".into())),
        delimiter => Ok(delimiter),
    }
}

/// The value of an option, with the byte for which it stands in place of each escape sequence.
fn option(matches: &ArgMatches, name: &str) -> Result<Option<Vec<u8>>> {
    let Some(text) = matches.get_one::<OsString>(name) else { return Ok(None) };
    let (mut rest, mut value) = (text.as_encoded_bytes(), Vec::new());
    while !rest.is_empty() {
        value.push(take_byte(&mut rest).map_err(|problem| refused(name, problem))?);
    }
    Ok(Some(value))
}

/// The error of an option whose value has a problem.
pub(super) fn refused(option: &str, problem: String) -> Failure {
    Failure(format!("--{option}: {problem}"))
}

/// Takes the first byte of a text that is not empty, or the byte of the escape sequence there.
pub(super) fn take_byte(text: &mut &[u8]) -> Result<u8, String> {
    let known = [(b'n', b'\n'), (b'r', b'\r'), (b't', b'\t'), (b'0', 0), (b'\\', b'\\')];
    let (byte, len) = match **text {
        [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            (digit(high) << 4 | digit(low), 4)
        }
        [b'\\', letter, ..] => match known.iter().find(|(known, _)| *known == letter) {
            Some((_, byte)) => (*byte, 2),
            None => {
                let sequence = printable(&text[..2]);
                return Err(format!(r"{sequence} is none of \n, \r, \t, \0, \\ and \xHH"));
            }
        },
        [b'\\'] => return Err(r"write \\ for a backslash".into()),
        [byte, ..] => (byte, 1),
        [] => return Err("the text has ended".into()),
    };
    *text = &text[len..];
    Ok(byte)
}

/// The value of a hexadecimal digit.
fn digit(digit: u8) -> u8 {
    char::from(digit).to_digit(16).map_or(0, |value| value as u8)
}

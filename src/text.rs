//! Bytes that are usually text, such as values of a configuration and paths, in messages.

use std::fmt::Write;
use std::path::Path;

/// The bytes as one line: valid UTF-8 as it is, control characters and other bytes escaped as in Rust.
pub fn printable(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char.is_control() {
                true => text.extend(char.escape_debug()),
                false => text.push(char),
            }
        }
        for octet in chunk.invalid() {
            let _ = write!(text, "\\x{octet:02x}");
        }
    }
    text
}

/// A path as one line, escaped in the same way.
pub fn printable_path(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_escaped() {
        assert_eq!(printable("d\u{e9}p\u{f4}t".as_bytes()), "d\u{e9}p\u{f4}t");
        assert_eq!(printable(b"d\xe9p\n\x1b[1m"), "d\\xe9p\\n\\u{1b}[1m");
    }
}

//! The file to which a tower writes its endpoints, for scripts and as configuration for nodes.

use crate::text::printable;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file. Dropping this value removes the file, unless another file has replaced it.
pub(super) struct EndpointsFile {
    path: PathBuf,
    id: (u64, u64),
}

impl EndpointsFile {
    /// Writes the endpoints to which the tower has bound. The file appears with its whole content. This function
    /// replaces only a regular file: otherwise a process with enough permissions could replace a device such as
    /// /dev/stdout.
    pub(super) fn write(path: &OsStr, sub: &[u8], publ: &[u8]) -> io::Result<EndpointsFile> {
        let text = text(sub, publ)?;
        if std::fs::symlink_metadata(path).is_ok_and(|data| !data.is_file()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is not a regular file"));
        }
        let mut temporary = OsString::from(path);
        temporary.push(format!(".{}.tmp", std::process::id()));
        let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
        if let Err(error) = written {
            // The temporary file may not exist.
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(EndpointsFile { path: path.into(), id: id(Path::new(path))? })
    }
}

impl Drop for EndpointsFile {
    fn drop(&mut self) {
        if id(&self.path).is_ok_and(|id| id == self.id) {
            // A failure has no consequence.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|data| (data.dev(), data.ino()))
}

/// The content of the file: the endpoints of the tower, and the endpoints to which a node on this host connects.
fn text(sub: &[u8], publ: &[u8]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for (key, endpoint) in [
        ("tower/sub_address", sub.to_vec()),
        ("tower/pub_address", publ.to_vec()),
        ("beacon/sub_address", on_this_host(sub)),
        ("beacon/pub_address", on_this_host(publ)),
    ] {
        let quote = [b'"', b'\''].into_iter().find(|quote| !endpoint.contains(quote));
        let (Some(quote), false) = (quote, endpoint.contains(&b'\n')) else {
            let why = format!("{} cannot be written in ZPL", printable(&endpoint));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        text.extend_from_slice(key.as_bytes());
        text.extend_from_slice(b" = ");
        text.push(quote);
        text.extend_from_slice(&endpoint);
        text.extend_from_slice(&[quote, b'\n']);
    }
    Ok(text)
}

/// Replaces the address that stands for all interfaces by the loopback address. A socket that listens on all IPv6
/// addresses accepts IPv4 too.
fn on_this_host(endpoint: &[u8]) -> Vec<u8> {
    for any in [&b"tcp://0.0.0.0:"[..], b"tcp://[::]:"] {
        if let Some(port) = endpoint.strip_prefix(any) {
            return [b"tcp://127.0.0.1:", port].concat();
        }
    }
    endpoint.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_on_this_host_connects_to_the_loopback() {
        let text = text(b"tcp://0.0.0.0:7", b"tcp://[::]:8").unwrap();
        let expected = "tower/sub_address = \"tcp://0.0.0.0:7\"\ntower/pub_address = \"tcp://[::]:8\"\n\
                        beacon/sub_address = \"tcp://127.0.0.1:7\"\nbeacon/pub_address = \"tcp://127.0.0.1:8\"\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let [target, link, file] = ["target", "link", "file"].map(|name| dir.path().join(name));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for refused in [dir.path(), &*link] {
            assert!(EndpointsFile::write(refused.as_os_str(), b"inproc://a", b"inproc://b").is_err());
        }
        assert!(link.is_symlink() && !target.exists());
        let written = EndpointsFile::write(file.as_os_str(), b"inproc://a", b"inproc://b").unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().contains("inproc://a"));
        drop(written);
        assert!(!file.exists());
    }

    #[test]
    fn any_path_is_quoted_or_refused() {
        let text = |path: &[u8]| text(b"inproc://sub", path);
        assert!(text(b"ipc://a\"b").unwrap().ends_with(b"\nbeacon/pub_address = 'ipc://a\"b'\n"));
        assert!(text(b"ipc://a\"b'").is_err());
        assert!(text(b"ipc://a\nb").is_err());
    }
}

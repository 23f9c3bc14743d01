//! The address of a tower.

use crate::text::printable;
use crate::wire::Endpoint;
use std::borrow::Cow;
use std::fmt;

/// An address of a tower in the form that libzmq accepts: `tcp://HOST:PORT`, `ipc://PATH` or `inproc://NAME`. It may
/// contain any byte but NUL, because the path of `ipc://PATH` need not be text.
#[derive(Clone, PartialEq, Eq)]
pub struct TowerAddress(Box<[u8]>);

impl TowerAddress {
    /// Checks that libzmq can parse the address. It does not check whether a tower is reachable there.
    ///
    /// # Errors
    /// What a valid address must be.
    pub(super) fn check(octets: &[u8]) -> Result<TowerAddress, &'static str> {
        let octets = octets.trim_ascii();
        let expected = "must be an endpoint such as tcp://HOST:PORT, ipc://PATH or inproc://NAME";
        let at = octets.windows(3).position(|part| part == b"://").ok_or(expected)?;
        let (transport, rest) = (&octets[..at], &octets[at + 3..]);
        match transport {
            b"tcp" => {
                let text = std::str::from_utf8(octets).map_err(|_| expected)?;
                let Endpoint { host, port } =
                    Endpoint::parse(text).ok_or("must end with a port: tcp://HOST:PORT")?;
                let is_port = matches!(port, "*" | "!") || port.parse::<u16>().is_ok();
                if host.is_empty() || !is_port {
                    return Err("must name a host, and a port from 0 to 65535: tcp://HOST:PORT");
                }
            }
            b"inproc" | b"ipc" if !rest.is_empty() && rest.len() <= 255 => {}
            _ => return Err(expected),
        }
        Ok(TowerAddress(octets.into()))
    }

    /// An `inproc://` address. Characters that cannot be printed in a log line are left out, and the name is cut to a
    /// length that libzmq accepts.
    pub fn inproc(name: &str) -> TowerAddress {
        let name = name.bytes().filter(u8::is_ascii_graphic).take(200);
        TowerAddress(b"inproc://".iter().copied().chain(name).collect())
    }

    /// Whether only this process can connect to it.
    pub fn is_inproc(&self) -> bool {
        self.0.starts_with(b"inproc://")
    }

    /// Whether the system chooses the port when a socket binds to the address.
    pub fn has_any_port(&self) -> bool {
        let endpoint = std::str::from_utf8(&self.0).ok().and_then(Endpoint::parse);
        endpoint.is_some_and(|endpoint| matches!(endpoint.port, "*" | "!" | "0"))
    }

    /// The address as text. The replacement character stands for bytes that are not UTF-8.
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl AsRef<[u8]> for TowerAddress {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Used for default values, which are not checked.
impl From<&'static str> for TowerAddress {
    fn from(text: &'static str) -> TowerAddress {
        TowerAddress(text.as_bytes().into())
    }
}

impl PartialEq<&str> for TowerAddress {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl fmt::Display for TowerAddress {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl fmt::Debug for TowerAddress {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

/// Writes several addresses into a message, with commas between them as in a configuration.
pub fn list(addresses: &[TowerAddress]) -> String {
    addresses.iter().map(TowerAddress::to_string).collect::<Vec<_>>().join(",")
}

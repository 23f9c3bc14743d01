//! An address of a tower, as libzmq takes it.

use crate::text::printable;
use std::borrow::Cow;
use std::fmt;

/// An address such as `tcp://HOST:PORT`. It may hold any bytes but NUL: the path of `ipc://PATH` need not be text.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Box<[u8]>);

impl Endpoint {
    /// Checks that libzmq could understand it; whether somebody is there is another question.
    ///
    /// # Errors
    /// What it must be.
    pub(super) fn check(octets: &[u8]) -> Result<Endpoint, &'static str> {
        let octets = octets.trim_ascii();
        let expected = "must be an endpoint such as tcp://HOST:PORT, ipc://PATH or inproc://NAME";
        let at = octets.windows(3).position(|part| part == b"://").ok_or(expected)?;
        let (transport, rest) = (&octets[..at], &octets[at + 3..]);
        match transport {
            b"tcp" => {
                let rest = std::str::from_utf8(rest).map_err(|_| expected)?;
                let (host, port) = rest.rsplit_once(':').ok_or("must end with a port: tcp://HOST:PORT")?;
                let port_is_fine = port == "*" || port == "!" || port.parse::<u16>().is_ok();
                if host.is_empty() || !port_is_fine {
                    return Err("must name a host, and a port from 0 to 65535: tcp://HOST:PORT");
                }
            }
            b"inproc" | b"ipc" if !rest.is_empty() && rest.len() <= 255 => {}
            _ => return Err(expected),
        }
        Ok(Endpoint(octets.into()))
    }

    /// An `inproc://` address. Characters that a log line could not show are left out, and more than ZeroMQ takes.
    pub fn inproc(name: &str) -> Endpoint {
        let name = name.bytes().filter(u8::is_ascii_graphic).take(200);
        Endpoint(b"inproc://".iter().copied().chain(name).collect())
    }

    /// Whether only this process can reach it.
    pub fn is_inproc(&self) -> bool {
        self.0.starts_with(b"inproc://")
    }

    /// Whether the port is chosen when it is bound.
    pub fn has_any_port(&self) -> bool {
        let is_tcp = self.0.starts_with(b"tcp://");
        is_tcp && [&b":*"[..], b":!", b":0"].iter().any(|port| self.0.ends_with(port))
    }

    /// The address as text, with a replacement for each byte that is none.
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl AsRef<[u8]> for Endpoint {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A default.
impl From<&'static str> for Endpoint {
    fn from(text: &'static str) -> Endpoint {
        Endpoint(text.as_bytes().into())
    }
}

impl PartialEq<&str> for Endpoint {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

/// Several addresses for a message, as in a configuration.
pub fn list(endpoints: &[Endpoint]) -> String {
    endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(",")
}

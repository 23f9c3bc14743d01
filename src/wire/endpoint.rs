//! Endpoints `tcp://HOST:PORT`.

/// The parts of an endpoint `tcp://HOST:PORT`. They are not checked: the host may be an IP address, a name or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// The host, including brackets.
    pub host: &'a str,
    /// The port.
    pub port: &'a str,
}

impl<'a> Endpoint<'a> {
    /// The only transport between nodes.
    pub const TRANSPORT: &'static str = "tcp://";

    /// Splits an endpoint. `None` when its transport is another one, or it has no port.
    pub fn parse(text: &'a str) -> Option<Endpoint<'a>> {
        let (host, port) = text.strip_prefix(Self::TRANSPORT)?.rsplit_once(':')?;
        Some(Endpoint { host, port })
    }

    /// The host without brackets and zone: a name, or an IP address that Rust can parse.
    pub fn address(&self) -> &'a str {
        let inner = self.inner();
        inner.split_once('%').map_or(inner, |(address, _)| address)
    }

    /// The zone, which is the name of an interface: `eth0` in `tcp://[fe80::1%eth0]:5557`.
    pub fn zone(&self) -> Option<&'a str> {
        self.inner().split_once('%').map(|(_, zone)| zone)
    }

    /// The endpoint with another zone, or without zone. An endpoint without zone is returned unchanged.
    pub fn with_zone(&self, zone: Option<&str>) -> String {
        let (address, port, transport) = (self.address(), self.port, Self::TRANSPORT);
        match (self.zone(), zone) {
            (None, _) => format!("{transport}{}:{port}", self.host),
            (Some(_), Some(zone)) => format!("{transport}[{address}%{zone}]:{port}"),
            (Some(_), None) => format!("{transport}[{address}]:{port}"),
        }
    }

    fn inner(&self) -> &'a str {
        let inner = self.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        inner.unwrap_or(self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_split() {
        for (text, host, address, zone, port) in [
            ("tcp://10.0.0.1:5", "10.0.0.1", "10.0.0.1", None, "5"),
            ("tcp://[fd00::1]:5", "[fd00::1]", "fd00::1", None, "5"),
            ("tcp://[fe80::1%eth0]:5", "[fe80::1%eth0]", "fe80::1", Some("eth0"), "5"),
            ("tcp://fe80::1%eth0:*", "fe80::1%eth0", "fe80::1", Some("eth0"), "*"),
            ("tcp://host.example:", "host.example", "host.example", None, ""),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((endpoint.host, endpoint.port), (host, port));
            assert_eq!((endpoint.address(), endpoint.zone()), (address, zone), "{text}");
        }
        for other in ["inproc://tower", "ipc://a:5", "tcp://host", ""] {
            assert_eq!(Endpoint::parse(other), None);
        }
    }

    #[test]
    fn a_zone_is_replaced_or_removed() {
        let zoned = Endpoint::parse("tcp://[fe80::1%eth0]:5").unwrap();
        assert_eq!(zoned.with_zone(Some("br0")), "tcp://[fe80::1%br0]:5");
        assert_eq!(zoned.with_zone(None), "tcp://[fe80::1]:5");
        let plain = Endpoint::parse("tcp://[fd00::1]:5").unwrap();
        assert_eq!([plain.with_zone(Some("br0")), plain.with_zone(None)], ["tcp://[fd00::1]:5"; 2]);
    }
}

//! Zones of IPv6 link-local addresses, such as `eth0` in `tcp://[fe80::1%eth0]:5557`. A zone is the name of an
//! interface.

use crate::wire::Endpoint;
use std::borrow::Cow;

/// The zone of an endpoint, if it has one.
pub(super) fn zone(endpoint: &str) -> Option<&str> {
    let parts = Endpoint::parse(endpoint)?;
    parts.zone().filter(|_| parts.host.starts_with('['))
}

/// Replaces the zone of an endpoint by `own`. A tower announces the name of an interface of its own host. The interface
/// to the same network may have another name on this host. An endpoint without a zone stays as it is.
pub(super) fn with_zone<'a>(endpoint: &'a str, own: Option<&str>) -> Cow<'a, str> {
    match (Endpoint::parse(endpoint), zone(endpoint), own) {
        (Some(parts), Some(zone), Some(own)) if zone != own => parts.with_zone(Some(own)).into(),
        _ => endpoint.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_gets_the_zone_of_this_host() {
        let tower = "tcp://[fe80::1%eth0]:5557";
        assert_eq!(zone(tower), Some("eth0"));
        for other in ["tcp://*:5557", "inproc://tower", "tcp://[::1]:1", "tcp://[::1%", "tcp://[::1%]:2"] {
            assert!(zone(other).is_none_or(str::is_empty), "{other}");
        }
        assert_eq!(with_zone("tcp://[fe80::2%br0]:1", zone(tower)), "tcp://[fe80::2%eth0]:1");
        assert_eq!(with_zone("tcp://[fe80::2%br0]:1", None), "tcp://[fe80::2%br0]:1");
        assert_eq!(with_zone("tcp://[fd00::2]:1", zone(tower)), "tcp://[fd00::2]:1");
    }
}

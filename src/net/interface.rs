//! IPv6 addresses of this host's network interfaces. The stable functions of CZMQ list only the IPv4 addresses.

use crate::czmq;
use std::ffi::CStr;
use std::net::Ipv6Addr;

/// The first IPv6 address of an interface that is up and is not the loopback. It is written as in an endpoint, but
/// without brackets. A link-local address, with its zone, is returned only when there is no other address. If the
/// application has chosen an interface, only the addresses of this interface count.
pub fn first_ipv6_address() -> Option<String> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: on success the list is valid until freeifaddrs. Nothing refers to it after that.
    unsafe {
        if libc::getifaddrs(&mut first) != 0 {
            return None;
        }
        let mut found = Vec::new();
        let mut at = first;
        while !at.is_null() {
            found.extend(ipv6_address(&*at));
            at = (*at).ifa_next;
        }
        libc::freeifaddrs(first);
        best(found, czmq::chosen_interface().as_deref())
    }
}

/// # Safety
/// `interface` is an entry of a list that getifaddrs has made and that is not freed.
unsafe fn ipv6_address(interface: &libc::ifaddrs) -> Option<(Ipv6Addr, String)> {
    let is_up = interface.ifa_flags & libc::IFF_UP as u32 != 0;
    if !is_up || interface.ifa_flags & libc::IFF_LOOPBACK as u32 != 0 || interface.ifa_addr.is_null() {
        return None;
    }
    // SAFETY: every address has its family, and an address of AF_INET6 is a sockaddr_in6. The name is NUL-terminated.
    unsafe {
        if i32::from((*interface.ifa_addr).sa_family) != libc::AF_INET6 {
            return None;
        }
        let address = interface.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
        let name = CStr::from_ptr(interface.ifa_name).to_string_lossy().into_owned();
        Some((Ipv6Addr::from(address.sin6_addr.s6_addr), name))
    }
}

fn best(mut found: Vec<(Ipv6Addr, String)>, chosen: Option<&str>) -> Option<String> {
    found.retain(|(_, name)| chosen.is_none_or(|chosen| chosen == name));
    let other = found.iter().find(|(address, _)| !address.is_unicast_link_local());
    match (other, found.first()) {
        (Some((address, _)), _) => Some(address.to_string()),
        (None, Some((address, name))) => Some(format!("{address}%{name}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_link_local_is_preferred() {
        let found = |address: &str| (address.parse().unwrap(), "eth0".to_owned());
        assert_eq!(best(vec![], None), None);
        assert_eq!(best(vec![found("fe80::1")], None).as_deref(), Some("fe80::1%eth0"));
        assert_eq!(best(vec![found("fe80::1"), found("fd00::1")], None).as_deref(), Some("fd00::1"));
        assert_eq!(best(vec![found("fd00::1")], Some("eth1")), None);
        let other = ("fd00::2".parse().unwrap(), "eth1".to_owned());
        assert_eq!(best(vec![found("fd00::1"), other], Some("eth1")).as_deref(), Some("fd00::2"));
    }

    #[test]
    fn the_interfaces_of_this_host_can_be_listed() {
        let address = first_ipv6_address();
        assert!(address.is_none_or(|address| address.contains(':') && address != "::1"));
    }
}

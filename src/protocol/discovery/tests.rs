//! Tests of discovery.

use super::*;

const A: &str = "tcp://127.0.0.1:1001";
const B: &str = "tcp://127.0.0.1:1002";

fn discovery() -> Discovery {
    Discovery::new(b"me", &[b"my other half"], 1_000, 4_000, 0)
}

/// Handles a beacon. Returns the `Connect` and `Disconnect` events.
fn beacon(discovery: &mut Discovery, sender: &[u8], endpoint: &str, now_ms: u64) -> Vec<Event> {
    let mut events = Vec::new();
    discovery.handle_beacon(sender, endpoint, now_ms, &mut events);
    events.retain(|event| !matches!(event, Event::Announced { .. }));
    events
}

/// Handles a beacon of a known endpoint. Returns true when discovery reports the sender as a new node at the endpoint.
fn is_announced(discovery: &mut Discovery, sender: &[u8], endpoint: &str, now_ms: u64) -> bool {
    let mut events = Vec::new();
    discovery.handle_beacon(sender, endpoint, now_ms, &mut events);
    let announced = Event::Announced { endpoint: endpoint.into(), host: host_of_endpoint(endpoint) };
    assert!(events.is_empty() || events == [announced], "{events:?}");
    !events.is_empty()
}

fn tick(discovery: &mut Discovery, now_ms: u64) -> (bool, Vec<Event>) {
    let mut events = Vec::new();
    (discovery.handle_timeout(now_ms, &mut events), events)
}

/// The tower forwards this node's own beacon to it.
fn echo(discovery: &mut Discovery, now_ms: u64) {
    assert_eq!(beacon(discovery, b"me", "tcp://127.0.0.1:1", now_ms), []);
}

#[test]
fn beacons_at_once_then_every_interval_and_for_a_new_peer() {
    let mut discovery = discovery();
    assert!(tick(&mut discovery, 0).0);
    assert!(!tick(&mut discovery, 999).0);
    assert!(tick(&mut discovery, 1_000).0);
    assert_eq!(beacon(&mut discovery, b"peer", A, 1_500), [Event::Connect(A.into())]);
    assert!(tick(&mut discovery, 1_500).0);
    assert_eq!(beacon(&mut discovery, b"peer", A, 1_600), []);
    assert!(!tick(&mut discovery, 1_600).0);
}

#[test]
fn a_node_and_its_ignored_addresses_are_no_peers() {
    let mut discovery = discovery();
    assert_eq!(beacon(&mut discovery, b"me", A, 0), []);
    assert_eq!(beacon(&mut discovery, b"my other half", A, 0), []);
}

#[test]
fn a_silent_peer_is_dropped_and_comes_back() {
    let mut discovery = discovery();
    beacon(&mut discovery, b"peer", A, 0);
    for now_ms in [1_500, 2_500, 3_500] {
        echo(&mut discovery, now_ms);
    }
    assert_eq!(tick(&mut discovery, 3_999).1, []);
    assert_eq!(tick(&mut discovery, 4_000).1, [Event::Disconnect(A.into())]);
    assert_eq!(beacon(&mut discovery, b"peer", A, 9_000), [Event::Connect(A.into())]);
}

#[test]
fn a_host_that_is_resolved_late_is_connected_to_at_once() {
    let mut discovery = discovery();
    const NAMED: &str = "tcp://late.invalid:1001";
    assert_eq!(beacon(&mut discovery, b"peer", NAMED, 0), [Event::Connect(NAMED.into())]);
    let found = [Event::Connect(A.into()), Event::Disconnect(NAMED.into())];
    assert_eq!(beacon(&mut discovery, b"peer", A, 1_000), found);
    // An endpoint in use stays, even if another tower announces another one.
    assert_eq!(beacon(&mut discovery, b"peer", "tcp://127.0.0.2:1001", 2_000), []);
    assert_eq!(beacon(&mut discovery, b"peer", NAMED, 3_000), []);
}

#[test]
fn an_endpoint_that_a_new_node_takes_over_stays_connected() {
    let mut discovery = discovery();
    beacon(&mut discovery, b"old", A, 0);
    echo(&mut discovery, 1_500);
    assert_eq!(beacon(&mut discovery, b"new", A, 3_000), []);
    echo(&mut discovery, 4_500);
    assert_eq!(tick(&mut discovery, 5_000).1, []);
    echo(&mut discovery, 6_000);
    assert_eq!(tick(&mut discovery, 7_000).1, [Event::Disconnect(A.into())]);
}

#[test]
fn a_peer_that_moved_is_followed() {
    let mut discovery = discovery();
    let elsewhere = "tcp://10.0.0.1:1001";
    beacon(&mut discovery, b"peer", A, 0);
    // Two towers may announce the peer at different endpoints. The first endpoint stays while a tower still announces
    // it.
    assert_eq!(beacon(&mut discovery, b"peer", elsewhere, 10), []);
    assert_eq!(beacon(&mut discovery, b"peer", A, 2_000), []);
    assert_eq!(beacon(&mut discovery, b"peer", elsewhere, 5_999), []);
    let events = beacon(&mut discovery, b"peer", elsewhere, 6_000);
    assert_eq!(events, [Event::Connect(elsewhere.into()), Event::Disconnect(A.into())]);
    // The same name at another port is another node. Both are connected.
    assert_eq!(beacon(&mut discovery, b"peer", B, 6_001), [Event::Connect(B.into())]);
}

#[test]
fn nodes_that_share_a_name_or_have_none_are_different_peers() {
    let mut discovery = discovery().reporting_names();
    for (name, endpoint) in [(&b"n"[..], A), (b"n", B), (b"", "tcp://10.0.0.1:5"), (b"", "tcp://10.0.0.2:5")]
    {
        assert_eq!(beacon(&mut discovery, name, endpoint, 0), [Event::Connect(endpoint.into())]);
        assert_eq!(discovery.poll_renamed(), Some((name.into(), endpoint.into(), true)));
    }
    for now_ms in [1_500, 2_500, 3_500] {
        echo(&mut discovery, now_ms);
        assert_eq!(beacon(&mut discovery, b"n", B, now_ms), []);
    }
    let mut events = tick(&mut discovery, 4_000).1;
    events.sort_by_key(|event| format!("{event:?}"));
    let gone = [A, "tcp://10.0.0.1:5", "tcp://10.0.0.2:5"].map(|endpoint| Event::Disconnect(endpoint.into()));
    assert_eq!(events.len(), 3);
    assert!(gone.iter().all(|event| events.contains(event)), "{events:?}");
    // An address belongs to one node.
    let address = b"0123456789ABCDEF0123456789ABCDEF";
    assert_eq!(beacon(&mut discovery, address, A, 4_000), [Event::Connect(A.into())]);
    assert_eq!(beacon(&mut discovery, address, "tcp://127.0.0.1:9", 4_001), []);
    // This node has no name itself.
    let mut nameless = Discovery::new(b"", &[], 1_000, 4_000, 0).with_port(1_001);
    assert_eq!(beacon(&mut nameless, b"", A, 0), []);
    assert_eq!(beacon(&mut nameless, b"", B, 0), [Event::Connect(B.into())]);
}

#[test]
fn a_new_node_at_a_known_endpoint_is_reported() {
    let mut discovery = discovery();
    assert_eq!(beacon(&mut discovery, b"first", A, 0), [Event::Connect(A.into())]);
    assert!(!is_announced(&mut discovery, b"first", A, 1_000));
    assert!(is_announced(&mut discovery, b"second", A, 1_100));
    // Further names evict silent names only.
    for i in 2..MAX_NAMES {
        assert!(is_announced(&mut discovery, &[i as u8], A, 1_200));
    }
    assert!(is_announced(&mut discovery, b"early", A, 1_400));
    assert!(!discovery.peers.contains_key(&key(b"early", A)));
    assert!(is_announced(&mut discovery, b"late", A, 3_000));
    assert!(discovery.peers.contains_key(&key(b"late", A)));
    assert_eq!(discovery.peers.len(), MAX_NAMES);
    // A name that was silent for long is new again.
    assert!(!is_announced(&mut discovery, b"late", A, 4_900));
    assert!(is_announced(&mut discovery, b"late", A, 6_900));
}

#[test]
fn new_peers_get_a_beacon_at_once_at_a_limited_rate() {
    let mut discovery = discovery();
    let answered = |discovery: &mut Discovery, i: u64, now_ms| {
        beacon(discovery, &i.to_be_bytes(), &format!("tcp://10.0.0.1:{i}"), now_ms);
        tick(discovery, now_ms).0
    };
    assert!(tick(&mut discovery, 0).0);
    // A store has two nodes, whose beacons come one after the other.
    assert!(answered(&mut discovery, 1, 1) && answered(&mut discovery, 2, 1));
    let count = (0..1_000).filter(|&i| answered(&mut discovery, 3 + i, 2 + i)).count();
    assert!((50..=66).contains(&count), "{count}");
}

#[test]
fn peers_stay_while_all_towers_are_lost() {
    let mut discovery = discovery();
    beacon(&mut discovery, b"peer", A, 0);
    discovery.handle_tower_lost(true, 100);
    assert_eq!(tick(&mut discovery, 60_000).1, []);
    discovery.handle_tower_lost(false, 60_000);
    for now_ms in [60_050, 61_000, 62_000] {
        echo(&mut discovery, now_ms);
    }
    assert_eq!(tick(&mut discovery, 63_000).1, []);
    echo(&mut discovery, 63_500);
    assert_eq!(tick(&mut discovery, 64_500).1, [Event::Disconnect(A.into())]);
}

#[test]
fn peers_stay_while_a_tower_is_silent() {
    let mut discovery = discovery();
    beacon(&mut discovery, b"peer", A, 0);
    beacon(&mut discovery, b"dead", B, 0);
    // Not even this node's own beacon comes back, so the network path to the tower is broken.
    for now_ms in [4_000, 5_000, 20_000] {
        assert_eq!(tick(&mut discovery, now_ms).1, [], "{now_ms}");
    }
    echo(&mut discovery, 20_500);
    assert_eq!(tick(&mut discovery, 21_000).1, []);
    assert_eq!(beacon(&mut discovery, b"peer", A, 21_500), []);
    for now_ms in [22_500, 23_500] {
        echo(&mut discovery, now_ms);
    }
    assert_eq!(tick(&mut discovery, 24_500).1, [Event::Disconnect(B.into())]);
}

#[test]
fn a_long_beacon_interval_does_not_count_as_silence() {
    let mut discovery = Discovery::new(b"me", &[], 3_000, 4_000, 0);
    beacon(&mut discovery, b"peer", A, 0);
    echo(&mut discovery, 3_000);
    assert_eq!(tick(&mut discovery, 4_500).1, [Event::Disconnect(A.into())]);
}

#[test]
fn many_new_peers_are_limited_and_cause_one_beacon() {
    let mut discovery = discovery();
    let mut connected = 0;
    for i in 0..MAX_PEERS as u32 + 100 {
        connected += beacon(&mut discovery, &i.to_be_bytes(), &format!("tcp://10.0.0.1:{i}"), 5).len();
    }
    assert_eq!(connected, MAX_PEERS);
    assert!(tick(&mut discovery, 5).0);
    assert!(!tick(&mut discovery, 5).0);
}

#[test]
fn peers_that_do_not_respond_are_evicted_and_others_stay() {
    let mut discovery =
        discovery().with_max_peers(5).with_max_pending(3).with_max_peers_per_host(5, host_of_endpoint);
    let endpoint = |i: u64| format!("tcp://10.0.0.1:{i}");
    beacon(&mut discovery, b"real", A, 0);
    discovery.handle_answer(A);
    for i in 1..=3 {
        assert_eq!(beacon(&mut discovery, &[i as u8], &endpoint(i), i), [Event::Connect(endpoint(i))]);
    }
    // The pending peers get time to respond. Then the oldest one is evicted, although it sends beacons.
    assert_eq!(beacon(&mut discovery, b"new", B, 400), []);
    let host = host_of_endpoint(B);
    assert_eq!(discovery.poll_notice(), Some(Notice::TooManyPending { host, limit: 3 }));
    beacon(&mut discovery, &[1], &endpoint(1), 450);
    let events = beacon(&mut discovery, b"new", B, 501);
    assert_eq!(events, [Event::Disconnect(endpoint(1)), Event::Connect(B.into())]);
    discovery.handle_answer(B);
    for i in 4..100 {
        beacon(&mut discovery, &[i as u8], &endpoint(i), 2_000 + 10 * i);
    }
    assert_eq!(discovery.pending.len(), 3);
    for (name, endpoint) in [(&b"real"[..], A), (b"new", B)] {
        assert_eq!(beacon(&mut discovery, name, endpoint, 3_500), []);
        assert!(discovery.peers.contains_key(&key(name, endpoint)));
    }
    // An endpoint whose connection has ended is pending too.
    discovery.handle_connection_ended(A, 3_600);
    assert_eq!(discovery.pending.len(), 4);
    assert_eq!(discovery.peers.len(), discovery.endpoints.len());
}

#[test]
fn peers_of_one_host_are_limited_and_others_evict_them() {
    let mut discovery = discovery().with_max_peers(6).with_max_peers_per_host(5, host_of_endpoint);
    let greedy = |i: u64| format!("tcp://10.0.0.1:{i}");
    for i in 0..20 {
        beacon(&mut discovery, &[i as u8], &greedy(i), i);
        discovery.handle_answer(&greedy(i));
    }
    assert_eq!(
        discovery.poll_notice(),
        Some(Notice::TooManyPeersOfHost { host: "10.0.0.1".into(), limit: 5 })
    );
    assert_eq!(discovery.peers.len(), 5);
    // Other hosts' peers come. The first one finds room. Each further one evicts the newest peer of the greedy host.
    let modest = |i: u64| format!("tcp://10.0.0.{}:1", 100 + i);
    assert_eq!(beacon(&mut discovery, b"0", &modest(0), 30), [Event::Connect(modest(0))]);
    for i in 1..5 {
        discovery.handle_answer(&modest(i - 1));
        let events = beacon(&mut discovery, i.to_string().as_bytes(), &modest(i), 31);
        assert_eq!(events, [Event::Disconnect(greedy(5 - i)), Event::Connect(modest(i))]);
        assert_eq!(discovery.poll_notice(), Some(Notice::PeerEvicted { host: "10.0.0.1".into(), limit: 6 }));
    }
    // Each host has one peer now. A further host gets no peer: after an eviction, it would have more peers than the
    // host of the evicted peer. The first peer of the greedy host is still there.
    discovery.handle_answer(&modest(4));
    assert_eq!(beacon(&mut discovery, b"9", &modest(9), 32), []);
    assert_eq!(discovery.poll_notice(), Some(Notice::TooManyPeers { host: "10.0.0.109".into(), limit: 6 }));
    assert!(discovery.endpoints.contains_key(&greedy(0)));
    // All peers expire in the end.
    for now_ms in [1_500, 2_500, 3_500] {
        echo(&mut discovery, now_ms);
    }
    tick(&mut discovery, 4_100);
    assert!(discovery.peers.is_empty() && discovery.hosts.is_empty() && discovery.by_count.is_empty());
}

#[test]
fn an_endpoint_with_a_thousand_names_counts_as_a_few_peers() {
    let mut discovery = discovery().with_max_peers(20);
    for i in 0..1_000_u32 {
        assert_eq!(beacon(&mut discovery, &i.to_be_bytes(), A, 0).len(), usize::from(i == 0));
    }
    assert_eq!(discovery.peers.len(), MAX_NAMES);
    assert_eq!(beacon(&mut discovery, b"real", B, 0), [Event::Connect(B.into())]);
}

#[test]
fn a_peer_that_restarts_with_its_address_is_found_at_once() {
    const ADDRESS: &[u8] = b"0123456789ABCDEF0123456789ABCDEF";
    let mut discovery = discovery();
    beacon(&mut discovery, ADDRESS, A, 0);
    discovery.handle_answer(A);
    // While the peer responds, another one with its address is ignored.
    assert_eq!(beacon(&mut discovery, ADDRESS, B, 100), []);
    discovery.handle_connection_ended(A, 200);
    // Another tower may announce the same peer at another host, with the same port.
    assert_eq!(beacon(&mut discovery, ADDRESS, "tcp://127.0.0.2:1001", 300), []);
    let moved = [Event::Connect(B.into()), Event::Disconnect(A.into())];
    assert_eq!(beacon(&mut discovery, ADDRESS, B, 400), moved);
    discovery.handle_answer(B);
    assert_eq!(beacon(&mut discovery, ADDRESS, A, 500), []);
}

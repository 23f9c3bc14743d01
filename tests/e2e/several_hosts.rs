//! Nodes on several hosts, in network namespaces: addresses that the tower determines, links that are cut, lossy or
//! slow, and hosts that vanish. Where namespaces are not allowed, each test prints the reason and is skipped.

use crate::e2e::{
    Family, Flow, Hosts, Link, Program, announced, assert_contents, assert_each_partition,
    assert_each_replayed, lines, wait_until,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The time until records flow after a link works again, on a machine that may be busy. TCP alone, with its exponential
/// backoff, may need as long as the link was cut. TCP may need a quarter of an hour to notice a dead peer.
const RECOVERY: Duration = Duration::from_secs(15);

/// The timeout of silent peers.
const TIMEOUT: Duration = Duration::from_millis(4_000);

/// The hosts at which a tower has announced nodes.
fn announced_hosts(tower: &Program) -> BTreeSet<String> {
    let endpoints = announced(tower).into_values().flatten();
    endpoints.map(|endpoint| endpoint.rsplit_once(':').expect("a port").0.to_owned()).collect()
}

/// Waits until a tower has announced this number of nodes.
#[track_caller]
fn wait_until_announced(tower: &Program, count: usize) {
    wait_until("the tower announces all nodes", || announced(tower).len() >= count);
}

/// Checks that a consumer which starts now on this host receives these records.
#[track_caller]
fn assert_served(hosts: &Hosts, host: usize, topic: &str, expected: &[&[Vec<u8>]]) {
    assert_each_replayed(hosts.consumer(host, topic), topic, expected);
}

/// Starts a flow, and waits for its first records.
fn flow(topic: &str, producer: Program, consumer: Program) -> Flow {
    let mut flow = Flow::new(topic, producer, consumer);
    flow.publish(1_000);
    flow.arrive("before any fault");
    flow
}

#[test]
fn a_short_cut_loses_nothing() {
    let Some((hosts, [_tower, _store], mut flow)) = three_hosts("short") else { return };
    // Each cut is shorter than all timeouts: TCP repeats the lost segments.
    for _ in 0..3 {
        hosts.network.isolate(2);
        flow.publish(1_000);
        std::thread::sleep(Duration::from_millis(700));
        hosts.network.join(2);
        flow.arrive_within("after a short cut", RECOVERY);
    }
    let published = flow.finish_within(RECOVERY);
    assert_served(&hosts, 2, "short", &[&published]);
}

/// Cuts a host off until the nodes on other hosts have disconnected from its nodes. Then connects the host again.
fn cut_off(isolated: usize, topic: &str) {
    let Some((hosts, [_tower, _store], mut flow)) = three_hosts(topic) else { return };
    hosts.network.isolate(isolated);
    flow.publish(1_000);
    let (here, there) = match isolated {
        1 => (&mut flow.producer, &mut flow.consumer),
        _ => (&mut flow.consumer, &mut flow.producer),
    };
    // The nodes that have a tower disconnect from the nodes of the isolated host. The nodes without a tower log that no
    // tower is left.
    here.wait_for_log(&format!("DISCONNECT tcp://{}:", hosts.network.address(isolated)));
    there.wait_for_log("no tower is left");
    assert!(!there.log().contains("DISCONNECT"), "{}", there.log());
    flow.publish(1_000);
    hosts.network.join(isolated);
    flow.arrive_within("after a long cut", RECOVERY);
    flow.publish(1_000);
    flow.arrive_within("live again", RECOVERY);
    let published = flow.finish_within(RECOVERY);
    assert_served(&hosts, 2, topic, &[&published]);
}

#[test]
fn a_producer_continues_after_it_was_cut_off() {
    cut_off(2, "producer");
}

#[test]
fn a_store_and_a_consumer_continue_after_they_were_cut_off() {
    cut_off(1, "store");
}

/// A producer that needs two stores waits while one of them is cut off. Then this store copies the missing records.
/// When the other store ends, this store has all records.
#[test]
fn a_producer_waits_for_a_store_that_is_cut_off_and_the_store_catches_up() {
    let Some(mut hosts) = Hosts::new(Family::V4, &[1, 2, 3, 4], &[0]) else { return };
    hosts.set("producer/min_stores", "2");
    let _tower = hosts.tower(0);
    let (_back, near) = (hosts.store(1, "far"), hosts.store(2, "near"));
    let mut flow = flow("both", hosts.producer(3, "both"), hosts.consumer(3, "both"));
    let far = format!("CONNECT tcp://{}:", hosts.network.address(1));
    flow.producer.wait_for_log(&far);
    hosts.network.isolate(1);
    flow.publish(1_000);
    flow.producer.wait_for_log(&format!("DIS{far}"));
    flow.publish(1_000);
    flow.arrive_within("while a store is cut off", RECOVERY);
    // One store has all records, which is not enough.
    assert_served(&hosts, 0, "both", &[&flow.published]);
    flow.producer.close_input();
    flow.producer.expect_silence(Duration::from_secs(1), "it waits for the other store");
    hosts.network.join(1);
    let published = flow.finish_within(RECOVERY);
    near.kill();
    assert_served(&hosts, 0, "both", &[&published]);
}

/// After a cut of a minute, TCP alone would need up to another minute.
#[test]
#[ignore = "takes more than a minute"]
fn a_host_that_was_cut_off_for_a_minute_is_back_within_seconds() {
    let Some((hosts, [_tower, _store], mut flow)) = three_hosts("minute") else { return };
    hosts.network.isolate(1);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(70) {
        flow.publish(100);
        std::thread::sleep(Duration::from_millis(500));
    }
    hosts.network.join(1);
    flow.arrive_within("after a minute", RECOVERY);
    let published = flow.finish_within(RECOVERY);
    assert_served(&hosts, 2, "minute", &[&published]);
}

#[test]
fn nodes_stay_connected_when_the_towers_host_is_cut_off() {
    let Some((hosts, [_tower, store], mut flow)) = three_hosts("towerless") else { return };
    hosts.network.isolate(0);
    // Wait for twice the timeout: without beacons from a tower, no node disconnects.
    let start = Instant::now();
    while start.elapsed() < TIMEOUT * 2 {
        flow.publish(100);
        flow.arrive_within("without the tower", crate::e2e::PROMPT);
        std::thread::sleep(Duration::from_millis(200));
    }
    for node in [&store, &flow.producer, &flow.consumer] {
        assert!(!node.log().contains("DISCONNECT"), "{}", node.log());
    }
    hosts.network.join(0);
    // A node that starts now finds the others, and the others find this node.
    let start = Instant::now();
    let mut late = hosts.consumer(0, "towerless");
    let printed = late.lines(flow.published.len(), "a late consumer");
    assert!(start.elapsed() < RECOVERY, "{:?}", start.elapsed());
    assert_contents("towerless", &printed, &flow.published);
    flow.finish_within(RECOVERY);
}

#[test]
fn one_direction_alone_is_cut() {
    let Some((hosts, [_tower, _store], mut flow)) = three_hosts("oneway") else { return };
    // Both nodes receive beacons and are announced, so no beacon shows the cut.
    for (from, to) in [(1, 2), (2, 1)] {
        hosts.network.set(from, to, Link { is_cut: true, ..Link::default() });
        flow.publish(1_000);
        // This is longer than the nodes need to notice the cut.
        std::thread::sleep(TIMEOUT * 2);
        flow.publish(1_000);
        hosts.network.set(from, to, Link::default());
        flow.arrive_within("both directions again", RECOVERY);
    }
    let published = flow.finish_within(RECOVERY);
    assert_served(&hosts, 2, "oneway", &[&published]);
}

#[test]
fn loss_and_delay_in_one_direction() {
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3], &[0]) else { return };
    let lossy = Link { loss_per_mille: 50, delay: Duration::from_millis(20), ..Link::default() };
    // One direction of each of two links.
    hosts.network.set(2, 1, lossy);
    hosts.network.set(1, 0, lossy);
    let _tower = hosts.tower(0);
    let _store = hosts.store(1, "store");
    let mut flow = flow("lossy", hosts.producer(2, "lossy"), hosts.consumer(1, "lossy"));
    for _ in 0..5 {
        flow.publish(2_000);
        flow.arrive_within("over a lossy link", RECOVERY);
    }
    let published = flow.finish_within(RECOVERY);
    assert_served(&hosts, 2, "lossy", &[&published]);
}

#[test]
fn a_new_host_takes_the_address_of_one_that_vanished() {
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3, 3], &[0]) else { return };
    for host in [2, 3] {
        hosts.network.sysctl(host, "net/ipv4/ip_local_port_range", "40000 40099");
    }
    let tower = hosts.tower(0);
    let _store = hosts.store(1, "store");
    let mut consumer = hosts.consumer(1, "again");
    let first = lines("first", 500);
    let old = hosts.producer(2, "again");
    old.feed(&first);
    let mut printed = consumer.lines(first.len(), "the old host's records");
    let endpoints: BTreeSet<_> = announced(&tower).into_values().flatten().collect();
    let endpoint = endpoints.iter().find(|endpoint| endpoint.contains("10.231.0.3:")).expect("the old one");
    // The new host's producer must get the endpoint of the old producer, to which peers are connected. So all other odd
    // ports are reserved. The kernel prefers odd ports for listening sockets, and even ports for connections.
    let others = (40_001..40_100).step_by(2).map(|port| port.to_string());
    let others: Vec<_> = others.filter(|port| !endpoint.ends_with(port.as_str())).collect();
    hosts.network.sysctl(3, "net/ipv4/ip_local_reserved_ports", &others.join(","));
    // The host vanishes as if its cable was pulled: no peer receives a FIN or RST.
    hosts.network.isolate(2);
    hosts.network.set_down(2);
    old.kill();
    for other in 0..2 {
        for (from, to) in [(3, other), (other, 3)] {
            hosts.network.set(from, to, Link::default());
        }
    }
    let start = Instant::now();
    let second = lines("second", 500);
    let mut new = hosts.producer(3, "again");
    new.feed(&second);
    printed.extend(consumer.lines(second.len(), "the new host's records"));
    println!("the new host's records after {} ms", start.elapsed().as_millis());
    assert!(start.elapsed() < RECOVERY, "{:?}", start.elapsed());
    assert_each_partition("again", &printed, &[&first, &second]);
    new.close_input();
    new.expect_success_within("the store acknowledges", RECOVERY);
    let all: Vec<_> = announced(&tower).into_values().flatten().collect();
    let of_both = all.iter().filter(|announced| *announced == endpoint).count();
    assert_eq!(of_both, 2, "the same endpoint: {all:?}");
    // The store may or may not have the old producer's records. It has acknowledged the new producer's records.
    let mut late = hosts.consumer(0, "again");
    let mut served = Vec::new();
    while served.len() < second.len() {
        let line = late.line("what the store has");
        if line.windows(6).any(|octets| octets == b"second") {
            served.push(line);
        }
    }
    assert_contents("again", &served, &second);
}

#[test]
fn one_of_two_towers_is_cut_off() {
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3, 4], &[0, 1]) else { return };
    let first = hosts.tower(0);
    let second = hosts.tower(1);
    let _store = hosts.store(2, "store");
    let mut flow = flow("two", hosts.producer(3, "two"), hosts.consumer(2, "two"));
    for tower in [&first, &second] {
        wait_until_announced(tower, 4);
    }
    hosts.network.isolate(0);
    let start = Instant::now();
    while start.elapsed() < TIMEOUT + Duration::from_secs(1) {
        flow.publish(100);
        flow.arrive_within("with one tower", crate::e2e::PROMPT);
        std::thread::sleep(Duration::from_millis(200));
    }
    // The other tower is enough, for present nodes and for new ones.
    assert_served(&hosts, 3, "two", &[&flow.published]);
    assert!(!flow.producer.log().contains("no tower is left"), "{}", flow.producer.log());
    // When the first tower is connected again, it alone is enough.
    hosts.network.join(0);
    wait_until_announced(&first, 4);
    let known = first.log().len();
    hosts.network.isolate(1);
    let mut late = hosts.consumer(3, "two");
    late.expect_records("two", &flow.published, "by the first tower");
    assert!(first.log().len() > known);
    flow.finish_within(RECOVERY);
}

/// Checks that consumers receive partitions from several hosts, and that the tower announces each node at the address
/// of its host.
fn assert_announced_at(hosts: Hosts, endpoints: &[String]) {
    // The tower and a producer on the first host, a store and a consumer on the second, a producer on the third.
    let tower = hosts.tower(0);
    let _store = hosts.store(1, "store");
    let mut consumer = hosts.consumer(1, "found");
    let (near, far) = (lines("near", 300), lines("far", 300));
    let producers = [hosts.producer(0, "found"), hosts.producer(2, "found")];
    producers[0].feed(&near);
    producers[1].feed(&far);
    let expected: [&[Vec<u8>]; 2] = [&near, &far];
    assert_each_partition("found", &consumer.lines(600, "both partitions"), &expected);
    for producer in producers {
        producer.finish("the end of its input");
    }
    // The two nodes of the store, the consumer and the producers.
    let announced = announced(&tower);
    assert_eq!(announced.len(), 5, "{announced:?}");
    assert!(announced.values().all(|endpoints| endpoints.len() == 1), "{announced:?}");
    assert_eq!(announced_hosts(&tower), endpoints.iter().cloned().collect());
    for host in 0..3 {
        assert_served(&hosts, host, "found", &expected);
    }
}

/// A tower on the first host, a store and a consumer on the second, and a producer on the third.
fn three_hosts(topic: &str) -> Option<(Hosts, [Program; 2], Flow)> {
    let hosts = Hosts::new(Family::V4, &[1, 2, 3], &[0])?;
    let programs = [hosts.tower(0), hosts.store(1, "store")];
    let flow = flow(topic, hosts.producer(2, topic), hosts.consumer(1, topic));
    Some((hosts, programs, flow))
}

/// Nodes on the tower's host are not announced at 127.0.0.1.
#[test]
fn the_tower_finds_out_where_nodes_are() {
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3], &[0]) else { return };
    let expected = [0, 1, 2].map(|host| format!("tcp://{}", hosts.network.address(host)));
    assert_announced_at(hosts, &expected);
}

#[test]
fn hosts_that_speak_ipv6_only() {
    let Some(hosts) = Hosts::new(Family::V6, &[1, 2, 3], &[0]) else { return };
    let expected = [0, 1, 2].map(|host| format!("tcp://{}", hosts.network.address_v6(host)));
    assert_announced_at(hosts, &expected);
}

#[test]
fn hosts_with_link_local_addresses() {
    let Some(hosts) = Hosts::new(Family::V6, &[1, 2, 3], &[0]) else { return };
    // The tower announces nodes of its own host at the address of its first interface, and other nodes at the source
    // address of their connection to the tower.
    let own = format!("tcp://{}", hosts.network.address_v6(0));
    let expected = [own, "tcp://[fe80::2%eth0]".into(), "tcp://[fe80::3%eth0]".into()];
    assert_announced_at(hosts.link_local(), &expected);
}

//! Nodes on several hosts, in network namespaces: addresses that the tower finds out, links that are cut, lossy or slow,
//! hosts that vanish. Where namespaces are not allowed, each test says so and is skipped.

use crate::e2e::{
    Family, Hosts, Link, Program, announced, assert_contents, assert_each_partition, lines, varied_lines,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How soon all goes on after a link has healed, on a machine that may be busy. TCP by itself, which doubles the time
/// between its attempts, takes up to as long as the cut was, and may take a quarter of an hour to notice a dead peer.
const RECOVERY: Duration = Duration::from_secs(15);

/// How long a node of these tests may be silent.
const TIMEOUT: Duration = Duration::from_millis(4_000);

/// The hosts at which a tower has announced nodes.
fn announced_hosts(tower: &Program) -> BTreeSet<String> {
    let endpoints = announced(tower).into_values().flatten();
    endpoints.map(|endpoint| endpoint.rsplit_once(':').expect("a port").0.to_owned()).collect()
}

/// Waits until a tower has announced so many nodes.
#[track_caller]
fn wait_until_announced(tower: &Program, count: usize) {
    let start = Instant::now();
    while announced(tower).len() < count {
        assert!(start.elapsed() < crate::e2e::DEADLINE, "announced: {:?}", announced(tower));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All of these lines, once more from a consumer that comes now.
#[track_caller]
fn assert_served(hosts: &Hosts, host: usize, topic: &str, expected: &[&[Vec<u8>]]) {
    let mut consumer = hosts.consumer(host, topic);
    let count = expected.iter().map(|lines| lines.len()).sum();
    assert_each_partition(topic, &consumer.lines(count, "what the store has"), expected);
    consumer.expect_no_more();
}

/// Feeds a producer and reads its consumer: everything, in order, exactly once, and soon.
struct Stream {
    producer: Program,
    consumer: Program,
    published: Vec<Vec<u8>>,
    printed: Vec<Vec<u8>>,
}

impl Stream {
    fn new(producer: Program, consumer: Program) -> Stream {
        Stream { producer, consumer, published: Vec::new(), printed: Vec::new() }
    }

    fn feed(&mut self, count: usize) {
        let all = lines("record", self.published.len() + count);
        let new = &all[self.published.len()..];
        self.producer.feed(new);
        self.published.extend_from_slice(new);
    }

    /// Waits until the consumer has all.
    #[track_caller]
    fn expect_all(&mut self, what: &str, deadline: Duration) {
        let start = Instant::now();
        let missing = self.published.len() - self.printed.len();
        self.printed.extend(self.consumer.lines(missing, what));
        let elapsed = start.elapsed();
        if elapsed > Duration::from_millis(500) {
            println!("{what}: {missing} records after {} ms", elapsed.as_millis());
        }
        assert!(elapsed < deadline, "{what}: {elapsed:?}");
    }

    /// And that a store has all too.
    #[track_caller]
    fn end(mut self, topic: &str) -> Vec<Vec<u8>> {
        self.producer.close_input();
        self.producer.expect_success_within("the end of its input", RECOVERY);
        assert_contents(topic, &self.printed, &self.published);
        self.consumer.expect_no_more();
        self.published
    }
}

#[test]
fn the_tower_finds_out_where_nodes_are() {
    // The tower and one producer on one host, store and consumer on another, a producer on a third.
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3], &[0]) else { return };
    let tower = hosts.tower(0);
    let _store = hosts.store(1, "store");
    let mut consumer = hosts.consumer(1, "found");
    let near = varied_lines("near", 300, 500);
    let far = varied_lines("far", 300, 500);
    let producers = [hosts.producer(0, "found"), hosts.producer(2, "found")];
    producers[0].feed(&near);
    producers[1].feed(&far);
    let expected: [&[Vec<u8>]; 2] = [&near, &far];
    assert_each_partition("found", &consumer.lines(600, "both partitions"), &expected);
    for mut producer in producers {
        producer.close_input();
        producer.expect_success("the end of its input");
    }
    // The store's two nodes, the consumer, the producers: each at its own host, and the tower's own host is not 127.0.0.1
    // to the others.
    let announced = announced(&tower);
    assert_eq!(announced.len(), 5, "{announced:?}");
    assert!(announced.values().all(|endpoints| endpoints.len() == 1), "{announced:?}");
    let expected_hosts = [0, 1, 2].map(|host| format!("tcp://{}", hosts.network.address(host)));
    assert_eq!(announced_hosts(&tower), BTreeSet::from(expected_hosts));
    for host in 0..3 {
        assert_served(&hosts, host, "found", &expected);
    }
}

#[test]
fn a_short_cut_loses_nothing() {
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3], &[0]) else { return };
    let _tower = hosts.tower(0);
    let _store = hosts.store(1, "store");
    let mut stream = Stream::new(hosts.producer(2, "short"), hosts.consumer(1, "short"));
    stream.feed(1_000);
    stream.expect_all("before the cut", crate::e2e::DEADLINE);
    // Shorter than anybody's patience: TCP sends again what was lost.
    for _ in 0..3 {
        hosts.network.isolate(2);
        stream.feed(1_000);
        std::thread::sleep(Duration::from_millis(700));
        hosts.network.join(2);
        stream.expect_all("after a short cut", RECOVERY);
    }
    let published = stream.end("short");
    assert_served(&hosts, 2, "short", &[&published]);
}

/// Cuts a host off until the others have dropped its nodes, and heals.
fn cut_off(isolated: usize, topic: &str) {
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3], &[0]) else { return };
    let _tower = hosts.tower(0);
    let _store = hosts.store(1, "store");
    let mut stream = Stream::new(hosts.producer(2, topic), hosts.consumer(1, topic));
    stream.feed(1_000);
    stream.expect_all("before the cut", crate::e2e::DEADLINE);
    hosts.network.isolate(isolated);
    stream.feed(1_000);
    let (here, there) = match isolated {
        1 => (&mut stream.producer, &mut stream.consumer),
        _ => (&mut stream.consumer, &mut stream.producer),
    };
    // Who still hears the tower has dropped who does not; who does not, has noticed.
    here.wait_for_log(&format!("DISCONNECT tcp://{}:", hosts.network.address(isolated)));
    there.wait_for_log("no tower is left");
    assert!(!there.log().contains("DISCONNECT"), "{}", there.log());
    stream.feed(1_000);
    hosts.network.join(isolated);
    stream.expect_all("after a long cut", RECOVERY);
    stream.feed(1_000);
    stream.expect_all("live again", RECOVERY);
    let published = stream.end(topic);
    assert_served(&hosts, 2, topic, &[&published]);
}

#[test]
fn a_producer_that_was_cut_off_goes_on() {
    cut_off(2, "producer");
}

#[test]
fn a_store_and_a_consumer_that_were_cut_off_go_on() {
    cut_off(1, "store");
}

/// What two stores must have is not acknowledged while one of them is cut off; when it is back it gets what it missed,
/// and has all of it when the other one is gone.
#[test]
fn a_store_that_was_cut_off_is_waited_for_and_gets_what_it_missed() {
    let Some(mut hosts) = Hosts::new(Family::V4, &[1, 2, 3, 4], &[0]) else { return };
    hosts.set("producer/min_stores", "2");
    let _tower = hosts.tower(0);
    let (_back, near) = (hosts.store(1, "far"), hosts.store(2, "near"));
    let mut stream = Stream::new(hosts.producer(3, "both"), hosts.consumer(3, "both"));
    stream.feed(1_000);
    stream.expect_all("before the cut", crate::e2e::DEADLINE);
    let far = format!("CONNECT tcp://{}:", hosts.network.address(1));
    stream.producer.wait_for_log(&far);
    hosts.network.isolate(1);
    stream.feed(1_000);
    stream.producer.wait_for_log(&format!("DIS{far}"));
    stream.feed(1_000);
    stream.expect_all("while a store is cut off", RECOVERY);
    // One store has all: that is not enough.
    assert_served(&hosts, 0, "both", &[&stream.published]);
    stream.producer.close_input();
    stream.producer.expect_silence(Duration::from_secs(1), "it waits for the other store");
    hosts.network.join(1);
    let published = stream.end("both");
    near.kill();
    assert_served(&hosts, 0, "both", &[&published]);
}

/// TCP by itself would need up to another minute.
#[test]
#[ignore = "takes more than a minute"]
fn a_host_that_was_cut_off_for_a_minute_is_back_within_seconds() {
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3], &[0]) else { return };
    let _tower = hosts.tower(0);
    let _store = hosts.store(1, "store");
    let mut stream = Stream::new(hosts.producer(2, "minute"), hosts.consumer(1, "minute"));
    stream.feed(1_000);
    stream.expect_all("before the cut", crate::e2e::DEADLINE);
    hosts.network.isolate(1);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(70) {
        stream.feed(100);
        std::thread::sleep(Duration::from_millis(500));
    }
    hosts.network.join(1);
    stream.expect_all("after a minute", RECOVERY);
    let published = stream.end("minute");
    assert_served(&hosts, 2, "minute", &[&published]);
}

#[test]
fn nodes_do_not_part_when_the_towers_host_is_cut_off() {
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3], &[0]) else { return };
    let _tower = hosts.tower(0);
    let store = hosts.store(1, "store");
    let mut stream = Stream::new(hosts.producer(2, "towerless"), hosts.consumer(1, "towerless"));
    stream.feed(1_000);
    stream.expect_all("before the cut", crate::e2e::DEADLINE);
    hosts.network.isolate(0);
    // For twice as long as a peer may be silent: nobody drops anybody, since nobody is heard of.
    let start = Instant::now();
    while start.elapsed() < TIMEOUT * 2 {
        stream.feed(100);
        stream.expect_all("without the tower", crate::e2e::PROMPT);
        std::thread::sleep(Duration::from_millis(200));
    }
    for node in [&store, &stream.producer, &stream.consumer] {
        assert!(!node.log().contains("DISCONNECT"), "{}", node.log());
    }
    hosts.network.join(0);
    // A node that comes now is found by the others, and finds them.
    let start = Instant::now();
    let mut late = hosts.consumer(0, "towerless");
    let printed = late.lines(stream.published.len(), "a late consumer");
    assert!(start.elapsed() < RECOVERY, "{:?}", start.elapsed());
    assert_contents("towerless", &printed, &stream.published);
    stream.end("towerless");
}

#[test]
fn one_direction_alone_is_cut() {
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3], &[0]) else { return };
    let _tower = hosts.tower(0);
    let _store = hosts.store(1, "store");
    let mut stream = Stream::new(hosts.producer(2, "oneway"), hosts.consumer(1, "oneway"));
    stream.feed(1_000);
    stream.expect_all("before the cut", crate::e2e::DEADLINE);
    // Both hear the tower, and are announced: no beacon tells of this.
    for (from, to) in [(1, 2), (2, 1)] {
        hosts.network.set(from, to, Link { is_cut: true, ..Link::default() });
        stream.feed(1_000);
        // Longer than it takes to notice.
        std::thread::sleep(TIMEOUT * 2);
        stream.feed(1_000);
        hosts.network.set(from, to, Link::default());
        stream.expect_all("both directions again", RECOVERY);
    }
    let published = stream.end("oneway");
    assert_served(&hosts, 2, "oneway", &[&published]);
}

#[test]
fn loss_and_delay_in_one_direction() {
    let Some(hosts) = Hosts::new(Family::V4, &[1, 2, 3], &[0]) else { return };
    let lossy = Link { loss_per_mille: 50, delay: Duration::from_millis(20), ..Link::default() };
    // From the producer to the store and its acknowledgements back: one direction each.
    hosts.network.set(2, 1, lossy);
    hosts.network.set(1, 0, lossy);
    let _tower = hosts.tower(0);
    let _store = hosts.store(1, "store");
    let mut stream = Stream::new(hosts.producer(2, "lossy"), hosts.consumer(1, "lossy"));
    for _ in 0..5 {
        stream.feed(2_000);
        stream.expect_all("over a lossy link", RECOVERY);
    }
    let published = stream.end("lossy");
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
    // The new host's producer will be at the old one's endpoint, which its peers are connected to: a listening socket
    // gets an odd port if there is one, a connection an even one.
    let others = (40_001..40_100).step_by(2).map(|port| port.to_string());
    let others: Vec<_> = others.filter(|port| !endpoint.ends_with(port.as_str())).collect();
    hosts.network.sysctl(3, "net/ipv4/ip_local_reserved_ports", &others.join(","));
    // The wire is pulled: nobody hears a word of its end.
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
    // Whether the store had the old one's records before it vanished is not known. The new one's it has acknowledged.
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
    let mut stream = Stream::new(hosts.producer(3, "two"), hosts.consumer(2, "two"));
    stream.feed(1_000);
    stream.expect_all("with both towers", crate::e2e::DEADLINE);
    for tower in [&first, &second] {
        wait_until_announced(tower, 4);
    }
    hosts.network.isolate(0);
    let start = Instant::now();
    while start.elapsed() < TIMEOUT + Duration::from_secs(1) {
        stream.feed(100);
        stream.expect_all("with one tower", crate::e2e::PROMPT);
        std::thread::sleep(Duration::from_millis(200));
    }
    // The other tower is enough for nodes that come now, and for those that are there.
    assert_served(&hosts, 3, "two", &[&stream.published]);
    assert!(!stream.producer.log().contains("no tower is left"), "{}", stream.producer.log());
    // The first one alone is enough again when it is back.
    hosts.network.join(0);
    wait_until_announced(&first, 4);
    let known = first.log().len();
    hosts.network.isolate(1);
    let mut late = hosts.consumer(3, "two");
    assert_contents("two", &late.lines(stream.published.len(), "by the first tower"), &stream.published);
    assert!(first.log().len() > known);
    stream.end("two");
}

/// Everything by IPv6 alone.
fn by_ipv6(hosts: Hosts, announced_at: &[String]) {
    let tower = hosts.tower(0);
    let _store = hosts.store(1, "store");
    let mut consumer = hosts.consumer(1, "six");
    let near = lines("near", 300);
    let far = lines("far", 300);
    let producers = [hosts.producer(0, "six"), hosts.producer(2, "six")];
    producers[0].feed(&near);
    producers[1].feed(&far);
    let expected: [&[Vec<u8>]; 2] = [&near, &far];
    assert_each_partition("six", &consumer.lines(600, "both partitions"), &expected);
    for mut producer in producers {
        producer.close_input();
        producer.expect_success("the end of its input");
    }
    assert_eq!(announced_hosts(&tower), announced_at.iter().cloned().collect());
    assert_served(&hosts, 2, "six", &expected);
}

#[test]
fn hosts_that_speak_ipv6_only() {
    let Some(hosts) = Hosts::new(Family::V6, &[1, 2, 3], &[0]) else { return };
    let expected = [0, 1, 2].map(|host| format!("tcp://{}", hosts.network.address_v6(host)));
    by_ipv6(hosts, &expected);
}

#[test]
fn hosts_with_link_local_addresses() {
    let Some(hosts) = Hosts::new(Family::V6, &[1, 2, 3], &[0]) else { return };
    // The tower's own host by its first interface's address; the others by the one they came from.
    let own = format!("tcp://{}", hosts.network.address_v6(0));
    let expected = [own, "tcp://[fe80::2%eth0]".into(), "tcp://[fe80::3%eth0]".into()];
    by_ipv6(hosts.link_local(), &expected);
}

//! More inbound connections than a node or a tower has file descriptors.

use crate::e2e::{Cluster, Program, port_of, wait_until};
use crate::hostile::{Attacker, Honest, MIB, PROMPT, as_subscriber, shake_hands};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// The number of descriptors that each program may have open. Many systems have this limit.
const FILES: u64 = 1_024;
/// How much a process may grow. A connection takes about 30 kB.
const GROWTH: u64 = 100 * MIB;
fn connect(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
}

/// The processor time that a program has used so far.
fn processor_time(program: &Program) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.pid())).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: u64 = [11, 12].map(|i: usize| fields[i].parse::<u64>().expect("ticks")).iter().sum();
    Duration::from_millis(ticks * 10)
}

/// Attackers hold more connections than there are descriptors. Some send nothing, some only shake hands, some
/// subscribe. The nodes accept new peers, do not spin, log what they refuse, and end idle connections.
#[test]
fn nodes_work_with_more_connections_than_file_descriptors() {
    let mut cluster = Cluster::new();
    cluster.limit_files(FILES);
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let [store, producer] =
        [&attacker.reader.clone(), &attacker.producer.clone()].map(|node| attacker.port_of(node));
    let towers = [port_of(&cluster.pub_addresses()), port_of(&cluster.sub_addresses())];
    let mut held = Vec::new();
    for port in [store, producer, towers[0], towers[1]] {
        for i in 0..1_500 {
            let Ok(stream) = connect(port) else { continue };
            match i % 50 {
                0 => held.extend(shake_hands(stream, "SUB").ok().map(|raw| raw.0)),
                1 => held.extend(as_subscriber(stream, b"Mhello").ok().map(|raw| raw.0)),
                _ => held.push(stream),
            }
        }
        honest.round_trip();
    }
    let log_of = |program: &Program, key: &str| {
        let log = program.log();
        assert!(log.contains(key), "{log}");
    };
    log_of(&honest.store, "beacon/max_connections_per_host");
    log_of(&honest.tower, "tower/max_connections_per_host");
    // New nodes work, although the attackers connect again and again.
    let start = Instant::now();
    cluster.publish("another", &[b"new".to_vec()]);
    let mut newcomer = cluster.consumer("another");
    assert!(newcomer.line("a record of another topic").ends_with(b" new"));
    assert!(start.elapsed() < PROMPT, "newcomers were served after {:?}", start.elapsed());
    for program in [&honest.tower, &honest.store, &honest.producer] {
        assert!(program.open_files() < FILES as usize, "descriptors are kept in reserve");
    }
    // No program spins, and each ends its idle connections after 10 s.
    let before = [&honest.tower, &honest.store, &honest.producer].map(processor_time);
    let start = Instant::now();
    wait_until("idle connections end", || {
        [&honest.tower, &honest.store, &honest.producer].iter().all(|program| program.open_files() <= 250)
    });
    let elapsed = start.elapsed();
    for (program, before) in [&honest.tower, &honest.store, &honest.producer].iter().zip(before) {
        let used = processor_time(program) - before;
        assert!(used < elapsed.max(Duration::from_secs(2)) / 4, "{used:?} of {elapsed:?}");
    }
    log_of(&honest.store, "nothing was received for 10 s");
    honest.end(GROWTH);
}

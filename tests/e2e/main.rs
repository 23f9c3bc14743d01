//! The programs, end to end: as processes on loopback, and on several hosts.

#[path = "../common/e2e/mod.rs"]
mod e2e;
#[path = "../common/peer/mod.rs"]
mod peer;

mod back_pressure;
mod catch_up;
mod console;
mod console_starts;
mod divergence;
mod failures;
mod groups;
mod isolation;
mod latest;
mod limits;
mod named_producers;
mod octets;
mod options;
mod output;
mod positions;
mod programs;
mod replication;
mod several_hosts;
mod signals;
mod stalls;
mod streams;
mod tower_addresses;

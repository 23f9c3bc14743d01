//! Stores as processes: killed, cut off from power, on disks that are damaged, full or failing.

#[path = "../common/crash/mod.rs"]
mod crash;
#[path = "../common/e2e/mod.rs"]
mod e2e;
#[path = "../common/peer/mod.rs"]
mod peer;

mod damage;
mod disk;
mod faults;
mod growth;
mod kill;
mod outbox;
mod power;
mod start;

//! Hostile or faulty peers do not disturb the other nodes.

#[path = "../common/e2e/mod.rs"]
mod e2e;
#[path = "../common/hostile/mod.rs"]
mod hostile;
#[path = "../common/peer/mod.rs"]
mod peer;

mod connections;
mod crowds;
mod identities;
mod long_records;
mod messages;
mod names;
mod random_zmtp;
mod requests;
mod resets;
mod sockets;

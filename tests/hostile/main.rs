//! Peers that mean harm, or send what makes no sense: the honest nodes go on.

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

//! Our nodes with nodes of libdafka 0.1.0, which the tests play by hand.

#[path = "../common/e2e/mod.rs"]
mod e2e;
#[path = "../common/peer/mod.rs"]
mod peer;

mod consumer;
mod migration;
mod orders;
mod producer;
mod store;
mod tower;
mod twins;

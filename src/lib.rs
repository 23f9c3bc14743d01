//! Dafka: decentralized, distributed streaming on ZeroMQ.
pub mod storage;
pub mod wire;

//! Dafka: decentralized, distributed streaming on ZeroMQ.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`wire`] | messages and beacons as octets |
//! | [`protocol`] | what each role does, as pure state machines |
//! | [`storage`] | the partitioned record log on disk |
//! | [`net`] | sockets, frames, time |
//! | [`czmq`] | CZMQ: context, log, the C objects we are handed |
//! | [`zpl`] | configurations in ZPL |
//! | [`settings`] | the configuration keys and their meaning |
//! | [`text`] | bytes in messages |
//! | [`rate_limit`] | a rate with a burst |
//! | [`actor`] | one thread per node: state machine + sockets + log |
//! | [`capi`] | the C functions of `dafka.h` |
//! | [`program`] | what the command-line programs share |
//! | [`commands`] | their command lines |
//!
//! Arrows point down only: `capi` and `program` use `actor`, which uses `protocol`, `storage` and `net`, which
//! use `wire` and `czmq`. `wire`, `protocol` and `storage` know nothing of C, sockets or threads.

pub mod actor;
pub mod capi;
pub mod commands;
pub mod czmq;
pub mod net;
pub mod program;
pub mod protocol;
pub mod rate_limit;
pub mod settings;
pub mod storage;
pub mod text;
pub mod wire;
pub mod zpl;

//! Dafka: decentralized, distributed streaming on ZeroMQ.
//!
//! | module | contents |
//! | --- | --- |
//! | [`wire`] | messages and beacons as octets |
//! | [`protocol`] | the roles as pure state machines |
//! | [`storage`] | the record log on disk, in partitions |
//! | [`net`] | sockets, frames, time |
//! | [`czmq`] | CZMQ: context, log, objects of C programs |
//! | [`zpl`] | configurations in ZPL |
//! | [`settings`] | the configuration keys and their meaning |
//! | [`text`] | bytes in messages |
//! | [`partition_name`] | the name of a partition: topic and producer |
//! | [`committed`] | the committed position of a consumer |
//! | [`rate_limit`] | a rate with a burst |
//! | [`actor`] | one thread per node: state machine, sockets, log |
//! | [`capi`] | the C functions of `dafka.h` |
//! | [`program`] | shared code of the command-line programs |
//! | [`commands`] | the command lines of the programs |
//!
//! A layer uses only the layers below it: `capi` and `program` use `actor`, which uses `protocol`, `storage` and `net`,
//! which use `wire` and `czmq`. `wire`, `protocol` and `storage` do not use CZMQ, sockets or threads.

pub mod actor;
pub mod capi;
pub mod commands;
pub mod committed;
pub mod czmq;
pub mod net;
pub mod partition_name;
pub mod program;
pub mod protocol;
pub mod rate_limit;
pub mod settings;
pub mod slots;
pub mod storage;
pub mod text;
pub mod wire;
pub mod zpl;

//! The C functions of `dafka.h`. Each one checks its pointers, converts its arguments, calls the library once and
//! converts the result back. There is no protocol logic here, and no panic reaches the caller.
//!
//! Each C class has a file. `boundary` holds what the functions share. Only `object` transfers ownership of objects
//! between Rust and C. `records` makes the record pipe, and `zlist` owns lists of strings.

mod beacon;
mod boundary;
mod codec;
mod consumer;
mod consumer_msg;
mod object;
mod producer;
mod producer_msg;
mod proto;
mod proto_text;
mod publisher;
mod records;
mod selftest;
mod store;
mod subscriber;
mod tower;
mod zlist;

pub use beacon::*;
pub use consumer::*;
pub use consumer_msg::*;
pub use producer::*;
pub use producer_msg::*;
pub use proto::*;
pub use publisher::*;
pub use selftest::dafka_private_selftest;
pub use store::*;
pub use subscriber::*;
pub use tower::*;

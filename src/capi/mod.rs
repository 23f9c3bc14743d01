//! The C functions of `dafka.h`: pointers checked, arguments converted, one call into the library, the result
//! converted back. No logic here, and no panic leaves.
//!
//! One file per C class. `boundary` holds what they share, `object` is the only place where objects change
//! between Rust's and C's ownership, `records` makes the record pipe.

mod beacon;
mod boundary;
mod codec;
mod consumer;
mod consumer_msg;
mod object;
mod producer;
mod producer_msg;
mod proto;
mod publisher;
mod records;
mod selftest;
mod store;
mod subscriber;
mod tower;

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

//! The state machines of the roles, without sockets, clocks and disks.

use dafka::protocol::Sender;

/// The sender of a message from an unknown peer.
const UNKNOWN: &Sender = &|| None;

mod batch_subscribers;
mod claims;
mod group;
mod heads;
mod latency;
mod latest;
mod limits;
mod long_records;
mod named;
mod positions;
mod resumed;
mod rig;
mod roles;
#[path = "../common/run.rs"]
mod run;
mod runs;
mod seek;
mod stalls;
mod starts;
mod twins;

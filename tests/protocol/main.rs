//! The state machines of the roles, without sockets, clocks and disks.

mod claims;
mod heads;
mod latency;
mod limits;
mod long_records;
mod roles;
mod stalls;
mod twins;

//! The record log alone: no store process.

mod batches;
mod common;
mod damage;
mod faults;
mod format_1;
mod log;
mod model;
mod open;
mod outbox;
mod positions;

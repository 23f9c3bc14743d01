//! The record log alone: no store process.

mod common;
mod damage;
mod faults;
mod log;
mod model;
mod open;

//! A store: `replica` receives, orders and acknowledges records; `reader` answers requests from the log; `comparison`
//! detects that two stores hold different records at the same offset; `commits` handles positions of consumers.

pub mod commits;
pub mod comparison;
pub mod reader;
pub mod replica;

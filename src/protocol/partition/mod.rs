//! One partition: its records in order, the gaps to fetch, and the store to ask.
//!
//! `sequencer` puts the records in order. Early records wait in `reorder_buffer`. `fetch` plans the FETCH requests:
//! `sources` selects the store that each request is sent to, `backoff` delays requests that may end connections, and
//! `fetch_stall` detects that no peer has the next record. `search` finds the first record of a given time.

pub mod backoff;
pub mod fetch;
pub mod fetch_stall;
pub mod reorder_buffer;
pub mod search;
pub mod sequencer;
pub mod sources;

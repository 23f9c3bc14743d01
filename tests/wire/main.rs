//! The codec: golden frames, properties, and the corpus of the fuzz targets.

#[path = "../../fuzz/fuzz_targets/checks.rs"]
mod checks;

mod corpus;
mod golden;
mod properties;

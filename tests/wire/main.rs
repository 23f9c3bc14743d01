//! The codec: golden frames, batches, properties, and the corpus of the fuzz targets.

#[path = "../../fuzz/fuzz_targets/checks.rs"]
mod checks;

mod allocations;
mod batch;
mod batch_properties;
mod compression;
mod corpus;
mod golden;
mod properties;

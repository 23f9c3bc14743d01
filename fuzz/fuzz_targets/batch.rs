//! Fuzzes the check of batches.
#![no_main]

#[allow(dead_code, reason = "each target needs one of the checks")]
mod checks;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    checks::check_batch(octets);
});

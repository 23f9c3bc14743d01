//! Runs the checks of the fuzz targets on each file of their committed corpus. Files whose names start with `bad-` must
//! be refused, all others accepted.

use std::fs;
use std::path::Path;

fn run_corpus(target: &str, check: fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        // Shows the file when a check fails.
        println!("{}", path.display());
        let accepted = check(&fs::read(&path).unwrap());
        let bad = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("bad-"));
        assert_eq!(accepted, !bad, "{}", path.display());
        files += 1;
    }
    // Without files, the test would always pass.
    assert!(files >= 10, "only {files} files in {}", folder.display());
}

#[test]
fn messages() {
    run_corpus("message", crate::checks::check_message);
}

#[test]
fn beacons() {
    run_corpus("beacon", crate::checks::check_beacon);
}

#[test]
fn batches() {
    run_corpus("batch", crate::checks::check_batch);
}

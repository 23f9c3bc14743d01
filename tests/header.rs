//! The committed `include/dafka.h` is what cbindgen makes of src/capi today. `make header` writes it anew.

use std::path::{Path, PathBuf};

/// In the header's order.
const CLASSES: [&str; 10] = [
    "proto",
    "tower",
    "beacon",
    "store",
    "producer",
    "producer_msg",
    "consumer",
    "consumer_msg",
    "publisher",
    "subscriber",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate() -> String {
    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    for (name, value) in [
        ("@MAJOR@", env!("CARGO_PKG_VERSION_MAJOR")),
        ("@MINOR@", env!("CARGO_PKG_VERSION_MINOR")),
        ("@PATCH@", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        config.after_includes = config.after_includes.map(|text| text.replace(name, value));
    }
    let mut builder = cbindgen::Builder::new().with_config(config);
    for class in CLASSES {
        builder = builder.with_src(root().join(format!("src/capi/{class}.rs")));
    }
    let mut raw = Vec::new();
    builder.generate().expect("src/capi is understood").write(&mut raw);
    for_c(&String::from_utf8(raw).expect("UTF-8"))
}

/// What Rust needs and C does not: sections on safety, the underscore of names that Rust keeps to itself.
fn for_c(header: &str) -> String {
    let mut text = String::new();
    let mut is_in_safety = false;
    for line in header.lines() {
        let is_comment = line.trim_start().starts_with("//");
        is_in_safety = is_comment && (is_in_safety || line.trim() == "// # Safety");
        if is_in_safety {
            if text.ends_with("//\n") {
                text.truncate(text.len() - 3);
            }
            continue;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.replace("self_)", "self)")
        .replace("self_,", "self,")
        .replace("topic_)", "topic)")
        .replace("uint8_t", "byte")
}

#[test]
fn the_committed_header_is_up_to_date() {
    let path = root().join("include/dafka.h");
    let generated = generate();
    if std::env::var_os("DAFKA_UPDATE_HEADER").is_some() {
        std::fs::write(&path, &generated).expect("include/dafka.h is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(generated == committed, "include/dafka.h is stale: run `make header` and commit it");
}

#[test]
fn every_exported_function_is_declared_once() {
    let header = generate();
    for class in CLASSES {
        let source = std::fs::read_to_string(root().join(format!("src/capi/{class}.rs"))).unwrap();
        let names: Vec<_> = source
            .split("#[unsafe(no_mangle)]")
            .skip(1)
            .map(|rest| rest.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap())
            .collect();
        assert!(!names.is_empty(), "{class} exports nothing");
        for name in names {
            assert_eq!(header.matches(&format!("{name}(")).count(), 1, "{name} in the header");
        }
    }
    // A file that is not in the list above would be missing from the header.
    for entry in std::fs::read_dir(root().join("src/capi")).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let class = path.file_stem().and_then(|stem| stem.to_str()).unwrap().to_owned();
        let exports = std::fs::read_to_string(Path::new(&path)).unwrap().contains("#[unsafe(no_mangle)]");
        assert!(!exports || CLASSES.contains(&class.as_str()), "{class} is missing in CLASSES");
    }
}

//! The committed `include/dafka.h` is current and complete.

use std::path::{Path, PathBuf};
use xtask::header::header;
use xtask::reference::{CLASSES, Class, Function, Reference, Struct, plain};
use xtask::{Target, root, stale};

#[test]
fn the_committed_header_is_up_to_date() {
    let committed = Target::Header.read(&Target::Header.folder()).expect("the folder include");
    let stale = stale(&Target::Header.generate(), &committed);
    assert!(stale.is_empty(), "include/dafka.h is stale: run `make header` and commit it");
}

#[test]
fn every_exported_function_is_declared_once() {
    let header = header(&Reference::read());
    for class in CLASSES {
        let source = std::fs::read_to_string(root().join(format!("src/capi/{class}.rs"))).unwrap();
        let names: Vec<_> = source
            .split("#[unsafe(no_mangle)]")
            .skip(1)
            .map(|rest| rest.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap())
            .collect();
        assert!(!names.is_empty(), "{class} exports nothing");
        for name in names {
            let declarations =
                header.lines().filter(|line| line.starts_with(&format!("    {name} ("))).count();
            assert_eq!(declarations, 1, "{name} in the header");
        }
    }
    // The header would lack the functions of a file that is not in the list.
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

/// Missing parts of the documentation.
fn gaps(reference: &Reference) -> Vec<String> {
    let mut gaps = Vec::new();
    for class in &reference.classes {
        let Class { name, purpose, sections, example, structs, functions } = class;
        let mut note = |gap: &str| gaps.push(format!("{name}: {gap}"));
        let has_text = sections.first().is_some_and(|section| !section.blocks.is_empty());
        if purpose.is_empty() || !has_text {
            note("does not state its purpose");
        }
        if !example.contains("#include <dafka.h>") || !example.contains("int main (void)\n{") {
            note("has no example that is a whole program");
        }
        if !example.contains(&format!("{name}_")) {
            note("has an example of something else");
        }
        if functions.is_empty() {
            note("has no function");
        }
        for Struct { name, text, members } in structs {
            if text.is_empty() || members.iter().any(|member| member.text.is_empty()) {
                note(&format!("{name} is not documented"));
            }
        }
        for Function { name, result, text, .. } in functions {
            let text = plain(text);
            if text.is_empty() {
                note(&format!("{name} is not documented"));
            } else if result == "int" && !text.contains("-1") {
                note(&format!("{name} does not state when it returns -1"));
            } else if result.ends_with('*') && !text.contains("NULL") {
                note(&format!("{name} does not state when it returns NULL"));
            }
        }
    }
    gaps
}

#[test]
fn everything_is_documented() {
    assert_eq!(gaps(&Reference::read()), Vec::<String>::new());
}

/// Comment lines that break a C compiler, or that name terms of Rust.
fn flaws(header: &str) -> Vec<String> {
    const FOREIGN: [&str; 14] = [
        "Rust",
        "rust",
        "crate",
        "panic",
        "unsafe",
        "Safety",
        "Option",
        "Some(",
        "Vec<",
        "Box",
        "trait",
        "&mut",
        "&self",
        "extern fn",
    ];
    let comments = header.lines().filter(|line| line.trim_start().starts_with("//"));
    let is_flawed = |line: &&str| {
        // A backslash at the end of a line makes the next line a comment. `*/` would end a block comment into which
        // someone has put the header's text.
        line.ends_with(['\\', ' '])
            || line.contains("??/")
            || line.contains("*/")
            || FOREIGN.iter().any(|word| line.contains(word))
    };
    comments.filter(is_flawed).map(str::to_owned).collect()
}

#[test]
fn c_programmers_and_compilers_understand_the_comments() {
    assert_eq!(flaws(&header(&Reference::read())), Vec::<String>::new());
}

/// The source of a class.
const SAMPLE: &str = "\
//! Class `dafka_sample`: shows that the checks can fail.
//!
//! It is for nothing else.
//!
//! # Example
//!
//! ```c
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     return dafka_sample_run (NULL);
//! }
//! ```

/// A sample.
///
/// Returns 0, or -1 when `self` is NULL.
///
/// # Safety
/// `self` is unsafe.
#[unsafe(no_mangle)]
pub unsafe extern \"C\" fn dafka_sample_run(self_: *const u8) -> c_int {
    0
}

/// A copy, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern \"C\" fn dafka_sample_copy(self_: *const u8, a_rather_long_parameter: u64, another: u32) -> *mut u8 {
    0
}
";

/// The sample with `from` replaced by `to`.
fn sample(from: &str, to: &str) -> Reference {
    assert!(SAMPLE.contains(from), "{from}");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("sample.rs");
    std::fs::write(&file, SAMPLE.replacen(from, to, 1)).expect("a file");
    Reference::of("# Introduction\n\n@classes@\n", &[file])
}

#[test]
fn the_header_contains_the_whole_documentation() {
    let text = header(&sample("", ""));
    let expected = "
//  ============================================================================
//  dafka_sample: shows that the checks can fail
//  ============================================================================
//
//  It is for nothing else.
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          return dafka_sample_run (NULL);
//      }

//  A sample.
//
//  Returns 0, or -1 when `self` is NULL.
DAFKA_EXPORT int
    dafka_sample_run (const byte *self);

//  A copy, or NULL.
DAFKA_EXPORT byte *
    dafka_sample_copy (const byte *self, uint64_t a_rather_long_parameter, uint32_t another);
";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("//  INTRODUCTION\n//\n//    - `dafka_sample`: shows that the checks can fail\n"),
        "{text}"
    );
}

/// Every check above can fail.
#[test]
fn missing_documentation_is_detected() {
    let good = sample("", "");
    assert_eq!(gaps(&good), Vec::<String>::new());
    assert_eq!(flaws(&header(&good)), Vec::<String>::new());
    for (from, to, gap) in [
        (
            "/// A sample.\n///\n/// Returns 0, or -1 when `self` is NULL.\n",
            "",
            "dafka_sample_run is not documented",
        ),
        (
            "or -1 when `self` is NULL",
            "or something else",
            "dafka_sample_run does not state when it returns -1",
        ),
        ("/// A copy, or NULL.\n", "", "dafka_sample_copy is not documented"),
        ("or NULL.", "or nothing.", "dafka_sample_copy does not state when it returns NULL"),
        ("//! Class `dafka_sample`: shows", "//! Shows", "does not state its purpose"),
        ("//! It is for nothing else.\n", "", "does not state its purpose"),
        ("//! ```c", "//! no code", "has no example that is a whole program"),
        ("int main (void)", "static void s_part (void)", "has no example that is a whole program"),
        ("//! #include <dafka.h>", "//! #include <czmq.h>", "has no example that is a whole program"),
        ("return dafka_sample_run (NULL)", "return 0", "has an example of something else"),
    ] {
        let sample = sample(from, to);
        assert!(gaps(&sample).contains(&format!("dafka_sample: {gap}")), "{gap}: {:?}", gaps(&sample));
        // After any change, the committed header is stale.
        assert_ne!(header(&sample), header(&good), "{from}");
    }
    for (from, to) in [
        ("/// A sample.", "/// A sample of Rust."),
        ("/// A sample.", "/// A sample\\\n///"),
        ("for nothing else.", "for nothing else. Or is it? */"),
    ] {
        assert_eq!(flaws(&header(&sample(from, to))).len(), 1, "{to}");
    }
}

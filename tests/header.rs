//! The committed `include/dafka.h` is what src/capi says today, and says all of it. `make header` writes it anew.

mod documentation;

use documentation::{CLASSES, Class, Function, Reference, Struct, header, plain, root};
use std::path::{Path, PathBuf};

#[test]
fn the_committed_header_is_up_to_date() {
    let path = root().join("include/dafka.h");
    let made = header(&Reference::read());
    if std::env::var_os("DAFKA_UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).expect("include/dafka.h is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(made == committed, "include/dafka.h is stale: run `make header` and commit it");
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
    // A file that is not in the list would be missing from the header.
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

/// What a C programmer would miss.
fn gaps(reference: &Reference) -> Vec<String> {
    let mut gaps = Vec::new();
    for class in &reference.classes {
        let Class { name, purpose, sections, example, structs, functions } = class;
        let mut note = |gap: &str| gaps.push(format!("{name}: {gap}"));
        let has_text = sections.first().is_some_and(|section| !section.blocks.is_empty());
        if purpose.is_empty() || !has_text {
            note("does not say what it is for");
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
                note(&format!("{name} does not tell when it returns -1"));
            } else if result.ends_with('*') && !text.contains("NULL") {
                note(&format!("{name} does not tell when it returns NULL"));
            }
        }
    }
    gaps
}

#[test]
fn everything_is_documented() {
    assert_eq!(gaps(&Reference::read()), Vec::<String>::new());
}

/// Lines that a C compiler or a C programmer would stumble over.
fn flaws(header: &str) -> Vec<String> {
    // Words of the language behind it.
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
        // A backslash at the end makes the next line a comment too; and a comment may stand within another one.
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

/// A class as those in src/capi, in a file of its own.
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
fn a_header_is_made_of_all_that_is_said() {
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

/// Every test above is seen to fail.
#[test]
fn what_is_missing_is_noticed() {
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
            "dafka_sample_run does not tell when it returns -1",
        ),
        ("/// A copy, or NULL.\n", "", "dafka_sample_copy is not documented"),
        ("or NULL.", "or nothing.", "dafka_sample_copy does not tell when it returns NULL"),
        ("//! Class `dafka_sample`: shows", "//! Shows", "does not say what it is for"),
        ("//! It is for nothing else.\n", "", "does not say what it is for"),
        ("//! ```c", "//! no code", "has no example that is a whole program"),
        ("int main (void)", "static void s_part (void)", "has no example that is a whole program"),
        ("//! #include <dafka.h>", "//! #include <czmq.h>", "has no example that is a whole program"),
        ("return dafka_sample_run (NULL)", "return 0", "has an example of something else"),
    ] {
        let sample = sample(from, to);
        assert!(gaps(&sample).contains(&format!("dafka_sample: {gap}")), "{gap}: {:?}", gaps(&sample));
        // Whatever changes, the committed header is stale.
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

//! Rules for the source that the compiler does not check, such as the dependencies between layers.

use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The lines of code that contain one of `words`, without comments.
fn lines_with(text: &str, words: &[&str]) -> Vec<String> {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(code).filter(|line| words.iter().any(|word| line.contains(word))).collect()
}

/// Checks that no file below `folders` names one of `words`.
fn must_not_name(folders: &[&str], words: &[&str], why: &str) {
    for folder in folders {
        let files = files(&source().join(folder));
        assert!(!files.is_empty(), "src/{folder} is empty");
        for file in files {
            let lines = lines_with(&std::fs::read_to_string(&file).unwrap(), words);
            assert!(lines.is_empty(), "{}: {why}: {lines:?}", file.display());
        }
    }
}

/// The lines of code that name another part of `wire` than `wire::batch`.
fn beside_batches(text: &str) -> Vec<String> {
    lines_with(&text.replace("crate::wire::batch", ""), &["crate::wire"])
}

#[test]
fn layers_point_down() {
    let capi = ["crate::capi", "crate::program", "crate::commands"];
    must_not_name(
        &["wire", "protocol", "storage", "net", "czmq", "actor"],
        &capi,
        "capi, program and commands are above",
    );
    must_not_name(&["wire", "protocol", "storage", "net", "czmq"], &["crate::actor"], "actors are above");
    must_not_name(&["wire"], &["crate::protocol", "crate::storage"], "wire is at the bottom");
    must_not_name(&["storage"], &["crate::protocol"], "storage does not depend on the protocol");
    for file in files(&source().join("storage")) {
        let lines = beside_batches(&std::fs::read_to_string(&file).unwrap());
        assert!(lines.is_empty(), "{}: storage knows only batches of the wire: {lines:?}", file.display());
    }
    let outside = ["crate::net", "crate::czmq", "zmq::", "std::net", "std::thread", "extern \"C\""];
    must_not_name(
        &["wire", "protocol", "storage"],
        &outside,
        "no sockets, CZMQ, threads or own C functions here",
    );
    must_not_name(
        &["protocol"],
        &["Instant", "SystemTime", "crate::storage", "lmdb"],
        "no clock or database here",
    );
}

#[test]
fn unsafe_code_stays_at_the_edges() {
    must_not_name(&["wire", "protocol", "actor", "bin"], &["unsafe"], "no unsafe code here");
    must_not_name(
        &["wire", "protocol", "storage", "net", "czmq", "actor", "bin"],
        &["no_mangle"],
        "exports are capi's",
    );
}

/// These calls panic when standard output or standard error is closed or full. src/program/output.rs does not panic.
#[test]
fn nothing_prints_in_a_way_that_may_panic() {
    let words = ["println!", "print!", "dbg!", ".get_matches("];
    for file in files(&source()) {
        let lines = lines_with(&std::fs::read_to_string(&file).unwrap(), &words);
        assert!(lines.is_empty(), "{}: use program::print and complain: {lines:?}", file.display());
    }
    // The check can fail.
    assert_eq!(lines_with("eprintln!();\neprint!();\nprintln!();\nprint();\n", &words).len(), 3);
}

#[test]
fn ownership_changes_hands_in_one_file() {
    for file in files(&source()) {
        if !file.ends_with("capi/object.rs") {
            let text = std::fs::read_to_string(&file).unwrap();
            let lines = lines_with(&text, &["Box::from_raw", "Box::into_raw"]);
            assert!(lines.is_empty(), "{}: {lines:?}", file.display());
        }
    }
}

/// The exported functions of a file that call none of the functions that catch panics.
fn unguarded(text: &str) -> Vec<String> {
    // The actors of both producers call `run_actor` through the last of these.
    const GUARDS: [&str; 5] = ["entry(\"", "entry_void(\"", "run_actor(", "selftest::run(", "{ run(\"P"];
    let mut found = Vec::new();
    for rest in text.split("#[unsafe(no_mangle)]").skip(1) {
        let function = rest.split("\n}\n").next().unwrap_or_default();
        let name = function.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap_or_default();
        let is_guarded = GUARDS.iter().any(|guard| function.contains(guard));
        let names_itself = !function.contains("entry") || function.contains(&format!("(\"{name}\""));
        if !is_guarded || !names_itself {
            found.push(name.to_owned());
        }
    }
    found
}

#[test]
fn no_panic_leaves_an_exported_function() {
    let mut count = 0;
    for file in files(&source().join("capi")) {
        let text = std::fs::read_to_string(&file).unwrap();
        count += text.matches("#[unsafe(no_mangle)]").count();
        assert_eq!(unguarded(&text), Vec::<String>::new(), "{}", file.display());
    }
    let symbols = std::fs::read_to_string(source().join("capi/symbols.txt")).unwrap();
    assert_eq!(count, symbols.lines().count());

    // The check can fail.
    let bare = "#[unsafe(no_mangle)]\npub extern \"C\" fn dafka_bare() -> c_int {\n    0\n}\n";
    assert_eq!(unguarded(bare), ["dafka_bare"]);
    let misnamed =
        "#[unsafe(no_mangle)]\npub extern \"C\" fn dafka_x() {\n    entry(\"dafka_y\", (), f)\n}\n";
    assert_eq!(unguarded(misnamed), ["dafka_x"]);
}

/// The declarations of CZMQ functions in Rust are those that c-tests/czmq_declarations.c checks against czmq.h.
#[test]
fn every_czmq_declaration_is_checked_by_the_c_compiler() {
    let rust = std::fs::read_to_string(source().join("czmq/sys.rs")).unwrap();
    let declared: Vec<&str> = rust
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub fn "))
        .filter_map(|rest| rest.split('(').next())
        .collect();
    let c = std::fs::read_to_string(source().join("../c-tests/czmq_declarations.c")).unwrap();
    assert!(declared.len() > 20, "{declared:?}");
    for name in &declared {
        assert_eq!(c.matches(&format!("{name} (")).count(), 1, "{name} in c-tests/czmq_declarations.c");
    }
    assert_eq!(c.matches(");\n").count(), declared.len(), "declarations of functions that are not called");
}

/// Lines with a pipe into `grep -q`. grep ends at the first match, and then SIGPIPE may end the command before the
/// pipe. With pipefail, the match then counts as no match. So a check that something is there fails sometimes, and a
/// check that it is absent may miss it.
fn pipes_to_quiet_grep(script: &str) -> Vec<&str> {
    let is_quiet = |part: &str| {
        let mut words = part.split_whitespace();
        words.next() == Some("grep")
            && words.take_while(|word| word.starts_with('-')).any(|word| word.contains('q') || word == "-m1")
    };
    let code = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    code.filter(|line| line.split('|').skip(1).any(is_quiet)).collect()
}

#[test]
fn no_script_pipes_into_a_quiet_grep() {
    let mut count = 0;
    for folder in ["../scripts", "../c-tests/examples"] {
        for entry in std::fs::read_dir(source().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            if text.contains("pipefail") {
                count += 1;
                assert_eq!(pipes_to_quiet_grep(&text), Vec::<&str>::new(), "{}", path.display());
            }
        }
    }
    assert!(count >= 5, "{count} scripts");
    // The check can fail.
    let script = "a | grep -Eqx b\nif nm c | sort | grep -q d; then\na | grep e\ngrep -q f <<<\"$g\"\n";
    assert_eq!(pipes_to_quiet_grep(script).len(), 2);
}

/// The tests that a row of a table names: `file::name` in backticks.
fn named_tests(row: &str) -> Vec<(&str, &str)> {
    row.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect()
}

/// Whether a file's text has a test of that name. In Rust: a function under `#[test]`. In C: a case, or a function.
fn has_test(file: &str, text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let at = |start: String| lines.iter().position(|line| line.trim_start().starts_with(&start));
    match file.rsplit_once('.') {
        Some((_, "rs")) => at(format!("fn {name}(")).is_some_and(|at| {
            let mut above = lines[..at].iter().rev().map(|line| line.trim());
            above.by_ref().take_while(|line| line.starts_with("#[")).any(|line| line == "#[test]")
        }),
        Some((_, "c")) => {
            text.contains(&format!("test_case (\"{name}\""))
                || at(format!("{name} (")).is_some_and(|at| at > 0 && lines[at - 1] == "static void")
        }
        _ => false,
    }
}

/// The problems of a page of tables. Each row must end with the names of existing tests.
fn rows_without_tests(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        if tests == "test" || tests == "---" {
            continue;
        }
        if named_tests(tests).is_empty() {
            problems.push(format!("no test: {row}"));
        }
        for (file, name) in named_tests(row) {
            match read(file) {
                Some(text) if has_test(file, &text, name) => {}
                Some(_) => problems.push(format!("{file} has no test {name}")),
                None => problems.push(format!("there is no {file}, or it is not run")),
            }
        }
    }
    problems
}

#[test]
fn every_quirk_and_every_guarantee_has_tests_that_exist() {
    let root = source().join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    // ctest runs only the tests that are registered. cargo runs all tests.
    let registered = read("c-tests/CMakeLists.txt").unwrap();
    let read_if_run = |path: &str| match path
        .strip_prefix("c-tests/")
        .and_then(|name| name.strip_suffix(".c"))
    {
        Some(name) if !registered.split_whitespace().any(|word| word.trim_end_matches(')') == name) => None,
        _ => read(path),
    };
    for (page, min_rows) in [("doc/quirks.md", 30), ("doc/guarantees.md", 12)] {
        let page = read(page).unwrap();
        assert_eq!(rows_without_tests(&page, read_if_run), [""; 0]);
        assert!(
            page.lines().filter(|line| line.starts_with("| ")).count() > min_rows,
            "the tables are not found"
        );
    }

    // The checks can fail.
    let text = "#[test]\nfn real() {}\nfn helper() {}\n";
    let c = "static void\ns_test (void)\n{\n    test_case (\"a case\");\n    s_call (1);\n";
    let read = |path: &str| match path {
        "a.rs" => Some(text.to_owned()),
        "a.c" => Some(c.to_owned()),
        _ => None,
    };
    let page = "| quirk | test |\n| --- | --- |\n| fine | `a.rs::real`, `a.c::a case`, `a.c::s_test` |\n";
    assert_eq!(rows_without_tests(page, read), [""; 0]);
    for wrong in
        ["`a.rs::helper`", "`a.rs::rea`", "`a.c::a cas`", "`a.c::s_call`", "`b.rs::real`", "none", "`a.rs`"]
    {
        let page = format!("{page}| wrong | {wrong} |\n");
        assert_eq!(rows_without_tests(&page, read).len(), 1, "{wrong}");
    }
}

#[test]
fn these_checks_can_fail() {
    assert_eq!(lines_with("let x = unsafe { y };\n// unsafe\n", &["unsafe"]).len(), 1);
    let caught = std::panic::catch_unwind(|| must_not_name(&["capi"], &["unsafe"], "seen"));
    assert!(caught.is_err());
    let uses =
        "use crate::wire::batch::Batch;\nuse crate::wire::{batch, Message};\nuse crate::wire::Position;\n";
    assert_eq!(beside_batches(uses).len(), 2);
}

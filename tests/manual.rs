//! The committed pages in doc/man are what src/capi, src/commands.rs and doc say today. `make man` writes them anew.

mod documentation;
#[path = "documentation/man.rs"]
mod man;

use documentation::{Reference, header, root};
use std::collections::BTreeMap;
use std::path::Path;

fn pages() -> BTreeMap<String, String> {
    man::pages(&Reference::read(), &dafka::commands::all())
}

/// The pages in a folder.
fn committed(folder: &Path) -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a file").is_file() {
            let name = entry.file_name().into_string().expect("UTF-8");
            pages.insert(name, std::fs::read_to_string(entry.path()).expect("a page"));
        }
    }
    pages
}

/// The names of pages that are not the same in both.
fn differences(made: &BTreeMap<String, String>, committed: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<&String> = made.keys().chain(committed.keys()).collect();
    names.sort();
    names.dedup();
    names.into_iter().filter(|name| made.get(*name) != committed.get(*name)).cloned().collect()
}

#[test]
fn the_committed_pages_are_up_to_date() {
    let folder = root().join("doc/man");
    let made = pages();
    if std::env::var_os("DAFKA_UPDATE_MAN").is_some() {
        for name in committed(&folder).keys().filter(|name| !made.contains_key(*name)) {
            std::fs::remove_file(folder.join(name)).expect("doc/man is writable");
        }
        for (name, page) in &made {
            std::fs::write(folder.join(name), page).expect("doc/man is writable");
        }
    }
    let stale = differences(&made, &committed(&folder));
    assert!(stale.is_empty(), "stale: run `make man` and commit: {stale:?}");
}

#[test]
fn every_function_class_and_program_has_a_page() {
    let pages = pages();
    let functions =
        std::fs::read_to_string(root().join("src/capi/symbols.txt")).expect("the exported symbols");
    let classes = documentation::CLASSES.map(|class| format!("dafka_{class}"));
    // It belongs to no class.
    let functions = functions.lines().filter(|name| *name != "dafka_private_selftest");
    let names = functions.map(str::to_owned).chain(classes);
    for page in names.map(|name| format!("{name}.3")).chain(["dafka.7".into()]) {
        assert!(pages.contains_key(&page), "{page}");
    }
    for entry in std::fs::read_dir(root().join("src/bin")).expect("the programs") {
        let page = entry.expect("an entry").path().with_extension("1");
        let page = page.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        assert!(pages.contains_key(page), "{page}");
    }
    assert_eq!(pages.keys().filter(|name| name.ends_with(".1")).count(), dafka::commands::all().len());
}

/// The words of a text, without what only pages have: fonts, distances, the sections of other pages.
fn words(text: &str) -> String {
    let mut text = text.replace("\\e", "\\").replace("\\(aq", "'").replace("\\(ti", "~");
    for mark in ["\\%", "\\fB", "\\fI", "\\fR", "(1)", "(3)", "(7)", "\n.PP", "\n.TP", "\n.IP \\(bu 3"] {
        text = text.replace(mark, " ");
    }
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let words = text.split(|character| !is_part(character)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// Header and pages are made from the same source, each in its own way: what one of them left out would be seen here.
#[test]
fn header_and_pages_say_the_same() {
    let (reference, pages) = (Reference::read(), pages());
    let header = words(&header(&reference));
    for class in &reference.classes {
        let page = words(&pages[&format!("{}.3", class.name)]);
        let functions = class.functions.iter().map(|function| (&function.name, &function.text));
        let sections = class.sections.iter().map(|section| (&section.title, &section.blocks));
        for (name, text) in functions.chain(sections) {
            let said = words(&documentation::plain(text));
            assert!(said.len() > 5, "{}: {name}: {said}", class.name);
            assert!(header.contains(&said), "{}: {name} in the header: {said}", class.name);
            assert!(page.contains(&said), "{}: {name} in the page: {said}", class.name);
        }
        assert!(header.contains(&words(&class.example)) && page.contains(&words(&class.example)));
    }
}

#[test]
fn stale_and_superfluous_pages_are_noticed() {
    let made = pages();
    let dir = tempfile::tempdir().expect("a folder");
    for (name, page) in &made {
        std::fs::write(dir.path().join(name), page).expect("a file");
    }
    assert_eq!(differences(&made, &committed(dir.path())), Vec::<String>::new());
    std::fs::write(dir.path().join("dafka.7"), "other").expect("a file");
    std::fs::write(dir.path().join("dafka_nothing.3"), "superfluous").expect("a file");
    std::fs::remove_file(dir.path().join("dafka_tower.3")).expect("it is there");
    assert_eq!(differences(&made, &committed(dir.path())), ["dafka.7", "dafka_nothing.3", "dafka_tower.3"]);

    // Another comment, another option: another page.
    let mut reference = Reference::read();
    let function = &mut reference.classes[0].functions[0];
    function.text.push(documentation::markup::Block::Paragraph("More.".into()));
    let mut commands = dafka::commands::all();
    commands[0] = commands[0].clone().arg(clap::Arg::new("more").long("more"));
    let name = reference.classes[0].name.clone();
    let other = man::pages(&reference, &commands);
    assert_eq!(differences(&made, &other), [format!("{name}.3"), format!("{}.1", commands[0].get_name())]);
}

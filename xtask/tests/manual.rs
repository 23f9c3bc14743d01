//! The committed manual pages in doc/man are current and complete.

use xtask::header::header;
use xtask::markup::Block;
use xtask::reference::{CLASSES, Reference, plain};
use xtask::{Target, man, root, stale};

#[test]
fn the_committed_pages_are_up_to_date() {
    let committed = Target::Man.read(&Target::Man.folder()).expect("the folder doc/man");
    let stale = stale(&Target::Man.generate(), &committed);
    assert!(stale.is_empty(), "stale: run `make man` and commit: {stale:?}");
}

#[test]
fn every_function_class_and_program_has_a_page() {
    let pages = Target::Man.generate();
    let functions =
        std::fs::read_to_string(root().join("src/capi/symbols.txt")).expect("the exported symbols");
    let classes = CLASSES.map(|class| format!("dafka_{class}"));
    // This function belongs to no class.
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

/// The words of a text, without fonts, macros, and section numbers of pages.
fn words(text: &str) -> String {
    let mut text = text.replace("\\e", "\\").replace("\\(aq", "'").replace("\\(ti", "~");
    for mark in ["\\%", "\\fB", "\\fI", "\\fR", "(1)", "(3)", "(7)", "\n.PP", "\n.TP", "\n.IP \\(bu 3"] {
        text = text.replace(mark, " ");
    }
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let words = text.split(|character| !is_part(character)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// Header and pages are written by different code from the same source. Neither leaves out a part.
#[test]
fn header_and_pages_say_the_same() {
    let (reference, pages) = (Reference::read(), Target::Man.generate());
    let header = words(&header(&reference));
    for class in &reference.classes {
        let page = words(&pages[&format!("{}.3", class.name)]);
        let functions = class.functions.iter().map(|function| (&function.name, &function.text));
        let sections = class.sections.iter().map(|section| (&section.title, &section.blocks));
        for (name, text) in functions.chain(sections) {
            let said = words(&plain(text));
            assert!(said.len() > 5, "{}: {name}: {said}", class.name);
            assert!(header.contains(&said), "{}: {name} in the header: {said}", class.name);
            assert!(page.contains(&said), "{}: {name} in the page: {said}", class.name);
        }
        assert!(header.contains(&words(&class.example)) && page.contains(&words(&class.example)));
    }
}

#[test]
fn stale_and_superfluous_pages_are_detected_and_replaced() {
    let generated = Target::Man.generate();
    let dir = tempfile::tempdir().expect("a folder");
    let differences = || stale(&generated, &Target::Man.read(dir.path()).expect("the folder"));
    Target::Man.write(dir.path(), &generated).expect("the folder is writable");
    assert_eq!(differences(), Vec::<String>::new());
    std::fs::write(dir.path().join("dafka.7"), "other").expect("a file");
    std::fs::write(dir.path().join("dafka_nothing.3"), "superfluous").expect("a file");
    std::fs::remove_file(dir.path().join("dafka_tower.3")).expect("the page exists");
    assert_eq!(differences(), ["dafka.7", "dafka_nothing.3", "dafka_tower.3"]);
    Target::Man.write(dir.path(), &generated).expect("the folder is writable");
    assert_eq!(differences(), Vec::<String>::new());

    // Another comment or another option changes a page.
    let mut reference = Reference::read();
    let function = &mut reference.classes[0].functions[0];
    function.text.push(Block::Paragraph("More.".into()));
    let mut commands = dafka::commands::all();
    commands[0] = commands[0].clone().arg(clap::Arg::new("more").long("more"));
    let name = reference.classes[0].name.clone();
    let other = man::pages(&reference, &commands);
    assert_eq!(stale(&generated, &other), [format!("{name}.3"), format!("{}.1", commands[0].get_name())]);
}

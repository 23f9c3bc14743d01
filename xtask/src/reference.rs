//! Reads the documentation of the C API from src/capi. The header and the manual pages are both generated from it, so
//! that they contain the same text.
//!
//! cbindgen translates the functions and their comments to C. The text about a class is the module documentation
//! (`//!`) of its file. The text before all classes is src/capi/introduction.md.

use crate::markup::{Block, Section, blocks, sections};
use crate::root;
use std::path::{Path, PathBuf};

/// The classes, in the order in which the header shows them.
pub const CLASSES: [&str; 10] = [
    "producer",
    "producer_msg",
    "consumer",
    "consumer_msg",
    "tower",
    "store",
    "publisher",
    "subscriber",
    "beacon",
    "proto",
];

/// The title of the section with the example of a class.
pub(crate) const EXAMPLE: &str = "Example";

/// The documentation of the C API.
pub struct Reference {
    /// The sections before all classes.
    pub introduction: Vec<Section>,
    /// All classes, in the order in which the header shows them.
    pub classes: Vec<Class>,
}

/// A class: the functions and structures whose names start with its name.
pub struct Class {
    /// The name in C: `dafka_producer`.
    pub name: String,
    /// Its purpose in a few words.
    pub purpose: String,
    /// Its description: first a section without a title, then sections with titles.
    pub sections: Vec<Section>,
    /// A whole C program.
    pub example: String,
    /// Its structures that are not opaque.
    pub structs: Vec<Struct>,
    /// Its functions, in the order of the source.
    pub functions: Vec<Function>,
}

/// A C structure.
pub struct Struct {
    /// `dafka_beacon_args_t`
    pub name: String,
    /// Its comment.
    pub text: Vec<Block>,
    /// Its members, in the order of the source.
    pub members: Vec<Member>,
}

/// A member of a structure.
pub struct Member {
    /// `const char *topic`
    pub declaration: String,
    /// Its comment.
    pub text: Vec<Block>,
}

/// A C function.
pub struct Function {
    /// `dafka_consumer_new`
    pub name: String,
    /// `const char *`
    pub result: String,
    /// `size_t size`; `void` when there are none.
    pub parameters: Vec<String>,
    /// Its comment, without the section `Safety`, which is for Rust programs.
    pub text: Vec<Block>,
}

impl Reference {
    /// Reads the documentation of this library.
    pub fn read() -> Reference {
        let files: Vec<PathBuf> =
            CLASSES.iter().map(|class| root().join(format!("src/capi/{class}.rs"))).collect();
        let introduction = root().join("src/capi/introduction.md");
        let introduction = std::fs::read_to_string(introduction).expect("src/capi/introduction.md");
        Reference::of(&introduction, &files)
    }

    /// Reads the classes `dafka_NAME` from files `NAME.rs`.
    pub fn of(introduction: &str, files: &[PathBuf]) -> Reference {
        let mut classes: Vec<Class> = files.iter().map(|file| Class::read(file)).collect();
        let (structs, functions) = items(&translate(files));
        for item in structs {
            // Of all class names that are a prefix of the structure's name, the longest is its class.
            class_of(&mut classes, &item.name).structs.push(item);
        }
        for item in functions {
            class_of(&mut classes, &item.name).functions.push(item);
        }
        let mut introduction = sections(introduction);
        introduction.retain(|section| !section.blocks.is_empty());
        for section in &mut introduction {
            if let Some(place) =
                section.blocks.iter().position(|block| *block == Block::Paragraph("@classes@".into()))
            {
                let list =
                    classes.iter().map(|class| Block::Item(format!("`{}`: {}", class.name, class.purpose)));
                section.blocks.splice(place..=place, list);
            }
        }
        Reference { introduction, classes }
    }
}

/// The text of blocks without markup.
pub fn plain(blocks: &[Block]) -> String {
    let texts = blocks.iter().map(|block| match block {
        Block::Paragraph(text) | Block::Item(text) | Block::Code(text) | Block::Heading(text) => text.clone(),
        Block::Row(cells) => cells.join(" "),
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn class_of<'a>(classes: &'a mut [Class], name: &str) -> &'a mut Class {
    let owner = classes.iter_mut().filter(|class| name.starts_with(&class.name));
    owner.max_by_key(|class| class.name.len()).unwrap_or_else(|| panic!("{name} belongs to no class"))
}

impl Class {
    /// Reads the text about a class, without its functions.
    fn read(file: &Path) -> Class {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).expect("a name in UTF-8");
        let name = format!("dafka_{stem}");
        let source =
            std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let text: Vec<&str> = source
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        let (first, text) = text.split_first().unwrap_or((&"", &[]));
        let purpose = first.strip_prefix(&format!("Class `{name}`: ")).unwrap_or_default();
        let mut sections = sections(&text.join("\n"));
        let example = sections.iter().position(|section| section.title == EXAMPLE);
        let example = example.map(|place| sections.remove(place).blocks).unwrap_or_default();
        let example = example.into_iter().find_map(|block| match block {
            Block::Code(code) => Some(code),
            _ => None,
        });
        Class {
            name,
            purpose: purpose.trim_end_matches('.').into(),
            sections,
            example: example.unwrap_or_default(),
            structs: Vec::new(),
            functions: Vec::new(),
        }
    }
}

/// The settings of cbindgen, and the fixed parts of the header.
pub(crate) fn config() -> cbindgen::Config {
    cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml")
}

/// Translates structures and functions of `files` to C declarations with comments.
fn translate(files: &[PathBuf]) -> String {
    let mut config = config();
    // header.rs writes what surrounds the declarations.
    (config.header, config.after_includes, config.include_guard) = (None, None, None);
    (config.sys_includes, config.cpp_compat) = (Vec::new(), false);
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in files {
        builder = builder.with_src(file);
    }
    let mut raw = Vec::new();
    builder.generate().expect("cbindgen can parse src/capi").write(&mut raw);
    String::from_utf8(raw).expect("UTF-8")
}

/// Parses the output of cbindgen.
fn items(raw: &str) -> (Vec<Struct>, Vec<Function>) {
    let (mut structs, mut functions) = (Vec::new(), Vec::new());
    let mut lines = raw.lines();
    let mut comment = String::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            comment.clear();
        } else if !read_comment(line, &mut comment) {
            if line == "typedef struct {" {
                structs.push(structure(&comment, &mut lines));
            } else {
                let mut declaration = line.to_owned();
                while !declaration.ends_with(';') {
                    declaration.push(' ');
                    declaration.push_str(lines.next().expect("a declaration ends").trim());
                }
                functions.push(function(&comment, &declaration));
            }
            comment.clear();
        }
    }
    (structs, functions)
}

/// Appends a comment line to `comment`. Returns false for any other line.
fn read_comment(line: &str, comment: &mut String) -> bool {
    let Some(text) = line.trim_start().strip_prefix("//") else { return false };
    comment.push_str(text.strip_prefix(' ').unwrap_or(text));
    comment.push('\n');
    true
}

/// The blocks of a comment, without the section `Safety`, which is for Rust programs.
fn text(comment: &str) -> Vec<Block> {
    blocks(comment.split("# Safety\n").next().unwrap_or_default())
}

fn structure<'a>(comment: &str, lines: &mut impl Iterator<Item = &'a str>) -> Struct {
    let mut members = Vec::new();
    let mut about = String::new();
    for line in lines {
        if let Some(name) = line.strip_prefix("} ") {
            return Struct { name: name.trim_end_matches(';').into(), text: text(comment), members };
        }
        if !read_comment(line, &mut about) {
            let declaration = line.trim().trim_end_matches(';').to_owned();
            members.push(Member { declaration, text: text(&about) });
            about.clear();
        }
    }
    panic!("a structure without end");
}

fn function(comment: &str, declaration: &str) -> Function {
    let rest = declaration.strip_prefix("DAFKA_EXPORT ").unwrap_or_else(|| panic!("{declaration}"));
    let (start, rest) = rest.split_once('(').expect("parameters");
    let parameters = rest.trim_end_matches(");").split(',').map(|parameter| parameter.trim());
    let place = start.rfind([' ', '*']).expect("a type before the name") + 1;
    Function {
        name: start[place..].into(),
        result: in_c(start[..place].trim()),
        parameters: parameters.map(in_c).collect(),
        text: text(comment),
    }
}

/// Translates a type or parameter to the form that CZMQ uses. In Rust, a parameter has a `_` after its name if the name
/// is a keyword or the name of a function.
fn in_c(text: &str) -> String {
    text.replace("uint8_t", "byte").trim_end_matches('_').into()
}

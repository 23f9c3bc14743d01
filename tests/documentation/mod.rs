//! The documentation of the C API, class by class, out of src/capi: `include/dafka.h` and the manual pages are made from
//! it, so that neither can say what the other does not.
//!
//! cbindgen translates the functions and their comments. The classes' own text is the module documentation of their
//! files (`//!`), the text before them is src/capi/introduction.md.

pub(crate) mod markup;

use markup::{Block, Section, blocks, sections};
use std::path::{Path, PathBuf};

/// The classes, in the order in which a reader meets them.
pub(crate) const CLASSES: [&str; 10] = [
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

/// The title of the section that holds a class's example.
const EXAMPLE: &str = "Example";

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Everything there is to say about the C API.
pub(crate) struct Reference {
    pub(crate) introduction: Vec<Section>,
    pub(crate) classes: Vec<Class>,
}

pub(crate) struct Class {
    /// As C knows it: `dafka_producer`.
    pub(crate) name: String,
    /// What it is for, in some words.
    pub(crate) purpose: String,
    /// What it is for, at length: a section without a title, then others.
    pub(crate) sections: Vec<Section>,
    /// A C program.
    pub(crate) example: String,
    pub(crate) structs: Vec<Struct>,
    pub(crate) functions: Vec<Function>,
}

pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) text: Vec<Block>,
    pub(crate) members: Vec<Member>,
}

pub(crate) struct Member {
    /// `const char *topic`
    pub(crate) declaration: String,
    pub(crate) text: Vec<Block>,
}

pub(crate) struct Function {
    pub(crate) name: String,
    /// `const char *`
    pub(crate) result: String,
    /// `size_t size`; `void` when there are none.
    pub(crate) parameters: Vec<String>,
    pub(crate) text: Vec<Block>,
}

impl Reference {
    /// That of this library.
    pub(crate) fn read() -> Reference {
        let files: Vec<PathBuf> =
            CLASSES.iter().map(|class| root().join(format!("src/capi/{class}.rs"))).collect();
        let introduction = root().join("src/capi/introduction.md");
        let introduction = std::fs::read_to_string(introduction).expect("src/capi/introduction.md");
        Reference::of(&introduction, &files)
    }

    /// That of classes `dafka_NAME` in files `NAME.rs`.
    pub(crate) fn of(introduction: &str, files: &[PathBuf]) -> Reference {
        let mut classes: Vec<Class> = files.iter().map(|file| Class::read(file)).collect();
        let (structs, functions) = items(&translate(files));
        for item in structs {
            // Its class has the longest name that it begins with.
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

/// The text of blocks without their form.
pub(crate) fn plain(blocks: &[Block]) -> String {
    let texts = blocks.iter().map(|block| match block {
        Block::Paragraph(text) | Block::Item(text) | Block::Code(text) => text.clone(),
        Block::Row(cells) => cells.join(" "),
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn class_of<'a>(classes: &'a mut [Class], name: &str) -> &'a mut Class {
    let owner = classes.iter_mut().filter(|class| name.starts_with(&class.name));
    owner.max_by_key(|class| class.name.len()).unwrap_or_else(|| panic!("{name} belongs to no class"))
}

impl Class {
    /// The class's own text, without its functions.
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

fn config() -> cbindgen::Config {
    cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml")
}

/// Structures and functions of `files` in C.
fn translate(files: &[PathBuf]) -> String {
    let mut config = config();
    // What stands around them is put together in `header`.
    (config.header, config.after_includes, config.include_guard) = (None, None, None);
    (config.sys_includes, config.cpp_compat) = (Vec::new(), false);
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in files {
        builder = builder.with_src(file);
    }
    let mut raw = Vec::new();
    builder.generate().expect("src/capi is understood").write(&mut raw);
    String::from_utf8(raw).expect("UTF-8")
}

/// Takes cbindgen's output apart.
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

/// Adds a line to a comment; false when it is none.
fn read_comment(line: &str, comment: &mut String) -> bool {
    let Some(text) = line.trim_start().strip_prefix("//") else { return false };
    comment.push_str(text.strip_prefix(' ').unwrap_or(text));
    comment.push('\n');
    true
}

/// A comment without what is for Rust programs.
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

/// Names of types and parameters as CZMQ's programs write them. Rust keeps some names to itself, or uses them already.
fn in_c(text: &str) -> String {
    text.replace("uint8_t", "byte").trim_end_matches('_').into()
}

/// The width of the header's comments.
const COMMENT_WIDTH: usize = 80;
/// That of its declarations.
const CODE_WIDTH: usize = 100;

/// `include/dafka.h`.
pub(crate) fn header(reference: &Reference) -> String {
    let config = config();
    let guard = config.include_guard.expect("an include guard");
    let mut out = config.header.expect("a first comment") + "\n\n";
    for (i, section) in reference.introduction.iter().enumerate() {
        if i > 0 {
            out += "//\n";
        }
        comment_section(&mut out, section);
    }
    out += &format!("\n#ifndef {guard}\n#define {guard}\n\n");
    for include in &config.sys_includes {
        out += &format!("#include <{include}>\n");
    }
    let mut after_includes = config.after_includes.expect("constants and types");
    for (name, value) in [
        ("@MAJOR@", env!("CARGO_PKG_VERSION_MAJOR")),
        ("@MINOR@", env!("CARGO_PKG_VERSION_MINOR")),
        ("@PATCH@", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        after_includes = after_includes.replace(name, value);
    }
    out += &after_includes;
    out += "\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n";
    for class in &reference.classes {
        class_in_header(&mut out, class);
    }
    out += &format!("#ifdef __cplusplus\n}}\n#endif\n\n#endif  /* {guard} */\n");
    out
}

fn class_in_header(out: &mut String, class: &Class) {
    let line = format!("//  {}\n", "=".repeat(COMMENT_WIDTH - 4));
    *out += &format!("\n{line}//  {}: {}\n{line}", class.name, class.purpose);
    for section in &class.sections {
        *out += "//\n";
        comment_section(out, section);
    }
    let example = Block::Code(class.example.clone());
    *out += "//\n";
    comment_section(out, &Section { title: EXAMPLE.into(), blocks: vec![example] });
    *out += "\n";
    for Struct { name, text, members } in &class.structs {
        comment(out, "", text);
        *out += "typedef struct {\n";
        for Member { declaration, text } in members {
            comment(out, "    ", text);
            *out += &format!("    {declaration};\n");
        }
        *out += &format!("}} {name};\n\n");
    }
    for function in &class.functions {
        comment(out, "", &function.text);
        *out += &format!("DAFKA_EXPORT {}\n", function.result);
        *out += &prototype(function).replace('\n', "\n    ");
        *out += "\n\n";
    }
}

/// Name and parameters of a function, as CZMQ's headers have them.
fn prototype(function: &Function) -> String {
    let mut text = String::new();
    let start = format!("\n{} (", function.name);
    let mut line = start.clone();
    for (i, parameter) in function.parameters.iter().enumerate() {
        let end = if i + 1 == function.parameters.len() { ");" } else { ", " };
        if line.len() + parameter.len() + end.len() > CODE_WIDTH - 4 {
            text += line.trim_end();
            line = format!("\n{}", " ".repeat(start.len() - 1));
        }
        line += parameter;
        line += end;
    }
    text += &line;
    // The caller indents each line but what comes before the first one.
    format!("    {}", text.trim_start())
}

/// A section as a comment.
fn comment_section(out: &mut String, section: &Section) {
    if !section.title.is_empty() {
        *out += &format!("//  {}\n//\n", section.title.to_uppercase());
    }
    comment(out, "", &section.blocks);
}

/// Blocks as a comment.
fn comment(out: &mut String, indent: &str, blocks: &[Block]) {
    let width = COMMENT_WIDTH - 4 - indent.len();
    for (i, block) in blocks.iter().enumerate() {
        let is_item = |block: Option<&Block>| matches!(block, Some(Block::Item(_)));
        if i > 0 && !(is_item(Some(block)) && is_item(blocks.get(i - 1))) {
            *out += &format!("{indent}//\n");
        }
        let lines = match block {
            Block::Paragraph(text) => markup::wrap(text, width),
            Block::Item(text) => {
                let lines = markup::wrap(text, width - 4).into_iter();
                lines
                    .enumerate()
                    .map(|(i, line)| format!("{}{line}", if i == 0 { "  - " } else { "    " }))
                    .collect()
            }
            Block::Code(code) => code.lines().map(|line| format!("    {line}")).collect(),
            Block::Row(_) => panic!("tables are for manual pages"),
        };
        for line in lines {
            *out += format!("{indent}//  {line}").trim_end();
            *out += "\n";
        }
    }
}

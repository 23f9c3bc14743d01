//! Writes `include/dafka.h`.

use crate::markup::{self, Block, Section};
use crate::reference::{Class, EXAMPLE, Function, Member, Reference, Struct, config};
use crate::version;

/// The width of comment lines.
const COMMENT_WIDTH: usize = 80;
/// The width of declarations.
const CODE_WIDTH: usize = 100;

/// The text of `include/dafka.h`.
pub fn header(reference: &Reference) -> String {
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
    let version = version();
    let mut numbers = version.split('.');
    for name in ["@MAJOR@", "@MINOR@", "@PATCH@"] {
        let number = numbers.next().expect("a version has three numbers");
        after_includes = after_includes.replace(name, number);
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

/// Name and parameters of a function, in the layout of CZMQ's headers.
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
    // The caller indents all lines except the first.
    format!("    {}", text.trim_start())
}

/// Writes a section as a comment.
fn comment_section(out: &mut String, section: &Section) {
    if !section.title.is_empty() {
        *out += &format!("//  {}\n//\n", section.title.to_uppercase());
    }
    comment(out, "", &section.blocks);
}

/// Writes blocks as a comment.
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
            Block::Row(_) | Block::Heading(_) => panic!("tables and headings are for manual pages"),
        };
        for line in lines {
            *out += format!("{indent}//  {line}").trim_end();
            *out += "\n";
        }
    }
}

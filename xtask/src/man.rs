//! Writes the manual pages, in the macros of man(7). The sources are the documentation of the C API, the command lines
//! of the programs, and the texts in doc/man/src.

use crate::markup::{Block, Section, sections, words};
use crate::reference::{Class, Function, Reference, Struct, plain};
use crate::{root, version};
use clap::{Arg, ArgAction, Command};
use std::collections::{BTreeMap, BTreeSet};

/// The day of the last review of the whole documentation. man(7) requires a date. The day of generation would make each
/// page differ each day.
const DATE: &str = "2026-11-24";

/// The width of lines in a page's source.
const SOURCE_WIDTH: usize = 78;
/// The width of prototypes on a terminal with 80 columns.
const PROTOTYPE_WIDTH: usize = 72;

/// All pages. The key is the file name, such as `dafka_producer.3`.
pub fn pages(reference: &Reference, commands: &[Command]) -> BTreeMap<String, String> {
    let writer = Writer::new(reference, commands);
    let mut pages = BTreeMap::from([("dafka.7".to_owned(), writer.overview())]);
    for command in commands {
        pages.insert(format!("{}.1", command.get_name()), writer.program(command));
    }
    for class in &reference.classes {
        pages.insert(format!("{}.3", class.name), writer.class(class));
    }
    for class in &reference.classes {
        for function in &class.functions {
            // One function has the same name as its class. The class has a page already.
            let link = || format!(".so man3/{}.3\n", class.name);
            pages.entry(format!("{}.3", function.name)).or_insert_with(link);
        }
    }
    pages
}

/// A text in doc/man/src.
fn source(name: &str) -> String {
    let path = root().join("doc/man/src").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The input of all pages.
struct Writer<'a> {
    reference: &'a Reference,
    commands: &'a [Command],
    /// The section of each page. The key is the name of the page.
    sections: BTreeMap<&'a str, char>,
}

impl<'a> Writer<'a> {
    fn new(reference: &'a Reference, commands: &'a [Command]) -> Writer<'a> {
        let mut sections = BTreeMap::from([("dafka", '7')]);
        sections.extend(commands.iter().map(|command| (command.get_name(), '1')));
        for class in &reference.classes {
            sections.insert(class.name.as_str(), '3');
            sections.extend(class.functions.iter().map(|function| (function.name.as_str(), '3')));
        }
        Writer { reference, commands, sections }
    }

    fn page(&self, name: &'a str, section: char, purpose: &str) -> Page<'_> {
        let mut page = Page { name, text: String::new(), sections: &self.sections, italic: BTreeSet::new() };
        let title = name.to_uppercase();
        let version = version();
        page.text += Page::NOTE;
        page.line(&format!(".TH {title} {section} {DATE} \"dafka {version}\" \"Dafka Manual\""));
        page.line(".SH NAME");
        page.line(&format!("{name} \\- {}", prose(purpose)));
        page
    }

    fn class(&self, class: &'a Class) -> String {
        let mut page = self.page(&class.name, '3', &class.purpose);
        page.line(".SH SYNOPSIS");
        page.line(".nf");
        page.line(".B #include <dafka.h>");
        for Struct { name, members, .. } in &class.structs {
            page.line(".PP");
            page.line("typedef struct {");
            for member in members {
                page.line(&format!("    {};", code(&member.declaration)));
            }
            page.line(&format!("}} {};", code(name)));
        }
        page.line(".PP");
        for function in &class.functions {
            page.prototype(function);
        }
        page.line(".fi");
        for (i, section) in class.sections.iter().enumerate() {
            let title = if i == 0 { "Description" } else { &section.title };
            page.section(title, &section.blocks);
        }
        if !class.structs.is_empty() {
            page.line(".SH STRUCTURES");
            for Struct { name, text, members } in &class.structs {
                page.line(&format!(".SS {name}"));
                page.blocks(text);
                for member in members {
                    let name = member.declaration.rsplit(['*', ' ']).next().expect("a name");
                    page.tagged(&format!("\\fI{}\\fR", code(name)), &plain(&member.text));
                }
            }
        }
        page.line(".SH FUNCTIONS");
        for function in &class.functions {
            page.line(&format!(".SS {}", function.name));
            let names =
                function.parameters.iter().filter_map(|parameter| parameter.rsplit(['*', ' ']).next());
            page.italic = names.map(str::to_owned).collect();
            page.blocks(&function.text);
        }
        page.italic.clear();
        if class.functions.iter().any(|function| function.result != "void") {
            page.section("Return value", &self.shared("Return values"));
        }
        page.section("Errors", &self.shared("Errors"));
        page.section("Example", &[Block::Code(class.example.clone())]);
        let others = self.reference.classes.iter().map(|class| class.name.as_str());
        let others = others.filter(|name| *name != class.name).map(|name| (name, '3'));
        page.see_also([("dafka", '7')].into_iter().chain(others).chain([("zactor", '3'), ("zconfig", '3')]));
        page.text
    }

    fn program(&self, command: &'a Command) -> String {
        let mut command = command.clone();
        // `build` adds --help and --version.
        command.build();
        let name = self.commands.iter().map(Command::get_name).find(|name| *name == command.get_name());
        let name = name.expect("one of the programs");
        let about = command.get_about().expect("a description").to_string();
        // The NAME section has the first sentence only, such as "runs a tower".
        let first = about.split(". ").next().unwrap_or_default().trim_end_matches('.');
        let (start, rest) = first.split_at(1);
        let mut page = self.page(name, '1', &format!("{}{rest}", start.to_lowercase()));

        page.line(".SH SYNOPSIS");
        page.line(&format!(".B \\%{name}"));
        // Options precede arguments. The synopsis leaves out --help and --version.
        let mut arguments: Vec<&Arg> = command.get_arguments().collect();
        arguments.sort_by_key(|argument| argument.is_positional());
        for argument in &arguments {
            match (usage(argument), argument.is_required_set(), argument.get_action()) {
                (_, _, ArgAction::Help | ArgAction::Version) => {}
                (usage, true, _) => page.line(&format!("\\%{usage}")),
                (usage, false, _) => page.line(&format!("\\%[{usage}]")),
            }
        }

        let own = sections(&source(&format!("{name}.1.md")));
        let mut text = vec![Block::Paragraph(about)];
        let (description, own): (Vec<Section>, Vec<Section>) =
            own.into_iter().partition(|section| section.title == "Description");
        text.extend(description.into_iter().flat_map(|section| section.blocks));
        page.section("Description", &text);

        page.line(".SH OPTIONS");
        for argument in &arguments {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            page.tagged(&usage(argument).replace("|", ", "), &help);
        }
        // Adds the sections that all network programs share. A section of this page with the same title replaces a
        // shared one.
        let mut rest: Vec<Section> = own.into_iter().filter(|section| !section.title.is_empty()).collect();
        if command.get_arguments().any(|argument| argument.get_id() == "config") {
            for section in sections(&source("programs.md")) {
                let is_said = rest.iter().any(|own| own.title == section.title);
                if !section.title.is_empty() && !is_said {
                    rest.push(section);
                }
            }
        }
        rest.sort_by_key(|section| {
            let order = [
                "Format",
                "JSON",
                "Configuration",
                "Exit status",
                "Environment",
                "Signals",
                "Files",
                "Examples",
            ];
            let place = order.iter().position(|title| *title == section.title);
            place.unwrap_or_else(|| panic!("{name}: the section {} has no place", section.title))
        });
        for section in &rest {
            page.section(&section.title, &section.blocks);
        }
        let others = self.commands.iter().map(|command| (command.get_name(), '1'));
        page.see_also(others.filter(|(other, _)| *other != name).chain([("dafka", '7')]));
        page.text
    }

    fn overview(&self) -> String {
        let source = source("dafka.7.md");
        let mut sections = sections(&source).into_iter();
        let purpose = plain(&sections.next().expect("what it is").blocks);
        let mut page = self.page("dafka", '7', &purpose);
        for section in sections {
            let blocks: Vec<Block> =
                section.blocks.into_iter().flat_map(|block| self.filled(block)).collect();
            page.section(&section.title, &blocks);
        }
        let classes = self.reference.classes.iter().map(|class| (class.name.as_str(), '3'));
        let programs = self.commands.iter().map(|command| (command.get_name(), '1'));
        page.see_also(programs.chain(classes).chain([("czmq", '7'), ("zmq", '7')]));
        page.paragraph("https://rfc.zeromq.org/spec/46/");
        page.text
    }

    /// Replaces a placeholder such as `@Title@` by its blocks. Returns any other block unchanged.
    fn filled(&self, block: Block) -> Vec<Block> {
        let Block::Paragraph(text) = &block else { return vec![block] };
        match text.strip_prefix('@').and_then(|text| text.strip_suffix('@')) {
            None => vec![block],
            Some("programs") => {
                let item = |command: &Command| {
                    let about = command.get_about().expect("a description");
                    Block::Item(format!("`{}`: {about}", command.get_name()))
                };
                self.commands.iter().map(item).collect()
            }
            Some("keys") => keys(),
            Some("limits") => limits(),
            Some(title) => self.shared(title),
        }
    }

    /// A section of the introduction to the C API.
    fn shared(&self, title: &str) -> Vec<Block> {
        let section = self.reference.introduction.iter().find(|section| section.title == title);
        section.unwrap_or_else(|| panic!("the introduction has no section {title}")).blocks.clone()
    }
}

/// The chapter on configuration keys in doc/configuration.md.
fn keys() -> Vec<Block> {
    chapter("Keys", |[keys, default, meaning]| format!("{keys}: {meaning}. Default: {default}"))
}

/// The chapter on limits without a key in doc/configuration.md.
fn limits() -> Vec<Block> {
    chapter("Fixed limits", |[limit, bounds, beyond]| format!("{limit}: {bounds}. Beyond it: {beyond}."))
}

/// A chapter of doc/configuration.md: its headings and its text. The tables have three columns, and each row becomes an
/// item.
fn chapter(title: &str, item: impl Fn(&[String; 3]) -> String) -> Vec<Block> {
    let text = std::fs::read_to_string(root().join("doc/configuration.md")).expect("doc/configuration.md");
    let chapter = text.split_once(&format!("\n## {title}\n")).map(|(_, rest)| rest);
    let chapter = chapter.unwrap_or_else(|| panic!("doc/configuration.md has no chapter {title}"));
    let chapter = chapter.split("\n## ").next().unwrap_or_default();
    let mut blocks = Vec::new();
    for section in sections(chapter) {
        if !section.title.is_empty() {
            blocks.push(Block::Heading(section.title));
        }
        let mut is_head = true;
        for block in section.blocks {
            match block {
                Block::Row(_) if is_head => is_head = false,
                Block::Row(cells) => match cells.as_slice().try_into() {
                    Ok(cells) => blocks.push(Block::Item(item(cells))),
                    Err(_) => panic!("a row of {title} has three cells: {cells:?}"),
                },
                Block::Paragraph(text) => blocks.push(Block::Paragraph(without_emphasis(&text))),
                other => blocks.push(other),
            }
        }
    }
    blocks
}

/// Text without the marks of bold words.
fn without_emphasis(text: &str) -> String {
    text.replace("**", "")
}

/// The usage of an option: `-v|--verbose`, `--pub address`, `TOPIC`.
fn usage(argument: &Arg) -> String {
    let names = [
        argument.get_short().map(|short| format!("-{short}")),
        argument.get_long().map(|long| format!("--{long}")),
    ];
    let names = names.into_iter().flatten().map(|name| format!("\\fB{}\\fR", code(&name)));
    let names = names.collect::<Vec<_>>().join("|");
    let value = match argument.get_value_names() {
        Some([value]) => value.to_string(),
        _ => argument.get_id().to_string(),
    };
    let value = format!("\\fI{}\\fR", code(&value));
    match argument.get_action() {
        _ if argument.is_positional() => value,
        ArgAction::Set => format!("{names} {value}"),
        _ => names,
    }
}

/// A page while it is written.
struct Page<'a> {
    name: &'a str,
    text: String,
    sections: &'a BTreeMap<&'a str, char>,
    /// Code words that are parameters of the current function.
    italic: BTreeSet<String>,
}

impl Page<'_> {
    const NOTE: &'static str = ".\\\" Made by `make man`. Do not edit.\n";

    fn line(&mut self, line: &str) {
        self.text += line;
        self.text += "\n";
    }

    fn section(&mut self, title: &str, blocks: &[Block]) {
        self.line(&format!(".SH {}", prose(&title.to_uppercase())));
        self.blocks(blocks);
    }

    fn blocks(&mut self, blocks: &[Block]) {
        // No empty line after a heading.
        let is_after_heading = |i: usize| i == 0 || matches!(blocks[i - 1], Block::Heading(_));
        for (i, block) in blocks.iter().enumerate() {
            match block {
                Block::Heading(text) => self.line(&format!(".SS {}", prose(text))),
                Block::Paragraph(text) if is_after_heading(i) => self.fill(text),
                Block::Paragraph(text) => self.paragraph(text),
                Block::Item(text) => match term(text) {
                    Some((term, text)) => self.tagged(&self.inline(term), text),
                    None => {
                        self.line(".IP \\(bu 3");
                        self.fill(text);
                    }
                },
                Block::Code(text) => {
                    if i > 0 {
                        self.line(".PP");
                    }
                    self.code(text);
                }
                Block::Row(cells) => panic!("{}: a table outside of the keys: {cells:?}", self.name),
            }
        }
    }

    fn paragraph(&mut self, text: &str) {
        self.line(".PP");
        self.fill(text);
    }

    fn tagged(&mut self, tag: &str, text: &str) {
        self.line(".TP");
        self.line(tag);
        self.fill(text);
    }

    fn code(&mut self, text: &str) {
        self.line(".in +4n");
        self.line(".EX");
        for line in text.lines() {
            self.line(&guarded(&code(line)));
        }
        self.line(".EE");
        self.line(".in");
    }

    fn prototype(&mut self, function: &Function) {
        let Function { name, result, parameters, .. } = function;
        let space = if result.ends_with('*') { "" } else { " " };
        let mut line = format!("\\fB{}{space}{}\\fR (", code(result), code(name));
        let mut width = result.len() + space.len() + name.len() + 2;
        for (i, parameter) in parameters.iter().enumerate() {
            let end = if i + 1 == parameters.len() { ");" } else { "," };
            if i > 0 && width + 1 + parameter.len() + end.len() > PROTOTYPE_WIDTH {
                self.line(&line);
                (line, width) = ("        ".into(), 8);
            } else if i > 0 {
                line += " ";
                width += 1;
            }
            let place = parameter.rfind(['*', ' ']).map_or(0, |place| place + 1);
            let (kind, name) = parameter.split_at(place);
            line += &if kind.is_empty() {
                format!("\\fB{}\\fR", code(name))
            } else {
                format!("\\fB{}\\fR\\fI{}\\fR", code(kind), code(name))
            };
            line += end;
            width += parameter.len() + end.len();
        }
        self.line(&line);
    }

    fn see_also<'b>(&mut self, pages: impl Iterator<Item = (&'b str, char)>) {
        self.line(".SH SEE ALSO");
        let pages: Vec<_> = pages.collect();
        for (i, (name, section)) in pages.iter().enumerate() {
            let comma = if i + 1 == pages.len() { "" } else { "," };
            self.line(&format!(".BR \\%{name} ({section}){comma}"));
        }
    }

    /// Fills lines. Each sentence starts a new line, so that formatters put the right space between sentences.
    fn fill(&mut self, text: &str) {
        let mut line = String::new();
        let mut ends_sentence = false;
        for word in words(text) {
            let mut set = self.inline(&word);
            if set.contains("\\fB") || set.contains('_') {
                // Do not hyphenate names.
                set.insert_str(0, "\\%");
            }
            if !line.is_empty() && (ends_sentence || line.len() + 1 + set.len() > SOURCE_WIDTH) {
                let full = std::mem::take(&mut line);
                self.line(&guarded(&full));
            }
            if !line.is_empty() {
                line += " ";
            }
            line += &set;
            ends_sentence = word.trim_end_matches([')', '"']).ends_with(['.', '?', '!']);
        }
        if !line.is_empty() {
            self.line(&guarded(&line));
        }
    }

    /// Formats text with code words between backticks and names of pages such as `dafka(7)`.
    fn inline(&self, text: &str) -> String {
        let mut set = String::new();
        for (i, part) in text.split('`').enumerate() {
            match i % 2 {
                0 => set += &self.pages_in(part),
                _ if self.italic.contains(part) => set += &format!("\\fI{}\\fR", code(part)),
                _ => {
                    set += &format!("\\fB{}\\fR", code(part));
                    if let Some(section) = self.sections.get(part).filter(|_| part != self.name) {
                        set += &format!("({section})");
                    }
                }
            }
        }
        set
    }

    fn pages_in(&self, text: &str) -> String {
        let mut set = String::new();
        for (i, word) in text.split(' ').enumerate() {
            if i > 0 {
                set += " ";
            }
            let name = word.split('(').next().unwrap_or_default();
            let is_page = self
                .sections
                .get(name)
                .is_some_and(|section| word[name.len()..].starts_with(&format!("({section})")));
            set += &if is_page { format!("\\fB{name}\\fR{}", &word[name.len()..]) } else { prose(word) };
        }
        set
    }
}

/// Splits an item that starts with a code word and a colon into that word and the rest.
fn term(item: &str) -> Option<(&str, &str)> {
    if !item.starts_with('`') {
        return None;
    }
    let mut is_code = false;
    let colon = item.char_indices().find(|&(i, character)| {
        is_code ^= character == '`';
        !is_code && item[i..].starts_with(": ")
    });
    let (colon, _) = colon?;
    Some((&item[..colon], &item[colon + 2..]))
}

/// Escapes prose. A hyphen before a number becomes a minus sign.
fn prose(text: &str) -> String {
    let mut set = String::new();
    let mut last = ' ';
    for (i, character) in text.char_indices() {
        let starts_number = text[i + character.len_utf8()..].starts_with(|next: char| next.is_ascii_digit());
        match character {
            '\\' => set += "\\e",
            '-' if starts_number && !last.is_alphanumeric() => set += "\\-",
            _ => set.push(character),
        }
        last = character;
    }
    set
}

/// Escapes code, so that each character can be copied from the formatted page.
fn code(text: &str) -> String {
    let mut set = String::new();
    for character in text.chars() {
        match character {
            '\\' => set += "\\e",
            '-' => set += "\\-",
            '\'' => set += "\\(aq",
            '`' => set += "\\(ga",
            '^' => set += "\\(ha",
            '~' => set += "\\(ti",
            _ => set.push(character),
        }
    }
    set
}

/// Escapes a line that would be a macro.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

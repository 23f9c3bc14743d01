//! The markup of the documentation: what the comments in src/capi, introduction.md and doc/man/src are written in.
//!
//! Paragraphs, `- ` items, fenced code and `# ` headings, with code words between backticks; in doc/*.md tables too.

/// A part of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    Paragraph(String),
    Item(String),
    Code(String),
    /// A row of a table; the first one is its head.
    Row(Vec<String>),
}

/// What stands under a heading.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Empty for what stands before the first heading.
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

/// The sections of a text, and before them what precedes the first heading, even if that is nothing.
pub(crate) fn sections(text: &str) -> Vec<Section> {
    let mut parts = vec![(String::new(), String::new())];
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        match line.trim_start_matches('#').strip_prefix(' ') {
            Some(title) if line.starts_with('#') && !is_code => parts.push((title.into(), String::new())),
            _ => {
                let (_, part) = parts.last_mut().expect("one from the beginning");
                part.push_str(line);
                part.push('\n');
            }
        }
    }
    parts.into_iter().map(|(title, text)| Section { title, blocks: blocks(&text) }).collect()
}

/// The blocks of a text without headings.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    // False after a block that the next line cannot go on with.
    let mut is_open = false;
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            blocks.push(Block::Code(code.join("\n")));
            is_open = false;
        } else if let Some(row) = line.strip_prefix('|') {
            let cells = row.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned());
            let cells: Vec<String> = cells.collect();
            if !cells.iter().all(|cell| cell.starts_with("---")) {
                blocks.push(Block::Row(cells));
            }
            is_open = false;
        } else if line.trim().is_empty() {
            is_open = false;
        } else if let Some(item) = line.strip_prefix("- ") {
            blocks.push(Block::Item(item.into()));
            is_open = true;
        } else if let (true, Some(Block::Paragraph(text) | Block::Item(text))) = (is_open, blocks.last_mut())
        {
            text.push(' ');
            text.push_str(line.trim());
        } else {
            blocks.push(Block::Paragraph(line.trim().into()));
            is_open = true;
        }
    }
    blocks
}

/// The words of a text. What stands between backticks is one word, with what touches it.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_code = false;
    for character in text.chars() {
        is_code ^= character == '`';
        if character == ' ' && !is_code {
            words.push(String::new());
        } else {
            words.last_mut().expect("one from the beginning").push(character);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Fills lines of at most `width` characters, if the words allow.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words(text) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

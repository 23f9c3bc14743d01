//! Parses the markup of the comments in src/capi, of introduction.md and of doc/man/src: paragraphs, `- ` items, fenced
//! code, `# ` headings, and code words between backticks. In doc/*.md there are tables, too.

/// A part of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Text that is filled.
    Paragraph(String),
    /// An item of a list.
    Item(String),
    /// Lines that stay as they are.
    Code(String),
    /// A row of a table. The first row is the table's head.
    Row(Vec<String>),
    /// A heading within a section. [`sections`] returns no block of this kind.
    Heading(String),
}

/// A heading and the blocks below it.
#[derive(Clone, Debug)]
pub struct Section {
    /// Empty for the text before the first heading.
    pub title: String,
    /// The blocks below the heading.
    pub blocks: Vec<Block>,
}

/// Parses the sections of a text. The first one is the text before the first heading, which may be empty.
pub fn sections(text: &str) -> Vec<Section> {
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

/// Parses the blocks of a text without headings.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    // Whether the next line may continue the last block.
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

/// The words of a text. Code between backticks is one word, together with the characters that touch it.
pub fn words(text: &str) -> Vec<String> {
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

/// Fills lines of at most `width` characters. A longer word gets a line alone.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
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

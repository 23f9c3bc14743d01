//! Configurations in ZPL (ZeroMQ RFC 4): a tree of names and values, parsed from text or copied from a `zconfig_t`.
//!
//! The grammar is that of CZMQ's `zconfig_load`. The programs do not use `zconfig_load`, because it prints syntax
//! errors on standard output. A path `a/b/c` may be written in nested sections, as one name with slashes (`a/b/c =
//! value`), or as a mixture of both. `zconfig_get` finds only nested sections.

/// A name, its value, and the items that are indented below it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The name; empty for the root.
    pub name: Vec<u8>,
    /// The value; empty for a section.
    pub value: Vec<u8>,
    /// The items below it, in the order of the text.
    pub children: Vec<Item>,
}

/// A line that is not ZPL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct SyntaxError {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// A path that is almost a key. The value at this path would be ignored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} is not a key; write {key}")]
pub struct Misspelled {
    /// The path in the configuration.
    pub path: String,
    /// The key that it resembles.
    pub key: String,
}

/// Spaces of indentation for each level.
const INDENT: usize = 4;

impl Item {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// The first line that is not ZPL.
    pub fn parse(text: &[u8]) -> Result<Item, SyntaxError> {
        let mut root = Item::default();
        for (i, line) in text.split(|&octet| octet == b'\n').enumerate() {
            root.parse_line(line.trim_ascii_end()).map_err(|why| SyntaxError { line: i + 1, why })?;
        }
        Ok(root)
    }

    fn parse_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line.contains(&0) {
            return Err("it holds a NUL byte");
        }
        let spaces = line.iter().take_while(|&&octet| octet == b' ').count();
        let line = &line[spaces..];
        if spaces % INDENT != 0 {
            return Err("the indentation must be a multiple of 4 spaces");
        }
        let (name, rest) = line.split_at(line.iter().take_while(|octet| is_name(**octet)).count());
        if name.is_empty() {
            return expect_end(rest);
        }
        if name.starts_with(b"/") || name.ends_with(b"/") {
            return Err("a name must not begin or end with a slash");
        }
        let value = value(rest.trim_ascii_start())?;
        let Some(parent) = self.last_at(spaces / INDENT) else {
            return Err("it is indented more than one level below the line above it");
        };
        parent.children.push(Item { name: name.into(), value: value.into(), children: Vec::new() });
        Ok(())
    }

    /// The last item at a level; `None` when there is none.
    fn last_at(&mut self, level: usize) -> Option<&mut Item> {
        let mut item = self;
        for _ in 0..level {
            item = item.children.last_mut()?;
        }
        Some(item)
    }

    /// All values at a path. If `zconfig_get` finds a value, this value comes first. (`zconfig_get` looks only into the
    /// first nested section with each name.) The other values follow in the order of the text.
    pub fn values(&self, path: &str) -> Vec<&[u8]> {
        let path = path.as_bytes();
        let mut found = Vec::new();
        self.collect(path, &mut found);
        if let Some(nested) = self.nested(path)
            && let Some(at) = found.iter().position(|&item| std::ptr::eq(item, nested))
        {
            found[..=at].rotate_right(1);
        }
        found.into_iter().map(|item| item.value.as_slice()).collect()
    }

    /// The first path that is not a key but resembles one: it differs in upper and lower case, has empty names, or
    /// begins with `root`, CZMQ's name of the root.
    pub fn misspelled(&self, keys: &[String]) -> Option<Misspelled> {
        self.misspelled_below("", keys)
    }

    fn misspelled_below(&self, path: &str, keys: &[String]) -> Option<Misspelled> {
        self.children.iter().find_map(|child| {
            let name = String::from_utf8_lossy(&child.name);
            let path = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
            if !keys.contains(&path)
                && let Some(key) = keys.iter().find(|key| **key == normalized(&path))
            {
                return Some(Misspelled { path, key: key.clone() });
            }
            child.misspelled_below(&path, keys)
        })
    }

    fn nested(&self, path: &[u8]) -> Option<&Item> {
        path.split(|&octet| octet == b'/')
            .try_fold(self, |item, name| item.children.iter().find(|child| child.name == name))
    }

    fn collect<'a>(&'a self, path: &[u8], found: &mut Vec<&'a Item>) {
        for child in &self.children {
            match path.strip_prefix(child.name.as_slice()) {
                Some([]) => found.push(child),
                Some([b'/', rest @ ..]) => child.collect(rest, found),
                _ => {}
            }
        }
    }
}

/// A path in lower case, without empty names and the name of the root.
fn normalized(path: &str) -> String {
    let path = path.to_ascii_lowercase();
    let names = path.split('/').filter(|name| !name.is_empty());
    let names: Vec<&str> = names.collect();
    names.strip_prefix(&["root"]).unwrap_or(&names).join("/")
}

/// Whether a name may contain this character.
fn is_name(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"$-_@.&+/".contains(&octet)
}

/// Checks that nothing follows a name or a quoted value except a comment.
fn expect_end(rest: &[u8]) -> Result<(), &'static str> {
    match rest.trim_ascii_start() {
        [] | [b'#', ..] => Ok(()),
        _ => Err("it is neither a section, nor NAME = VALUE, nor a comment"),
    }
}

/// The value after a name.
fn value(rest: &[u8]) -> Result<&[u8], &'static str> {
    let Some(value) = rest.strip_prefix(b"=") else {
        return expect_end(rest).map(|()| &b""[..]);
    };
    match value.trim_ascii_start() {
        [quote @ (b'"' | b'\''), quoted @ ..] => {
            let end = quoted.iter().position(|octet| octet == quote).ok_or("the closing quote is missing")?;
            expect_end(&quoted[end + 1..]).map(|()| &quoted[..end])
        }
        // An unquoted value ends at a comment.
        value => Ok(value.split(|&octet| octet == b'#').next().unwrap_or_default().trim_ascii_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::czmq::Config;

    fn values(text: &str, path: &str) -> Vec<String> {
        let root = Item::parse(text.as_bytes()).expect("ZPL");
        root.values(path).into_iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn a_path_may_be_nested_or_flat_and_the_nested_value_comes_first() {
        for text in [
            "a\n    b\n        c = x",
            "a/b/c = x",
            "a/b\n    c = \"x\" # comment",
            "a\n    b/c='x'\r\n",
            "a\n    other = y\na\n    b\n        c = x",
        ] {
            assert_eq!(values(text, "a/b/c"), ["x"], "{text}");
        }
        assert_eq!(values("a/b = 1\na\n    b = 2\n    b = 3\na/b = 4", "a/b"), ["2", "1", "3", "4"]);
        assert_eq!(values("a/bc = 1\na/b/c = 2\na", "a/b"), [""; 0]);
        // A section alone has no value.
        assert_eq!(values("a/b", "a/b"), [""]);
    }

    #[test]
    fn a_path_that_resembles_a_key_is_reported() {
        let keys = ["store/db", "store/max_record_bytes"].map(str::to_owned);
        for (text, path) in [
            ("store//db = x", "store//db"),
            ("other = 1\nStore\n    verbose = 1\n    db = x", "Store/db"),
            ("store\n    DB = x", "store/DB"),
            ("root\n    store\n        db = x", "root/store/db"),
            ("Root/store/db = x", "Root/store/db"),
            ("store/db = x\nSTORE/max_record_bytes = 1", "STORE/max_record_bytes"),
        ] {
            let misspelled = Item::parse(text.as_bytes()).unwrap().misspelled(&keys);
            assert_eq!(misspelled.map(|misspelled| misspelled.path).as_deref(), Some(path), "{text}");
        }
        let text = "store\n    db = x\nstore/db = y\napplication\n    Store\n        db = z\nstored/db = 1\nroot = 1";
        assert_eq!(Item::parse(text.as_bytes()).unwrap().misspelled(&keys), None);
    }

    #[test]
    fn the_first_line_that_is_not_zpl_is_reported() {
        for (text, line) in [
            ("a\n  b = 1", 2),
            ("a\n\tb = 1", 2),
            ("\n\n    a = 1", 3),
            ("a\n        b = 1", 2),
            ("a = \"x", 1),
            ("a = \"x\" y", 1),
            ("a b", 1),
            ("/a = 1", 1),
            ("a/ = 1", 1),
            ("= 1", 1),
            ("a = \0", 1),
        ] {
            assert_eq!(Item::parse(text.as_bytes()).map_err(|error| error.line), Err(line), "{text:?}");
        }
    }

    /// Compares this parser with CZMQ's. The texts are random combinations of parts that matter to the grammar. It
    /// skips texts in which a comment directly follows an equals sign, because CZMQ uses the comment as the value.
    #[test]
    fn the_grammar_is_that_of_czmq() {
        const PARTS: [&str; 20] = [
            "    ", "    ", " ", "\t", "a", "b", "a/b", "/", "=", " = ", "\"", "'", "#", "x", "\u{e9}", "\n",
            "\n", "\n", "\r\n", "a = x",
        ];
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut random = fastrand::Rng::with_seed(1);
        let mut valid = 0;
        for _ in 0..5_000 {
            let text: String = (0..random.usize(..14)).map(|_| PARTS[random.usize(..PARTS.len())]).collect();
            let own = Item::parse(text.as_bytes());
            let is_odd = text.lines().any(|line| {
                line.split_once('=').is_some_and(|(_, value)| value.trim_start().starts_with('#'))
            });
            // CZMQ prints each error, so most invalid texts are skipped.
            if is_odd || own.is_err() && random.usize(..100) != 0 {
                continue;
            }
            std::fs::write(file.path(), &text).expect("a file");
            let theirs = Config::load(file.path().to_str().expect("UTF-8")).map(|config| config.tree());
            valid += u32::from(own.is_ok());
            assert_eq!(own.ok(), theirs, "{text:?}");
        }
        assert!(valid > 500, "{valid} texts are valid");
    }
}

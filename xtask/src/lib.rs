//! Generates the C header and the manual pages from the source. Both are committed.
//!
//! `cargo xtask header` and `cargo xtask man` write these files (`make header man`). The tests of this crate fail when
//! a committed file is stale.

pub mod header;
pub mod man;
pub mod markup;
pub mod reference;

use reference::Reference;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of the library's source.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask is in the library's folder").to_owned()
}

/// The version of the library.
pub(crate) fn version() -> String {
    let command = dafka::commands::towerd();
    command.get_version().expect("the programs have the library's version").to_owned()
}

/// A set of generated files.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// `include/dafka.h`
    Header,
    /// `doc/man/*.[137]`
    Man,
}

/// The texts of files. The key is the name of the file.
pub type Files = BTreeMap<String, String>;

impl Target {
    /// The folder that holds the files.
    pub fn folder(self) -> PathBuf {
        root().join(match self {
            Target::Header => "include",
            Target::Man => "doc/man",
        })
    }

    /// Whether a file in the folder belongs to this target.
    fn owns(self, name: &str) -> bool {
        match self {
            Target::Header => name == "dafka.h",
            Target::Man => true,
        }
    }

    /// Generates the files.
    pub fn generate(self) -> Files {
        let reference = Reference::read();
        match self {
            Target::Header => Files::from([("dafka.h".to_owned(), header::header(&reference))]),
            Target::Man => man::pages(&reference, &dafka::commands::all()),
        }
    }

    /// Reads the files of this target in a folder.
    pub fn read(self, folder: &Path) -> io::Result<Files> {
        let mut files = Files::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().into_string().expect("file names are UTF-8");
            if entry.file_type()?.is_file() && self.owns(&name) {
                files.insert(name, std::fs::read_to_string(entry.path())?);
            }
        }
        Ok(files)
    }

    /// Makes the files in a folder the same as `generated`.
    pub fn write(self, folder: &Path, generated: &Files) -> io::Result<()> {
        for name in stale(generated, &self.read(folder)?) {
            match generated.get(&name) {
                Some(text) => std::fs::write(folder.join(name), text)?,
                None => std::fs::remove_file(folder.join(name))?,
            }
        }
        Ok(())
    }
}

/// The names of files that differ, or that exist in only one of the two sets.
pub fn stale(generated: &Files, committed: &Files) -> Vec<String> {
    let mut names: Vec<&String> = generated.keys().chain(committed.keys()).collect();
    names.sort();
    names.dedup();
    names.into_iter().filter(|name| generated.get(*name) != committed.get(*name)).cloned().collect()
}

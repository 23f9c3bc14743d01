//! A tower on free ports, and perhaps a store. The store's database is in a folder that is removed at the end.

use crate::process::{Process, free_address, wait_until};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs, and their configuration.
pub(crate) struct Cluster {
    pub(crate) store: Option<Process>,
    _tower: Process,
    /// The address to which nodes send their beacons.
    pub(crate) tower_sub: String,
    config: PathBuf,
    /// Dropped after the programs.
    _dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn start(with_store: bool) -> Cluster {
        let dir = folder();
        let (sub, publ) = (format!("tcp://{}", free_address()), format!("tcp://{}", free_address()));
        let (config, db) = (dir.path().join("dafka.cfg"), dir.path().join("db"));
        let text = format!(
            "tower\n    sub_address = \"{sub}\"\n    pub_address = \"{publ}\"\nbeacon\n    sub_address = \"{sub}\"\n    \
             pub_address = \"{publ}\"\n    address = \"127.0.0.1\"\n    interval = 100\nstore\n    db = \"{}\"\n",
            db.display()
        );
        std::fs::write(&config, text).expect("the configuration can be written");
        let program = |path: &str| Process::start(Command::new(path).arg("-c").arg(&config));
        let tower = program(env!("CARGO_BIN_EXE_dafka_towerd"));
        wait_until("the tower", || std::net::TcpStream::connect(publ.trim_start_matches("tcp://")).is_ok());
        let store = with_store.then(|| program(env!("CARGO_BIN_EXE_dafka_stored")));
        if with_store {
            wait_until("the store", || db.join("data.mdb").exists());
        }
        Cluster { store, _tower: tower, tower_sub: sub, config, _dir: dir }
    }

    /// Starts a role that finds the tower.
    pub(crate) fn role(&self, name: &str, arguments: &[String]) -> Process {
        let config = format!("config={}", self.config.display());
        Process::role(name, &[arguments, &[config]].concat())
    }
}

/// A new folder for data, in `DAFKA_BENCH_DIR` or in the target folder. The folder is removed when the result is
/// dropped.
pub(crate) fn folder() -> tempfile::TempDir {
    let parent = std::env::var_os("DAFKA_BENCH_DIR").map_or_else(|| target_dir().join("tmp"), PathBuf::from);
    std::fs::create_dir_all(&parent).expect("the bench's folder can be made");
    tempfile::tempdir_in(parent).expect("the bench's folder is writable")
}

fn target_dir() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_dafka_towerd"));
    program.parent().and_then(Path::parent).expect("target/PROFILE/PROGRAM").to_owned()
}

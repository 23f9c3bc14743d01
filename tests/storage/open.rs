//! Opening a directory: the log refuses files of other programs, and leaves them as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dafka::storage::{Batch, Log, OpenError, list};

use crate::common::{append, dir, named, open, options};

fn refused(dir: &Path) -> OpenError {
    match Log::open(dir, options()) {
        Ok(_) => panic!("opened {}", dir.display()),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(&*dir.to_string_lossy()), "names the place: {text}");
            error
        }
    }
}

/// All files of a directory with their contents.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("listable").map(|entry| entry.expect("listable").path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).expect("there"))).collect()
}

/// Checks that opening is refused and changes nothing.
fn refused_untouched(dir: &Path) -> OpenError {
    let before = snapshot(dir);
    let error = refused(dir);
    assert!(snapshot(dir) == before, "files were changed, added or removed");
    error
}

#[test]
fn a_file_that_is_not_regular_is_refused_at_once_and_untouched() {
    let make = |path: &Path, kind: &str| {
        let done = match kind {
            "a FIFO" => std::process::Command::new("mkfifo")
                .arg(path)
                .status()
                .map(|status| assert!(status.success())),
            "a socket" => std::os::unix::net::UnixListener::bind(path).map(drop),
            "a directory" => fs::create_dir(path),
            _ => std::os::unix::fs::symlink("/dev/null", path),
        };
        done.expect(kind);
    };
    for name in ["data.mdb", "lock.mdb", "dafka.lock"] {
        for kind in ["a FIFO", "a socket", "a directory", "a device"] {
            for is_alone in [true, false] {
                let dir = dir();
                if !is_alone {
                    drop(open(dir.path()));
                    fs::remove_file(dir.path().join(name)).expect("there");
                }
                make(&dir.path().join(name), kind);
                let expected = format!("{name} is {kind}, not a regular file");
                for error in
                    [refused_untouched(dir.path()), list(dir.path()).expect_err("it cannot be listed")]
                {
                    assert!(error.to_string().contains(&expected), "{error}");
                }
                let count = fs::read_dir(dir.path()).expect("listable").count();
                assert_eq!(count, if is_alone { 1 } else { 3 });
            }
        }
    }
}

#[test]
fn a_dangling_link_is_reported_with_its_name() {
    let dir = dir();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("/nowhere/disk", &link).expect("a link");
    let data = dir.path().join("store");
    fs::create_dir(&data).expect("a directory");
    std::os::unix::fs::symlink(link.join("data.mdb"), data.join("data.mdb")).expect("a link");
    for (path, named, target) in [
        (link.clone(), link.clone(), "/nowhere/disk"),
        (link.join("store/db"), link.clone(), "/nowhere/disk"),
        // A new database in place of the link would hide the target of the link.
        (data.clone(), data.join("data.mdb"), "link/data.mdb"),
    ] {
        let error = Log::open(&path, options()).expect_err("it cannot be opened");
        for error in [error, list(&path).expect_err("it cannot be listed")] {
            let text = error.to_string();
            assert!(matches!(error, OpenError::DanglingLink { .. }), "{text}");
            assert!(text.contains(&format!("{} is a symbolic link to", named.display())), "{text}");
            assert!(text.contains(&format!("{target}, which does not exist")), "{text}");
        }
    }
    assert_eq!(fs::read_dir(dir.path()).expect("listable").count(), 2);
}

#[test]
fn a_copy_of_the_lock_in_a_starting_process_does_not_lock_the_directory() {
    let dir = dir();
    let log = open(dir.path());
    let real = dir.path().canonicalize().expect("there");
    // Between fork and exec, a child process has copies of all open files.
    let is_lock = |file: &PathBuf| fs::read_link(file).is_ok_and(|path| path == real.join("dafka.lock"));
    let mut files =
        fs::read_dir("/proc/self/fd").expect("listable").map(|entry| entry.expect("listable").path());
    let lock = files.find(is_lock).expect("the lock is open");
    let number = lock.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number");
    // SAFETY: the number is that of an open file of this process.
    let copy = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }.try_clone_to_owned().expect("a copy");
    drop(log);
    open(dir.path());
    drop(copy);
}

#[test]
fn a_directory_with_other_files_is_refused_untouched() {
    for name in ["notes.txt", "data.mdb.bak", "CURRENT.old", "subdirectory/file"] {
        let dir = dir();
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("create");
        fs::write(&path, b"mine").expect("write");
        let error = refused_untouched(dir.path());
        let entry = name.split('/').next().expect("a name");
        assert!(matches!(&error, OpenError::ForeignDirectory { entry: e, .. } if e == entry), "{error}");
    }
}

#[test]
fn a_directory_with_hidden_files_or_the_root_of_a_file_system_is_fine() {
    let dir = dir();
    fs::write(dir.path().join(".hidden"), b"").expect("write");
    fs::create_dir(dir.path().join("lost+found")).expect("create");
    // A power failure while a database is created leaves this file.
    fs::write(dir.path().join(".dafka-new.mdb"), b"half").expect("write");
    drop(open(dir.path()));
    assert!(!dir.path().join(".dafka-new.mdb").exists());
    open(dir.path());
}

#[test]
fn a_database_that_is_not_lmdb_is_refused_untouched() {
    let whole = {
        let dir = dir();
        drop(open(dir.path()));
        fs::read(dir.path().join("data.mdb")).expect("there")
    };
    let zero_page_len = {
        let mut octets = whole.clone();
        octets[16 + 24..16 + 28].fill(0);
        octets
    };
    let wrong_version = {
        let mut octets = whole.clone();
        octets[20] ^= 2;
        octets
    };
    let random: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for garbage in [
        vec![],
        b"x".to_vec(),
        vec![0; 8192],
        random,
        whole[..100].to_vec(),
        whole[..4096].to_vec(),
        zero_page_len,
        wrong_version,
    ] {
        for lock_file in [false, true] {
            let dir = dir();
            fs::write(dir.path().join("data.mdb"), &garbage).expect("write");
            if lock_file {
                fs::write(dir.path().join("dafka.lock"), b"").expect("write");
            }
            let error = refused_untouched(dir.path());
            assert!(matches!(error, OpenError::NotAStore { .. }), "{error}");
            assert!(error.to_string().contains("data.mdb"), "{error}");
        }
    }
}

/// Fills a database of another program.
type Fill = &'static dyn Fn(&lmdb::Environment) -> lmdb::Result<()>;

/// Makes an LMDB database of another program.
fn foreign_lmdb(dir: &Path, fill: impl FnOnce(&lmdb::Environment) -> lmdb::Result<()>) {
    let env = lmdb::Environment::new().set_max_dbs(4).open(dir).expect("open");
    fill(&env).expect("fill");
}

#[test]
fn the_lmdb_database_of_something_else_is_refused_untouched() {
    use lmdb::{DatabaseFlags, Transaction, WriteFlags};
    fn put(env: &lmdb::Environment, table: Option<&str>, key: &str, value: &[u8]) -> lmdb::Result<()> {
        let db = env.create_db(table, DatabaseFlags::empty())?;
        let mut txn = env.begin_rw_txn()?;
        txn.put(db, &key, &value, WriteFlags::empty())?;
        txn.commit()
    }
    let fills: [Fill; 6] = [
        &|_| Ok(()),
        &|env| put(env, None, "some", b"thing"),
        &|env| put(env, None, "meta", b"not a table"),
        &|env| put(env, Some("meta"), "magic", b"another store"),
        &|env| put(env, Some("meta"), "magic", b"dafka store"), // No format.
        &|env| {
            put(env, Some("meta"), "magic", b"dafka store")?;
            put(env, Some("meta"), "format", &0u32.to_be_bytes())
        },
    ];
    for fill in fills {
        let dir = dir();
        foreign_lmdb(dir.path(), fill);
        let error = refused_untouched(dir.path());
        assert!(matches!(error, OpenError::NotAStore { .. }), "{error}");
    }
}

#[test]
fn a_newer_format_is_refused_untouched() {
    use lmdb::{Transaction, WriteFlags};
    let dir = dir();
    drop(open(dir.path()));
    foreign_lmdb(dir.path(), |env| {
        let meta = env.open_db(Some("meta"))?;
        let mut txn = env.begin_rw_txn()?;
        txn.put(meta, &"format", &3u32.to_be_bytes(), WriteFlags::empty())?;
        txn.commit()
    });
    let error = refused_untouched(dir.path());
    assert!(matches!(error, OpenError::NewerFormat { found: 3, supported: 2, .. }), "{error}");
    assert!(error.to_string().contains("data.mdb"), "{error}");
}

#[test]
fn a_copy_without_a_lock_file_gets_another_name_and_one_with_it_keeps_it() {
    let [original, copy, twin] = [dir(), dir(), dir()];
    let name = |dir: &Path, fresh: &[u8]| open(dir).identity(fresh).expect("a name");
    assert_eq!(name(original.path(), b"first"), b"first");
    assert_eq!(name(original.path(), b"later"), b"first");
    for to in [&copy, &twin] {
        fs::copy(original.path().join("data.mdb"), to.path().join("data.mdb")).expect("copy");
    }
    fs::copy(original.path().join("dafka.lock"), twin.path().join("dafka.lock")).expect("copy");
    assert_eq!(name(twin.path(), b"another"), b"first");
    let log = open(copy.path());
    assert_eq!(log.identity(b"second").expect("a name"), b"second");
    assert_eq!(log.identity(b"third").expect("a name"), b"second");
    drop(log);
    // Now the copy has a lock file, and keeps its name.
    assert_eq!(name(copy.path(), b"fourth"), b"second");
    assert_eq!(name(original.path(), b"later"), b"first");
}

#[test]
fn a_list_changes_nothing() {
    let dir = dir();
    let path = dir.path();
    assert!(matches!(list(&path.join("none")), Err(OpenError::Io { .. })));
    fs::write(path.join("file"), "x").expect("written");
    assert!(matches!(list(&path.join("file")), Err(OpenError::NotADirectory { .. })));
    assert!(matches!(list(path), Err(OpenError::ForeignDirectory { .. })));
    fs::remove_file(path.join("file")).expect("removed");
    // An empty directory has no store, and stays empty.
    assert!(matches!(list(path), Err(OpenError::Io { .. })));
    assert!(snapshot(path).is_empty());

    let log = open(path);
    append(&log, named(b"z", b"A"), 0, &vec![b"x".to_vec(); 3]).expect("appended");
    append(&log, named(b"long", b"B"), 0, &vec![b"x".to_vec(); 2]).expect("appended");
    append(&log, named(b"long", b"A"), 0, &vec![b"x".to_vec(); 1]).expect("appended");
    drop(log);
    // With LMDB's table of readers, and without it, as in a copy of the database.
    for _ in 0..2 {
        let before = snapshot(path);
        let listed = list(path).expect("a list");
        let listed: Vec<_> = listed.iter().map(|it| (&*it.topic, &*it.producer, it.first, it.next)).collect();
        let expected: [(&[u8], &[u8], u64, u64); 3] =
            [(b"long", b"A", 0, 1), (b"long", b"B", 0, 2), (b"z", b"A", 0, 3)];
        assert_eq!(listed, expected);
        let after = snapshot(path);
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "no other files");
        assert!(after[&path.join("data.mdb")] == before[&path.join("data.mdb")]);
        let _ = fs::remove_file(path.join("lock.mdb"));
    }
    fs::write(path.join("data.mdb"), "no database").expect("written");
    assert!(matches!(list(path), Err(OpenError::NotAStore { .. })));
    fs::write(path.join("CURRENT"), "MANIFEST-000001\n").expect("written");
    assert!(matches!(list(path), Err(OpenError::LevelDb { .. })));
}

#[test]
fn all_of_many_partitions_are_listed() {
    // Few entries with names of this length fill a page, so the tree has many levels.
    let (dir, topic) = (dir(), [b't'; 255]);
    let address = |i: u64| [&i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[..], &[b'a'; 192]].concat();
    let log = open(dir.path());
    for batch in 0..4 {
        let mut appended = Batch::new();
        for i in batch * 1_000..(batch + 1) * 1_000 {
            let run = appended.run(named(&topic, &address(i)), 0);
            appended.push_to(run, b"x");
        }
        log.append(&appended).expect("appended");
    }
    let listed: BTreeSet<_> = list(dir.path()).expect("a list").into_iter().map(|it| it.producer).collect();
    assert_eq!(listed.len(), 4_000);
    assert!((0..4_000).all(|i| listed.contains(&*address(i))));
}

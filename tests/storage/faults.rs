//! Faults of the disk: damage, a full disk, failing writes, and the end of the process during an append. The log must
//! not crash, must not lose appended records, and must work afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, setrlimit};

use dafka::storage::{AppendError, Log, OpenError, ReadError};

use crate::common::{P, append, content, dir, given_dir, in_a_process, open, options, read, read_from};

/// Makes a log of three appends of `marks` records, with a mark in each record.
fn marked_log(dir: &Path, marks: u64) {
    for first in (0..3 * marks).step_by(marks as usize) {
        let contents: Vec<_> =
            (first..first + marks).map(|offset| format!("<<mark {offset:05}>>{}", "x".repeat(200))).collect();
        let contents: Vec<_> = contents.into_iter().map(String::into_bytes).collect();
        // A log does not merge batches with those of before its start.
        append(&open(dir), P, first, &contents).expect("append");
    }
}

/// Changes one byte of each occurrence of `needle` in the database file.
fn damage(dir: &Path, needle: &[u8]) {
    let path = dir.join("data.mdb");
    let mut octets = fs::read(&path).expect("there");
    let places: Vec<usize> =
        octets.windows(needle.len()).enumerate().filter(|(_, w)| *w == needle).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the mark is in the file");
    places.into_iter().for_each(|at| octets[at + 2] ^= 1);
    fs::write(path, octets).expect("write");
}

fn corrupt(result: Result<Vec<(u64, Vec<u8>)>, ReadError>) -> Box<dafka::storage::Corruption> {
    match result {
        Err(ReadError::Corrupt(corruption)) => corruption,
        other => panic!("not noticed: {other:?}"),
    }
}

#[test]
fn a_flipped_bit_is_reported_with_its_record_and_other_records_are_read() {
    // Two records make a batch that shares a page, 100 make one with its own pages.
    for marks in [2, 100] {
        let dir = dir();
        marked_log(dir.path(), marks);
        damage(dir.path(), format!("<<mark {:05}>>", marks + 1).as_bytes());
        let log = open(dir.path());
        assert_eq!(read(&log, P, 0, marks, usize::MAX).expect("sound").len() as u64, marks);
        assert_eq!(read(&log, P, 2 * marks, marks, usize::MAX).expect("sound").len() as u64, marks);
        for from in [0, marks, 2 * marks - 1] {
            let corruption = corrupt(read(&log, P, from, u64::MAX, usize::MAX));
            assert_eq!(corruption.offset, from.max(marks));
            let text = corruption.to_string();
            for word in ["data.mdb", "hello", "A", &format!("record {}", corruption.offset), "checksum"] {
                assert!(text.contains(word), "{text}");
            }
        }
        append(&log, P, 3 * marks, &[vec![1]]).expect("the log goes on");
    }
}

#[test]
fn a_missing_batch_is_reported() {
    use lmdb::Transaction;
    for (missing, reads) in [(0u64, [0, 10]), (20, [0, 25]), (40, [0, 59])] {
        let dir = dir();
        marked_log(dir.path(), 20);
        {
            let env = lmdb::Environment::new().set_max_dbs(4).open(dir.path()).expect("open");
            let records = env.open_db(Some("records")).expect("there");
            let mut txn = env.begin_rw_txn().expect("begin");
            let key = [0u64.to_be_bytes(), missing.to_be_bytes()].concat();
            txn.del(records, &key, None).expect("there");
            txn.commit().expect("commit");
        }
        let log = open(dir.path());
        for from in reads {
            let corruption = corrupt(read(&log, P, from, u64::MAX, usize::MAX));
            assert_eq!(corruption.offset, from.max(missing));
            assert_eq!(corruption.reason, "the record is missing");
        }
    }
}

#[test]
fn a_database_that_was_cut_off_never_kills_the_process() {
    let whole = dir();
    marked_log(whole.path(), 300);
    let octets = fs::read(whole.path().join("data.mdb")).expect("there");
    for pages in 0..octets.len() / 4096 {
        for len in [pages * 4096, pages * 4096 + 77] {
            let dir = dir();
            fs::write(dir.path().join("dafka.lock"), b"").expect("write");
            fs::write(dir.path().join("data.mdb"), &octets[..len]).expect("write");
            // The log may refuse the file or the read. It must not crash or return a wrong record.
            let Ok(log) = Log::open(dir.path(), options()) else { continue };
            if let Ok(got) = read(&log, P, 0, u64::MAX, usize::MAX) {
                got.iter().for_each(|(o, c)| assert!(c.starts_with(format!("<<mark {o:05}>>").as_bytes())));
            }
            let _ = log.partitions();
        }
    }
    // Without a lock file the database may belong to another program, so it stays as it is.
    let dir = dir();
    let cut = &octets[..octets.len() - 4096];
    fs::write(dir.path().join("data.mdb"), cut).expect("write");
    let error = Log::open(dir.path(), options()).expect_err("cut off");
    assert!(matches!(error, OpenError::NotAStore { .. }) && error.to_string().contains("shorter"), "{error}");
    assert!(fs::read(dir.path().join("data.mdb")).expect("there") == cut);
}

/// Replaces one of LMDB's open files by `/dev/full`, to which every write fails: the file for the header pages
/// (`meta`), or the one for all other pages. This lasts until the log opens its database again.
fn fill(data: &Path, meta: bool) {
    let path = fs::canonicalize(data).expect("there");
    let found = fs::read_dir("/proc/self/fd").expect("listable").find_map(|entry| {
        let entry = entry.expect("listable").path();
        let fd: i32 = entry.file_name()?.to_str()?.parse().ok()?;
        // SAFETY: asks for the flags of a file of this process, changing nothing.
        let access = unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_ACCMODE;
        let wanted = if meta { libc::O_WRONLY } else { libc::O_RDWR };
        (fs::read_link(&entry).ok()? == path && access == wanted).then_some(fd)
    });
    let lmdb = found.expect("LMDB holds the file open");
    let full = OpenOptions::new().read(true).write(true).open("/dev/full").expect("there");
    // SAFETY: both are open files of this process, and LMDB's number stays open all the time.
    assert_eq!(unsafe { libc::dup2(full.as_raw_fd(), lmdb) }, lmdb);
}

#[test]
fn a_failed_write_appends_nothing_and_the_log_still_works() {
    let dir = dir();
    let log = open(dir.path());
    append(&log, P, 0, &[content(0, 100)]).expect("append");
    fill(&dir.path().join("data.mdb"), false);
    let error = append(&log, P, 1, &[content(1, 100_000)]).expect_err("nothing can be written");
    assert!(matches!(&error, AppendError::Io { source, .. } if source.raw_os_error() == Some(libc::ENOSPC)));
    assert!(error.to_string().contains("data.mdb"), "{error}");
    assert_eq!(read_from(&log, P, 0), [content(0, 100)]);
    append(&log, P, 1, &[content(1, 100_000)]).expect("the disk has room again");
    drop(log);
    assert!(read_from(&open(dir.path()), P, 0) == [content(0, 100), content(1, 100_000)]);
}

#[test]
fn a_failed_write_of_the_header_does_not_leave_the_log_unusable() {
    let dir = dir();
    let log = open(dir.path());
    append(&log, P, 0, &[content(0, 100)]).expect("append");
    fill(&dir.path().join("data.mdb"), true);
    let error = append(&log, P, 1, &[content(1, 100)]).expect_err("no header can be written");
    assert!(matches!(&error, AppendError::Io { .. }), "{error}");
    assert_eq!(read_from(&log, P, 0), [content(0, 100)]);
    append(&log, P, 1, &[content(1, 100)]).expect("it was opened anew");
    assert_eq!(read_from(&log, P, 0), [content(0, 100), content(1, 100)]);
}

/// Mounts a small file system; false where that is not permitted.
fn mount_tmpfs(dir: &Path, len: &str) -> bool {
    let args = ["-t", "tmpfs", "-o", len, "tmpfs"];
    let done = Command::new("mount").args(args).arg(dir).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

#[test]
fn a_full_file_system_is_reported_as_full() {
    let dir = dir();
    if !mount_tmpfs(dir.path(), "size=3m") {
        eprintln!("skipped: mounting a small file system is not permitted here");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let log = open(dir.path());
        append(&log, P, 0, &[content(0, 100_000)]).expect("append");
        let filler = dir.path().join(".filler");
        fs::write(&filler, vec![1; 2_000_000]).expect("write");
        for len in [2_000_000, 10_000_000] {
            let error = append(&log, P, 1, &[content(1, len)]).expect_err("no room");
            let told = matches!(&error, AppendError::Io { source, .. }
                if source.raw_os_error() == Some(libc::ENOSPC));
            assert!(told, "{error}");
        }
        fs::remove_file(filler).expect("there");
        append(&log, P, 1, &[content(1, 2_000_000)]).expect("there is room again");
        assert!(read_from(&log, P, 0) == [content(0, 100_000), content(1, 2_000_000)]);
    });
    // Lazily, because a process that another test starts may hold our files between fork and exec.
    let unmounted = Command::new("umount").arg("--lazy").arg(dir.path()).status();
    assert!(result.is_ok() && unmounted.is_ok_and(|status| status.success()));
}

#[test]
fn appended_records_survive_a_kill() {
    let dir = dir();
    let mut next = 0u64;
    for round in 0..6u64 {
        let mut child = in_a_process("faults::child_appends_until_killed", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut acknowledged = 0;
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.split_whitespace().rev().nth(1).filter(|_| line.ends_with("appended"))
            {
                acknowledged = number.parse().expect("a number");
            }
            if acknowledged >= next + 40 + round * 13 {
                break;
            }
        }
        child.kill().expect("running");
        child.wait().expect("ended");
        let log = open(dir.path());
        let found = log.find(P).expect("readable").expect("there").next;
        assert!(found >= acknowledged, "{found} of {acknowledged} are left");
        let got = read_from(&log, P, 0);
        assert!(got.len() as u64 == found);
        assert!(got.iter().zip(0..).all(|(c, o)| *c == content(o, (o % 5 * 3000) as usize)));
        next = found;
    }
}

#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn child_appends_until_killed() {
    let Some(dir) = given_dir() else { return };
    let log = open(&dir);
    let mut next = log.find(P).expect("readable").map_or(0, |partition| partition.next);
    let mut out = std::io::stdout();
    loop {
        let contents: Vec<_> = (next..next + 7).map(|o| content(o, (o % 5 * 3000) as usize)).collect();
        append(&log, P, next, &contents).expect("append");
        next += 7;
        writeln!(out, "{next} appended").expect("write");
    }
}

#[test]
fn an_append_fails_when_its_map_does_not_fit_the_address_space() {
    let dir = dir();
    let status = in_a_process("faults::child_has_little_address_space", dir.path()).status().expect("runs");
    assert!(status.success());
}

#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn child_has_little_address_space() {
    let Some(dir) = given_dir() else { return };
    let log = open(&dir);
    append(&log, P, 0, &[content(0, 1000)]).expect("append");
    let big = vec![content(1, 40 << 20)];
    let mut status = String::new();
    File::open("/proc/self/status").and_then(|mut file| file.read_to_string(&mut status)).expect("readable");
    let used_kb: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?.parse().ok())
        .expect("there");
    let limit_to = |current| setrlimit(Resource::As, Rlimit { current, maximum: None }).expect("a limit");
    // This is enough address space for the record, but not for the map that the record needs.
    limit_to(Some(used_kb * 1024 + (60 << 20)));
    for _ in 0..3 {
        let error = append(&log, P, 1, &big).expect_err("no room for the map");
        assert!(matches!(&error, AppendError::MapLimit { .. }), "{error}");
        assert!(read_from(&log, P, 0) == [content(0, 1000)]);
    }
    limit_to(None);
    append(&log, P, 1, &big).expect("there is room again");
}

#[test]
fn garbage_in_the_pages_of_a_tree_is_an_error() {
    // The two header pages come first. Among the others are the roots of the tables. A page of zeros is not a tree
    // page.
    let whole = dir();
    marked_log(whole.path(), 2);
    let pages = fs::metadata(whole.path().join("data.mdb")).expect("there").len() / 4096;
    for page in 2..pages {
        let dir = dir();
        for name in ["data.mdb", "dafka.lock"] {
            fs::copy(whole.path().join(name), dir.path().join(name)).expect("copy");
        }
        let mut file = OpenOptions::new().write(true).open(dir.path().join("data.mdb")).expect("there");
        file.seek(SeekFrom::Start(page * 4096)).expect("seek");
        file.write_all(&[0; 4096]).expect("write");
        drop(file);
        if let Ok(log) = Log::open(dir.path(), options()) {
            let _ = (log.partitions(), read(&log, P, 0, u64::MAX, usize::MAX));
            let _ = append(&log, P, 6, &[vec![1]]);
        }
    }
}

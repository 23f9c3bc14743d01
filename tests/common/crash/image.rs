//! The simulated power cut: computes the states in which a power failure may leave the disk of a store that runs with
//! `powercut.c`.

use super::Rng;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The length of a sector in bytes. A disk writes each sector as a whole or not at all.
const SECTOR_LEN: usize = 512;

/// Which operations fail, and how. `powercut.c` implements this.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// Writes fail without effect.
    Write,
    /// Writes fail after half of the data.
    HalfWrite,
    /// Synchronizations fail.
    Sync,
    /// The write of a header page fails: the new page is in the page cache, and not on the disk. The next write, with
    /// which LMDB would undo the failed one, fails too.
    Header,
    /// All of these operations fail.
    All,
}

/// The file that makes the disk of a running store fail.
pub(crate) struct Control {
    file: fs::File,
}

impl Control {
    /// Makes operations fail from now on: `count` times, or until [`Control::heal`].
    pub(crate) fn fail(&self, fault: Fault, errno: i32, count: Option<u8>) {
        let (operations, how) = match fault {
            Fault::Write => (1, 0),
            Fault::HalfWrite => (1, 2),
            Fault::Sync => (4, 0),
            Fault::Header => (2, 1),
            Fault::All => (7, 0),
        };
        let octets = [operations, u8::try_from(errno).expect("small"), how, count.unwrap_or(255)];
        self.file.write_all_at(&octets, 0).expect("written");
    }

    pub(crate) fn heal(&self) {
        self.file.write_all_at(&[0; 4], 0).expect("written");
    }

    /// The number of operations that have failed so far.
    pub(crate) fn failed(&self) -> u32 {
        let mut octets = [0; 4];
        self.file.read_exact_at(&mut octets, 8).expect("there");
        u32::from_ne_bytes(octets)
    }

    /// Makes one operation fail, and waits until it has failed.
    #[track_caller]
    pub(crate) fn fail_once(&self, fault: Fault, errno: i32) {
        let before = self.failed();
        self.fail(fault, errno, Some(1));
        crate::e2e::wait_until("an operation fails", || self.failed() != before);
    }
}

/// A store's directory whose power can be cut.
pub(crate) struct PowerCut {
    dir: PathBuf,
    journal: PathBuf,
    control_path: PathBuf,
    pub(crate) control: Control,
    /// The state of the disk when the journal began.
    before: Disk,
}

/// The files of a directory: the content of each inode, and the inode of each name.
#[derive(Clone, Default)]
struct Disk {
    contents: BTreeMap<u64, Vec<u8>>,
    names: BTreeMap<String, u64>,
}

/// A change that may be on the disk or not.
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Truncate { len: usize },
    Create { name: String },
    Rename { from: String, to: String },
    Unlink { name: String },
}

struct Pending {
    inode: u64,
    change: Change,
    is_durable: bool,
    /// After an error, the system treats the change as written, so no later synchronization writes it.
    is_forgotten: bool,
}

/// The library to preload, compiled once per test program.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("powercut-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/crash/powercut.c");
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "gcc".into()));
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]);
        let status = compiler.arg(&library).arg(source).status().expect("a C compiler");
        assert!(status.success(), "powercut.c does not compile");
        library
    })
}

impl PowerCut {
    /// An empty disk. Creates `dir`.
    pub(crate) fn new(dir: &Path) -> PowerCut {
        fs::create_dir(dir).expect("a new directory");
        let (journal, control_path) = (dir.with_extension("journal"), dir.with_extension("control"));
        fs::write(&control_path, [0; 16]).expect("written");
        let file = fs::File::options().read(true).write(true).open(&control_path).expect("there");
        let mut cut = PowerCut {
            dir: dir.into(),
            journal,
            control_path,
            control: Control { file },
            before: Disk::default(),
        };
        cut.begin();
        cut
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The environment variables for a store on this disk. No store may be running on the disk now.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 4] {
        self.trim();
        [
            ("LD_PRELOAD", library()),
            ("POWERCUT_DIR", &self.dir),
            ("POWERCUT_JOURNAL", &self.journal),
            ("POWERCUT_CONTROL", &self.control_path),
        ]
    }

    /// Removes an incomplete last entry that a killed store may have left in the journal, because the next store
    /// appends to the journal.
    fn trim(&self) {
        let octets = fs::read(&self.journal).expect("there");
        let mut journal = Journal(&octets);
        while journal.next().is_some() {}
        let len = octets.len() - journal.0.len();
        let file = fs::File::options().write(true).open(&self.journal).expect("there");
        file.set_len(len as u64).expect("cut off");
    }

    /// Starts a new journal. The present content of the directory counts as durable.
    fn begin(&mut self) {
        self.control.heal();
        fs::write(&self.journal, b"").expect("written");
        self.before = Disk::default();
        for entry in fs::read_dir(&self.dir).expect("listable") {
            let entry = entry.expect("listable");
            let inode = entry.metadata().expect("there").ino();
            self.before.names.insert(entry.file_name().into_string().expect("UTF-8"), inode);
            self.before.contents.insert(inode, fs::read(entry.path()).expect("readable"));
        }
    }

    /// A state that the disk may have after a power cut at the end of the journal.
    fn image(&self, random: &mut Rng) -> Disk {
        let mut disk = self.before.clone();
        let dir_inode = fs::metadata(&self.dir).expect("there").ino();
        let mut pending: Vec<Pending> = Vec::new();
        for (kind, inode, number, data) in Journal(&fs::read(&self.journal).expect("there")) {
            let text = || String::from_utf8(data.to_vec()).expect("UTF-8");
            let change = match kind {
                b'W' => Some(Change::Write { offset: number as usize, data: data.to_vec() }),
                b'T' => Some(Change::Truncate { len: number as usize }),
                b'C' => {
                    // The system may reuse an inode number. The new file contains nothing of the old file.
                    pending.retain(|it| it.inode != inode || it.is_entry());
                    disk.contents.insert(inode, Vec::new());
                    Some(Change::Create { name: text() })
                }
                b'R' => {
                    let text = text();
                    let (from, to) = text.split_once('\n').expect("two names");
                    Some(Change::Rename { from: from.into(), to: to.into() })
                }
                b'U' => Some(Change::Unlink { name: text() }),
                b'S' if inode == dir_inode => {
                    pending.iter_mut().filter(|it| it.is_entry()).for_each(|it| it.is_durable = true);
                    None
                }
                b'S' => {
                    let of_file = pending.iter_mut().filter(|it| it.inode == inode);
                    // On all file systems that matter, the synchronization of a new file also writes its directory
                    // entry.
                    of_file
                        .filter(|it| !it.is_forgotten)
                        .for_each(|it| it.is_durable |= it.is_content_or_new());
                    None
                }
                b'L' => {
                    let lost = pending.iter_mut().filter(|it| it.inode == inode && !it.is_durable);
                    lost.for_each(|it| it.is_forgotten = true);
                    None
                }
                other => panic!("the journal says {other}"),
            };
            pending.extend(change.map(|change| Pending {
                inode,
                change,
                is_durable: false,
                is_forgotten: false,
            }));
            // Apply the durable changes before the first change that is not durable.
            let done = pending.iter().take_while(|it| it.is_durable).count();
            pending.drain(..done).for_each(|it| disk.apply(it.inode, it.change));
        }
        // None, some, or all of the changes that are not durable may be on the disk.
        let likely_percent = [0, 10, 50, 90, 100][random.u64(..5) as usize];
        for Pending { inode, change, is_durable, .. } in pending {
            match change {
                change if is_durable => disk.apply(inode, change),
                Change::Write { offset, data } if random.u64(..100) >= likely_percent => {
                    if random.u64(..100) < 40 {
                        disk.tear(random, inode, offset, &data);
                    }
                }
                change => {
                    if random.u64(..100) < likely_percent || matches!(change, Change::Write { .. }) {
                        disk.apply(inode, change);
                    }
                }
            }
        }
        disk
    }

    /// Writes to another directory a state that the disk may have after a power cut at this moment. The store must have
    /// been killed.
    pub(crate) fn write_image(&self, dir: &Path, random: &mut Rng) {
        fs::create_dir(dir).expect("a new directory");
        self.image(random).write(dir, random);
    }

    /// Replaces the content of the store's own directory by a state that the disk may have after a power cut at this
    /// moment. The next store continues in this directory.
    pub(crate) fn cut(&mut self, random: &mut Rng) {
        let image = self.image(random);
        for entry in fs::read_dir(&self.dir).expect("listable") {
            fs::remove_file(entry.expect("listable").path()).expect("removed");
        }
        image.write(&self.dir, random);
        self.begin();
    }
}

impl Pending {
    fn is_entry(&self) -> bool {
        matches!(self.change, Change::Create { .. } | Change::Rename { .. } | Change::Unlink { .. })
    }

    fn is_content_or_new(&self) -> bool {
        !matches!(self.change, Change::Rename { .. } | Change::Unlink { .. })
    }
}

impl Disk {
    fn content(&mut self, inode: u64) -> &mut Vec<u8> {
        self.contents.entry(inode).or_default()
    }

    fn apply(&mut self, inode: u64, change: Change) {
        match change {
            Change::Write { offset, data } => self.put(inode, offset, &data),
            Change::Truncate { len } => self.content(inode).resize(len, 0),
            Change::Create { name } => {
                self.names.insert(name, inode);
            }
            Change::Rename { from, to } => {
                self.names.remove(&from);
                self.names.insert(to, inode);
            }
            Change::Unlink { name } => {
                self.names.remove(&name);
            }
        }
    }

    fn put(&mut self, inode: u64, offset: usize, data: &[u8]) {
        let content = self.content(inode);
        let end = offset + data.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset..end].copy_from_slice(data);
    }

    /// Writes some sectors of the data: the first ones, or random ones.
    fn tear(&mut self, random: &mut Rng, inode: u64, offset: usize, data: &[u8]) {
        let is_prefix = random.u64(..100) < 50;
        let mut left = random.u64(..(data.len().div_ceil(SECTOR_LEN) as u64 + 1));
        let mut at = 0;
        while at < data.len() {
            let end = ((offset + at) / SECTOR_LEN + 1) * SECTOR_LEN - offset;
            let end = end.min(data.len());
            if if is_prefix { left > 0 } else { random.u64(..100) < 50 } {
                self.put(inode, offset + at, &data[at..end]);
            }
            left = left.saturating_sub(1);
            at = end;
        }
    }

    fn write(&self, dir: &Path, random: &mut Rng) {
        for (name, inode) in self.names.iter().filter(|(name, _)| *name != "lock.mdb") {
            fs::write(dir.join(name), &self.contents[inode]).expect("written");
        }
        // After a power cut, LMDB does not need its table of readers. The table may be missing, or contain anything.
        if random.u64(..100) < 70 {
            let len = random.u64(..20_000);
            let octets: Vec<u8> = (0..len).map(|_| random.u64(..) as u8).collect();
            fs::write(dir.join("lock.mdb"), octets).expect("written");
        }
    }
}

/// The entries of a journal. An incomplete last entry does not count.
struct Journal<'a>(&'a [u8]);

impl<'a> Iterator for Journal<'a> {
    type Item = (u8, u64, u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.0.split_at_checked(32)?;
        let number = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().expect("8 octets"));
        let (data, rest) = rest.split_at_checked(usize::try_from(number(24)).expect("short"))?;
        self.0 = rest;
        Some((head[0], number(8), number(16), data))
    }
}

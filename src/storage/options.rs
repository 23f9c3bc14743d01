//! Options for opening a log.

/// The default permissions of files: only the user who runs the store may read and write them.
pub const FILE_MODE: u32 = 0o600;

/// Options for opening a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// True: an append returns when the data is on disk. False: it returns when the operating system has the data. In
    /// this case, the data survives the end of the process, but a power loss may make the whole database unusable.
    pub sync: bool,
    /// The initial length of the memory map. The map is longer if the database is long, and grows when necessary. It
    /// takes address space, not memory.
    pub initial_map_len_bytes: usize,
    /// The greatest length of the map, and so of the database.
    pub max_map_len_bytes: usize,
    /// The permissions of new files, reduced by the umask of the process. If the directory is created, users who may
    /// read the files may also enter the directory.
    pub file_mode: u32,
}

impl Default for Options {
    /// Synchronous, with a map of 1 GiB that may grow up to 64 TiB (half the address space of x86_64).
    fn default() -> Options {
        let halvings = if cfg!(target_pointer_width = "64") { 18 } else { 2 };
        Options {
            sync: true,
            initial_map_len_bytes: 1 << 30,
            max_map_len_bytes: usize::MAX >> halvings,
            file_mode: FILE_MODE,
        }
    }
}

impl Options {
    /// The map length for opening a database of `data_len` bytes: the database can grow by half before the map is full.
    pub(super) fn first_map_len(&self, data_len: usize) -> usize {
        let roomy = data_len.saturating_add(data_len / 2);
        round_up(self.initial_map_len_bytes.max(roomy).min(self.max_map_len_bytes))
    }
}

/// The length of a map must be a multiple of the system's page length, which is at most 64 KiB.
pub(super) fn round_up(len: usize) -> usize {
    const PAGE: usize = 65536;
    len.checked_next_multiple_of(PAGE).unwrap_or(len / PAGE * PAGE).max(PAGE)
}

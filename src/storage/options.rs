//! How a log is opened.

/// Only the user who runs the store may read and write its files.
pub const FILE_MODE: u32 = 0o600;

/// How to open a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// True: an append returns only when the data is on disk. False: it returns when the operating system has
    /// the data; it survives the process but not the power, and after a power loss the whole database may be
    /// unusable.
    pub sync: bool,
    /// The length of the memory map to begin with, in octets; more when the database is longer. It takes
    /// address space, not memory, and grows by itself.
    pub initial_map_len_bytes: usize,
    /// The length up to which the map, and with it the database, grows, in octets.
    pub max_map_len_bytes: usize,
    /// The permissions of new files, less what the process masks (umask). A new directory can be entered by whoever may
    /// read the files.
    pub file_mode: u32,
}

impl Default for Options {
    /// Synchronous, a map of 1 GiB that grows up to 64 TiB (half the address space of x86_64).
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
    /// The map length to open a database of `data_len` octets with: room to grow by half before the first doubling.
    pub(super) fn first_map_len(&self, data_len: usize) -> usize {
        let roomy = data_len.saturating_add(data_len / 2);
        round_up(self.initial_map_len_bytes.max(roomy).min(self.max_map_len_bytes))
    }
}

/// A map is a multiple of the system's page, which is at most this.
pub(super) fn round_up(len: usize) -> usize {
    const PAGE: usize = 65536;
    len.checked_next_multiple_of(PAGE).unwrap_or(len / PAGE * PAGE).max(PAGE)
}

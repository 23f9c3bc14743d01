//! The steps of opening a log in a directory of the file system, with LMDB as the database.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::directory::{self, DATA_FILE, LOCK_FILE, failed};
use super::super::error::OpenError;
use super::super::opening::Directory;
use super::super::options::Options;
use super::database;
use super::pages::Pages;
use super::tables::Tables;

/// The directory of a log, and the options to open it with.
pub(in crate::storage) struct FsDirectory<'a> {
    dir: &'a Path,
    /// The database file.
    pub(in crate::storage) data: PathBuf,
    options: &'a Options,
}

impl<'a> FsDirectory<'a> {
    pub(in crate::storage) fn new(dir: &'a Path, options: &'a Options) -> FsDirectory<'a> {
        FsDirectory { dir, data: dir.join(DATA_FILE), options }
    }
}

impl Directory for FsDirectory<'_> {
    type Lock = directory::Lock;
    type Database = (Pages, Tables);

    fn claim(&self) -> Result<(), OpenError> {
        directory::claim(self.dir, self.options.file_mode)
    }

    fn has_database(&self) -> Result<bool, OpenError> {
        directory::exists(&self.data)
    }

    fn has_lock(&self) -> Result<bool, OpenError> {
        directory::exists(&self.dir.join(LOCK_FILE))
    }

    fn lock(&self) -> Result<directory::Lock, OpenError> {
        directory::lock(self.dir, self.options.file_mode)
    }

    fn check(&self, is_ours: bool) -> Result<(), OpenError> {
        database::check(&self.data, is_ours)
    }

    fn build_new(&self) -> Result<(), OpenError> {
        database::build_new(self.dir, self.options.file_mode)
    }

    fn sync_new(&self) -> Result<(), OpenError> {
        database::sync_new(self.dir)
    }

    fn rename_new(&self) -> Result<(), OpenError> {
        database::rename_new(self.dir)
    }

    fn sync(&self) -> Result<(), OpenError> {
        directory::sync_with_parent(self.dir)
    }

    fn open(&self) -> Result<(Pages, Tables), OpenError> {
        directory::reserve_readers(self.dir, self.options.file_mode)?;
        let pages = Pages::open(&self.data).map_err(failed("open the database", &self.data))?;
        let data_len = fs::metadata(&self.data).map_err(failed("read the length of", &self.data))?.len();
        let map_len_bytes = self.options.first_map_len(usize::try_from(data_len).unwrap_or(usize::MAX));
        let tables = Tables::open(self.dir, self.options, map_len_bytes)
            .map_err(|error| database::database_error(&self.data, error))?;
        Ok((pages, tables))
    }

    fn settle(&self, (pages, _): &(Pages, Tables)) -> Result<(), OpenError> {
        if !self.options.sync {
            return Ok(());
        }
        pages.rewrite_headers(&self.data).map_err(failed("synchronize the database", &self.data))
    }
}

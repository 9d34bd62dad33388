//! The two things a file must do for the spool and the journal, as a seam: a test that takes the power
//! away, fills the disk or fails a sync stands behind it.

mod remove;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub(crate) use remove::remove_tree;

/// Returns what a folder takes on disk, as far as it can be read. No link is followed. Blocks.
pub(crate) fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// Writes and syncs. The path only says which file it is.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`. After an error any part of them may be there.
    fn write(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written to the file survives a power cut.
    fn sync(&self, path: &Path, file: &File) -> io::Result<()>;

    /// Returns once the names in a directory survive a power cut.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Fills a file, of which all is synced, with zeros up to a length, and syncs them: bytes that are
    /// written over them need no new length and no new block, and their sync is many times faster. A
    /// disk that does not do this is only slower.
    fn make_room(&self, _path: &Path, _file: &File, _from: u64, _to: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The machine's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct MachineDisk;

impl Disk for MachineDisk {
    fn write(&self, _: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, _: &Path, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    // Not sync_data: a file system may take a new name for no data of the directory.
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn make_room(&self, path: &Path, file: &File, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?];
        self.write(path, file, &zeros, from)?;
        self.sync(path, file)
    }
}

/// What the disk did not do.
#[derive(Debug, Error)]
pub enum DiskError {
    /// Nothing was lost; the same call can be made again.
    #[error("cannot {doing} {path}: the disk is full", path = path.display())]
    NoSpace { doing: &'static str, path: PathBuf },
    #[error("cannot {doing} {path}", path = path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl DiskError {
    pub(crate) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        // A sync that finds the disk full has lost bytes that were taken before.
        if full && doing != "sync" { Self::NoSpace { doing, path } } else { Self::Io { doing, path, source } }
    }
}

#[cfg(test)]
pub(crate) mod faulty;

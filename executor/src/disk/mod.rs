//! The two things a file must do for the spool and the journal, as a seam: a test that takes the power
//! away, fills the disk or fails a sync stands behind it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Writes and syncs. The path only says which file it is.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`. After an error any part of them may be there.
    fn write(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once everything written to the file survives a power cut.
    fn sync(&self, path: &Path, file: &File) -> io::Result<()>;
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
}

/// Whether the disk or its quota is full: the one failure of a write that passes by itself.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes the names in a directory survive a power cut.
pub(crate) fn sync_directory(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    disk.sync(path, &File::open(path)?)
}

#[cfg(test)]
pub(crate) mod faulty;

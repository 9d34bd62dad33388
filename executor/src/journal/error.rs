//! Why the journal could not be opened or written, with words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::state::Illegal;
use crate::disk::DiskError;

#[derive(Debug, Error)]
pub enum JournalError {
    #[error(
        "the data directory {path} is used by process {process}: stop that executor, or give this one a directory of its own",
        path = path.display()
    )]
    Held { path: PathBuf, process: String },
    #[error(
        "the journal {path} is damaged at byte {at}: {why}. Attempts that it held may still run. Stop their containers, move the file away, and start again: the controller will take those attempts for lost",
        path = path.display()
    )]
    Damaged { path: PathBuf, at: usize, why: String },
    #[error(
        "the journal {path} has version {version}, and this program knows {known}: start the version that wrote it",
        path = path.display()
    )]
    Version { path: PathBuf, version: u32, known: u32 },
    #[error("{path} is not a journal", path = path.display())]
    NotAJournal { path: PathBuf },
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A sync or a write failed; only a new process, which reads the file again, knows what holds.
    #[error("the journal failed before and takes nothing more: restart the executor")]
    Failed,
    #[error("the journal is closed")]
    Stopped,
    #[error("cannot start the journal's thread")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Illegal(#[from] Illegal),
}

impl JournalError {
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Disk(DiskError::new(doing, path, source))
    }
}

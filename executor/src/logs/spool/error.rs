//! Why a spool did not do what it was asked for.

use std::io;
use std::path::{Path, PathBuf};

use ocelot_core::frame::Offset;
use thiserror::Error;

use crate::disk::DiskError;

#[derive(Debug, Error)]
pub enum SpoolError {
    /// The builder must wait until the controller has more of the log.
    #[error("the spool holds its {quota_bytes} bytes; the log waits until some of it is safe elsewhere")]
    Full { quota_bytes: u64 },
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A write or a sync failed before; what is on disk is not known.
    #[error("the spool failed before and takes nothing more")]
    Bad,
    /// Bytes that were synced are gone or changed.
    #[error("the spool {path} is damaged: {why}", path = path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{path} has version {version}, which this program does not know", path = path.display())]
    Version { path: PathBuf, version: u32 },
    #[error("the log before byte {first} was freed")]
    Freed { first: Offset },
    #[error("the log has only {end} bytes")]
    Beyond { end: Offset },
}

impl SpoolError {
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Disk(DiskError::new(doing, path, source))
    }

    pub(super) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.into() }
    }
}

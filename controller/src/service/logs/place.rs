//! Where a log's files are: its bytes, and the record of its end beside them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::store::codec;

use super::disk::Disk;
use super::end::End;
use super::error::{Error, Result};
use super::id::LogId;

/// Extension of a log's bytes.
pub(super) const BYTES: &str = "log";
/// Extension of the record of a log's end.
pub(super) const END: &str = "end";

/// Where a log's files are.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: LogId,
    pub(super) directory: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    /// What is synced here is as safe as it will be: there is no other home of bytes.
    pub(super) alone: bool,
}

impl Place {
    pub(super) fn file(&self) -> PathBuf {
        self.directory.join(format!("{}.{BYTES}", self.id.stem()))
    }

    pub(super) fn end_file(&self) -> PathBuf {
        self.directory.join(format!("{}.{END}", self.id.stem()))
    }

    /// Returns how the log ended, if it did.
    pub(super) fn read_end(&self) -> Result<Option<End>> {
        match self.disk.read(&self.end_file()) {
            Ok(bytes) => codec::decode(&bytes).map(Some).map_err(|cause| Error::Corrupt(self.id, cause)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores the end, durably, and with it the names of all files made before.
    pub(super) fn store_end(&self, end: &End) -> Result<()> {
        Ok(self.disk.replace(&self.end_file(), &codec::encode(end, None))?)
    }
}

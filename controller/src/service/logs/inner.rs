//! What one log's lock protects: how far it is, and what was decided about it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use ocelot_core::frame::{Corrupt, Decoder};
use sha2::Sha256;

use super::disk::DiskFile;
use super::end::End;
use super::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Inner {
    /// Made with the first byte.
    pub(super) file: Option<Arc<dyn DiskFile>>,
    pub(super) end: u64,
    /// Knows where the last whole frame ends.
    pub(super) frames: Decoder,
    pub(super) sha256: Sha256,
    /// The syncing thread knows that there is something to do.
    pub(super) waits_for_sync: bool,
    /// A sync is under way, without this lock.
    pub(super) syncing: bool,
    pub(super) ended: Option<End>,
    pub(super) end_shipped: bool,
    pub(super) failed: Option<String>,
}

impl Inner {
    pub(super) fn check(&self) -> Result<()> {
        match &self.failed {
            Some(why) => Err(Error::Failed(why.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn stored(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let Some(file) = self.file.as_ref().filter(|_| !range.is_empty()) else { return Ok(Vec::new()) };
        let mut buffer = vec![0; (range.end - range.start) as usize];
        let filled = file.read_at(&mut buffer, range.start)?;
        if filled < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(buffer)
    }

    /// Moves the place of the last whole frame on, without keeping more than a frame in memory.
    pub(super) fn push(&mut self, new: &[u8]) -> std::result::Result<(), Corrupt> {
        self.frames.each(new, |_, _| {})
    }
}

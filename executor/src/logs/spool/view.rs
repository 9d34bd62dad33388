//! Reading a spool while another thread writes it: what was appended never changes, so nobody waits.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelot_core::frame::Offset;

use super::{Chunk, SpoolError};

/// The segments of a spool at one moment. One that is freed later can be read until this is gone.
#[derive(Debug, Clone)]
pub struct View {
    segments: Arc<[(Offset, Arc<File>)]>,
    directory: PathBuf,
}

impl View {
    pub(super) fn new(segments: Arc<[(Offset, Arc<File>)]>, directory: &Path) -> Self {
        Self { segments, directory: directory.to_owned() }
    }

    /// Returns the first byte that is here; none where nothing is.
    pub fn first(&self) -> Option<Offset> {
        self.segments.first().map(|(start, _)| *start)
    }

    /// Returns at most `most` bytes of the log, which now ends at `end`, from `offset` on.
    pub fn read(&self, offset: Offset, most: usize, end: Offset) -> Result<Chunk, SpoolError> {
        let first = self.first().unwrap_or(end);
        if offset < first {
            return Err(SpoolError::Freed { first });
        }
        if offset > end {
            return Err(SpoolError::Beyond { end });
        }
        let mut bytes = Vec::new();
        let next = self.segments.partition_point(|(start, _)| *start <= offset);
        if let Some((start, file)) = next.checked_sub(1).and_then(|place| self.segments.get(place)) {
            let end = self.segments.get(next).map_or(end, |(next, _)| *next);
            bytes = vec![0; usize::try_from(end.0 - offset.0).unwrap_or(most).min(most)];
            let read = file.read_exact_at(&mut bytes, offset.0 - start.0);
            read.map_err(|source| SpoolError::io("read", &self.directory, source))?;
        }
        Ok(Chunk { offset, crc32c: crc32c::crc32c(&bytes), bytes })
    }
}

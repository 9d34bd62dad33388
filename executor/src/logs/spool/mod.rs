//! The masked spool of one attempt: its bytes are the log, kept until they are safe elsewhere.
//!
//! Segment files named by the offset of their first byte, and two checkpoint slots written in turn. A
//! checkpoint says how long the log is, what its digest was there, and what its maker needs to go on;
//! it is written only after the bytes it speaks of are synced. What a crash leaves behind the last
//! checkpoint is cut off and made again: the maker's output is a function of its input. What is
//! durable elsewhere before it was synced here need not be: the checkpoint says from where on the
//! spool counts.
//!
//! Invariants: bytes up to a checkpoint are never changed; a failed sync ends the spool for good, since
//! the kernel may have dropped what it failed to write and a second sync would lie.

mod error;
mod recover;
mod saving;
mod slot;
#[cfg(test)]
mod tests;
mod view;

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelot_core::frame::Offset;
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, DiskError};

pub use error::SpoolError;
pub use recover::{Recovered, Tail};
pub use saving::Saving;
use slot::Slots;
pub use view::View;

/// How much a spool may hold, and in what pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A segment that has so many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// Bytes kept at most; at least two segments, since only whole segments are freed.
    pub quota_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: 4 << 20, quota_bytes: 1 << 30 }
    }
}

/// A piece of the log to be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub offset: Offset,
    pub bytes: Vec<u8>,
    pub crc32c: u32,
}

/// The whole log so far: its length and its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    pub length: Offset,
    pub sha256: [u8; 32],
}

/// The spool of one attempt, open for writing. Its calls block.
pub struct Spool {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    limits: Limits,
    /// Without a gap; never empty once something was appended.
    segments: VecDeque<Segment>,
    end: Offset,
    /// Length at the last checkpoint; nothing behind it is ever freed.
    checkpointed: Offset,
    digest: Sha256,
    slots: Slots,
    /// A segment was made or taken away since the directory was last synced.
    directory_changed: bool,
    /// Holds the directory's own name, which is not synced yet.
    parent: Option<PathBuf>,
    bad: bool,
}

#[derive(Debug)]
struct Segment {
    start: Offset,
    path: PathBuf,
    file: Arc<File>,
    synced: bool,
}

impl Spool {
    /// Makes the spool of a new attempt in a directory that is not there yet. Nothing is synced
    /// before the first byte is: an attempt must not wait for a disk before it starts.
    pub fn create(directory: &Path, limits: Limits, disk: Arc<dyn Disk>) -> Result<Self, SpoolError> {
        let doing = |source| SpoolError::io("make", directory, source);
        DirBuilder::new().mode(0o700).create(directory).map_err(doing)?;
        let slots = Slots::open(directory, disk.as_ref())?.0;
        Ok(Self::empty(directory, limits, disk, slots))
    }

    /// Makes the files of a spool before its attempt comes, durably: who has [`Spool::take_ready`] waits
    /// for none of them. Blocks.
    pub fn make_ready(directory: &Path, disk: &dyn Disk) -> Result<(), SpoolError> {
        let doing = |source| SpoolError::io("make", directory, source);
        DirBuilder::new().mode(0o700).create(directory).map_err(doing)?;
        Slots::open(directory, disk)?;
        Segment::create(directory, Offset(0))?;
        let parent = directory.parent();
        let mut directories = [directory].into_iter().chain(parent);
        directories.try_for_each(|path| disk.sync_directory(path)).map_err(doing)
    }

    /// Returns the spool that was made ready there, if nothing is in it.
    pub fn take_ready(
        directory: &Path,
        limits: Limits,
        disk: Arc<dyn Disk>,
    ) -> Result<Option<Self>, SpoolError> {
        let path = Segment::path(directory, Offset(0));
        let Some(file) = slot::open_empty(&path)? else { return Ok(None) };
        let Some(slots) = Slots::open_empty(directory)? else { return Ok(None) };
        let first = Segment { start: Offset(0), path, file, synced: true };
        let ready = Self::empty(directory, limits, disk, slots);
        Ok(Some(Self { segments: [first].into(), directory_changed: false, parent: None, ..ready }))
    }

    fn empty(directory: &Path, limits: Limits, disk: Arc<dyn Disk>, slots: Slots) -> Self {
        Self {
            directory: directory.to_owned(),
            disk,
            limits: Limits { quota_bytes: limits.quota_bytes.max(2 * limits.segment_bytes), ..limits },
            segments: VecDeque::new(),
            end: Offset(0),
            checkpointed: Offset(0),
            digest: Sha256::new(),
            slots,
            directory_changed: true,
            parent: directory.parent().map(Path::to_owned),
            bad: false,
        }
    }

    /// Adds bytes to the log, all or none of them.
    ///
    /// After [`SpoolError::Full`] and [`DiskError::NoSpace`] the same bytes can be appended later.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.usable()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let kept = self.end.0 - self.first().0 + bytes.len() as u64;
        if kept > self.limits.quota_bytes {
            return Err(SpoolError::Full { quota_bytes: self.limits.quota_bytes });
        }
        let full = |last: &Segment| self.end.0 - last.start.0 >= self.limits.segment_bytes;
        if self.segments.back().is_none_or(full) {
            let segment = Segment::create(&self.directory, self.end)?;
            self.segments.push_back(segment);
            self.directory_changed = true;
        }
        let segment = self.segments.back_mut().expect("a segment was just made sure of");
        segment.synced = false;
        // A part that was written before the disk was full is overwritten by the next append.
        let written = self.disk.write(&segment.path, &segment.file, bytes, self.end.0 - segment.start.0);
        if let Err(source) = written {
            let error = SpoolError::io("write", &segment.path, source);
            self.bad |= !matches!(error, SpoolError::Disk(DiskError::NoSpace { .. }));
            return Err(error);
        }
        self.digest.update(bytes);
        self.end = self.end.advance(bytes.len());
        Ok(())
    }

    /// Takes away the segments that are durable elsewhere as a whole.
    pub fn free(&mut self, durable: Offset) -> Result<(), SpoolError> {
        let safe = durable.min(self.checkpointed);
        while let [_, next, ..] = self.segments.make_contiguous()
            && next.start <= safe
        {
            if let Some(first) = self.segments.pop_front() {
                fs::remove_file(&first.path)
                    .map_err(|source| SpoolError::io("remove", &first.path, source))?;
                self.directory_changed = true;
            }
        }
        Ok(())
    }

    /// Returns at most `most` bytes of the log from `offset` on, as many as one segment holds.
    pub fn read(&self, offset: Offset, most: usize) -> Result<Chunk, SpoolError> {
        self.view().read(offset, most, self.end)
    }

    /// Returns what reads the segments that are there now, also while this spool is written or synced.
    pub fn view(&self) -> View {
        let segments = self.segments.iter();
        View::new(segments.map(|one| (one.start, Arc::clone(&one.file))).collect(), &self.directory)
    }

    /// Returns what changes when a view is outdated: where the first and the last segment begin.
    pub(super) fn shape(&self) -> Option<(Offset, Offset)> {
        Some((self.segments.front()?.start, self.segments.back()?.start))
    }

    /// Returns the length of the log and the digest of all of it, freed bytes included.
    pub fn log_end(&self) -> LogEnd {
        LogEnd { length: self.end, sha256: self.digest.clone().finalize().into() }
    }

    /// Returns the length of the log.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Returns the first byte that is still here.
    pub fn first(&self) -> Offset {
        self.segments.front().map_or(self.end, |segment| segment.start)
    }

    /// Takes the whole spool away. Repeating it is harmless.
    pub fn remove(directory: &Path) -> Result<(), SpoolError> {
        match fs::remove_dir_all(directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(SpoolError::io("remove", directory, source))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn usable(&self) -> Result<(), SpoolError> {
        if self.bad { Err(SpoolError::Bad) } else { Ok(()) }
    }
}

impl Segment {
    fn path(directory: &Path, start: Offset) -> PathBuf {
        directory.join(format!("{:020}.{}", start.0, recover::SEGMENT))
    }

    /// Makes the file, or takes one over that was made when the disk was too full to go on.
    fn create(directory: &Path, start: Offset) -> Result<Self, SpoolError> {
        let path = Self::path(directory, start);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|source| SpoolError::io("make", &path, source))?;
        Ok(Self { start, path, file: Arc::new(file), synced: false })
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, end) = (self.first(), self.end);
        write!(f, "Spool({}, {first}..{end}, bad: {})", self.directory.display(), self.bad)
    }
}

//! Opening a spool that another process left: what is behind the last checkpoint was never promised.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use ocelot_core::frame::{Offset, whole_frames};
use sha2::{Digest as _, Sha256};

use super::slot::Slots;
use super::{Limits, Segment, Spool, SpoolError};
use crate::disk::Disk;

/// The ending of a segment's name.
pub(super) const SEGMENT: &str = "log";

/// What to do with bytes behind the last checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// They are made again, from what the checkpoint's words say.
    Cut,
    /// They cannot be made again, since what was needed for it is gone: whole frames stay.
    KeepFrames,
}

/// A spool that another process left.
#[derive(Debug)]
pub struct Recovered {
    pub spool: Spool,
    /// The words given with the last checkpoint; none if there was none.
    pub maker: Option<String>,
}

impl Spool {
    /// Opens what another process left, and cuts it to what counts.
    pub fn open(
        directory: &Path,
        limits: Limits,
        disk: Arc<dyn Disk>,
        tail: Tail,
    ) -> Result<Recovered, SpoolError> {
        let (slots, saved) = Slots::open(directory, disk.as_ref())?;
        let mut spool = Self::empty(directory, limits, disk, slots);
        let first = saved.as_ref().map_or(Offset(0), |saved| saved.first);
        let (length, digest) = match &saved {
            Some(saved) => {
                let digest = saved.digest();
                let digest =
                    digest.ok_or_else(|| SpoolError::damaged(directory, "its digest is unreadable"))?;
                (saved.length, digest)
            }
            None => (Offset(0), Sha256::new()),
        };
        spool.digest = digest;
        spool.checkpointed = length;
        let (segments, end) = contiguous(directory, first)?;
        spool.segments = segments;
        // An empty log may have no segment yet; then there is nothing to miss.
        if end < length || spool.segments.front().is_some_and(|first| first.start > length) {
            let why = format!("{length} bytes were synced, but it holds {}..{end}", spool.first());
            return Err(SpoolError::damaged(directory, why));
        }
        spool.end = end;
        let kept = match tail {
            Tail::Cut => Vec::new(),
            Tail::KeepFrames => spool.frames_from(length)?,
        };
        spool.digest.update(&kept);
        spool.cut(length.advance(kept.len()))?;
        spool.sync()?;
        Ok(Recovered { spool, maker: saved.map(|saved| saved.maker) })
    }

    /// Returns the whole frames behind the checkpoint. At most a checkpoint's interval of the log.
    fn frames_from(&self, mut offset: Offset) -> Result<Vec<u8>, SpoolError> {
        let mut bytes = Vec::new();
        while offset < self.end {
            let chunk = self.read(offset, 1 << 20)?;
            offset = offset.advance(chunk.bytes.len());
            bytes.extend_from_slice(&chunk.bytes);
        }
        bytes.truncate(whole_frames(&bytes));
        Ok(bytes)
    }

    /// Cuts the log. A segment that begins just there stays, empty: it alone may say where that is.
    fn cut(&mut self, end: Offset) -> Result<(), SpoolError> {
        while let Some(last) = self.segments.pop_back_if(|last| last.start > end) {
            fs::remove_file(&last.path).map_err(|source| SpoolError::io("remove", &last.path, source))?;
        }
        if let Some(last) = self.segments.back_mut() {
            let cut = last.file.set_len(end.0 - last.start.0);
            cut.map_err(|source| SpoolError::io("cut", &last.path, source))?;
            last.synced = false;
        }
        self.end = end;
        self.directory_changed = true;
        Ok(())
    }
}

/// Opens the segments that follow each other without a gap, from the one that holds `first` on. Takes
/// away those before it, which need not be whole, and those behind a gap: they were made after bytes
/// that a power cut lost, so no checkpoint knows them.
fn contiguous(directory: &Path, first: Offset) -> Result<(VecDeque<Segment>, Offset), SpoolError> {
    let mut segments = VecDeque::new();
    let mut end: Option<Offset> = None;
    for (start, path) in listed(directory)? {
        if start < first {
            fs::remove_file(&path).map_err(|source| SpoolError::io("remove", &path, source))?;
            continue;
        }
        if end.is_some_and(|end| end < start) {
            fs::remove_file(&path).map_err(|source| SpoolError::io("remove", &path, source))?;
            continue;
        }
        // The segment before may be longer: a full disk took a part of bytes that were appended again.
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let file = opened.map_err(|source| SpoolError::io("open", &path, source))?;
        let length = file.metadata().map_err(|source| SpoolError::io("read", &path, source))?.len();
        end = Some(Offset(start.0 + length));
        segments.push_back(Segment { start, path, file: Arc::new(file), synced: false });
    }
    Ok((segments, end.unwrap_or_default()))
}

fn listed(directory: &Path) -> Result<Vec<(Offset, std::path::PathBuf)>, SpoolError> {
    let doing = |source| SpoolError::io("list", directory, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(doing)? {
        let path = entry.map_err(doing)?.path();
        if path.extension() != Some(OsStr::new(SEGMENT)) {
            continue;
        }
        let stem = path.file_stem().and_then(OsStr::to_str);
        let start = stem.and_then(|stem| stem.parse().ok());
        let start = start.ok_or_else(|| SpoolError::damaged(&path, "it is not named by an offset"))?;
        found.push((Offset(start), path));
    }
    found.sort_unstable_by_key(|(start, _)| *start);
    Ok(found)
}

//! Reading a log from any frame on, and following it while it grows.
//!
//! A reader reads the file, not a queue: one that is slow, or dead, holds up nobody and costs no
//! memory, and there is no seam between what was and what comes.

use std::sync::Arc;

use bytes::Bytes;
use ocelot_core::frame::whole_frames;
use tokio::sync::watch;

use super::error::{Error, Result};
use super::log::{Log, Progress};
use super::scan::READ_BYTES;

/// Whether a reader waits for what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Until the log is over.
    ToTheEnd,
    /// Only what is there.
    No,
}

/// Whole frames of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub offset: u64,
    pub frames: Bytes,
    /// The log is over after these frames.
    pub complete: bool,
}

/// Reads one log.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    progress: watch::Receiver<Progress>,
    offset: u64,
    follow: Follow,
    over: bool,
}

impl Reader {
    pub(super) fn new(log: Arc<Log>, offset: u64, follow: Follow) -> Self {
        let progress = log.follow();
        Self { log, progress, offset, follow, over: false }
    }

    /// Returns the next frames, and waits for them if it follows. The last chunk of a log that is
    /// over says so, if need be without a frame. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Chunk>> {
        while !self.over {
            let Progress { visible, ended, failed, .. } = *self.progress.borrow_and_update();
            if self.offset < visible || ended {
                let chunk = self.read(visible, ended).await?;
                self.offset += chunk.frames.len() as u64;
                self.over = chunk.complete;
                return Ok(Some(chunk));
            }
            if failed && self.follow == Follow::ToTheEnd {
                return Err(Error::Failed("what comes is seen when it is read again".into()));
            }
            let more = self.follow == Follow::ToTheEnd && self.progress.changed().await.is_ok();
            self.over = !more;
        }
        Ok(None)
    }

    async fn read(&self, visible: u64, ended: bool) -> Result<Chunk> {
        let (offset, log) = (self.offset, Arc::clone(&self.log));
        let there = visible.checked_sub(offset).ok_or(Error::NoFrame { at: offset })?;
        let bytes_max = READ_BYTES.min(usize::try_from(there).unwrap_or(READ_BYTES));
        let mut bytes = super::blocking(move || log.read(offset, bytes_max)).await?;
        let whole = whole_frames(&bytes);
        if whole == 0 && there > 0 {
            return Err(Error::NoFrame { at: offset });
        }
        bytes.truncate(whole);
        let complete = ended && whole as u64 == there;
        Ok(Chunk { offset, frames: bytes.into(), complete })
    }
}

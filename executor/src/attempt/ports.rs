//! What a driver needs of an attempt's log, so that a story can be told without disks and streams.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use ocelot_core::frame::Offset;
use tokio::sync::mpsc;

use super::{AttemptId, LogDigest, LogLoss};
use crate::mask::MaskSet;
use crate::runtime::Tell;

/// What has happened to a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogNews {
    /// Its first byte of output was captured at this moment.
    FirstByte { unix_us: u64 },
    /// The capture before this place is in the spool.
    Taken(Offset),
    /// The log before this place is safe in the home of bytes.
    Durable(Offset),
    /// Bytes differ, or are gone.
    Broken(LogLoss),
    /// The attempt is not ours any more.
    Fenced,
}

/// A log cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct LogFailed {
    pub doing: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

pub type NewsSender = mpsc::Sender<(AttemptId, LogNews)>;

/// Makes logs, and sends what is in them to the controller.
#[async_trait]
pub trait Logs: fmt::Debug + Send + Sync {
    /// Begins a log whose masked bytes are kept in `directory`.
    async fn create(
        &self,
        id: AttemptId,
        directory: &Path,
        masks: MaskSet,
        news: NewsSender,
    ) -> Result<Arc<dyn Log>, LogFailed>;

    /// Goes on with a log that another process left in `directory`.
    async fn recover(
        &self,
        id: AttemptId,
        directory: &Path,
        news: NewsSender,
    ) -> Result<Arc<dyn Log>, LogFailed>;
}

/// The log of one attempt.
#[async_trait]
pub trait Log: Tell + fmt::Debug {
    /// Begins to read the capture in this control directory.
    fn follow(&self, control: &Path);
    /// The capture has grown up to here.
    fn captured(&self, end: Offset);
    /// Ends the log with what is in the capture now, synced.
    async fn seal(&self) -> Result<(LogDigest, Option<LogLoss>), LogFailed>;
    /// Returns the end of the masked bytes.
    fn end(&self) -> Offset;
    /// A controller said how far the log is safe.
    fn safe(&self, received: Offset, durable: Offset);
    async fn drop_spool(&self);
}

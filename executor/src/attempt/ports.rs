//! What a driver needs of an attempt's log, so that a story can be told without disks and streams.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use ocelot_core::frame::Offset;

use super::{AttemptId, LogDigest, LogLoss};
pub use crate::logs::{LogNews, NewsSender};
use crate::mask::MaskSet;
use crate::runtime::Tell;

/// A log cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct LogFailed {
    pub doing: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Makes logs, and sends what is in them to the controller.
#[async_trait]
pub trait Logs: fmt::Debug + Send + Sync {
    /// Does for a log in `directory` what can be done before its attempt comes.
    async fn make_ready(&self, directory: &Path) -> Result<(), LogFailed>;

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

    /// Takes away what is left of a log that is not open here, if there is one.
    async fn remove(&self, id: AttemptId, directory: &Path);
}

/// The log of one attempt.
#[async_trait]
pub trait Log: Tell + fmt::Debug {
    /// Begins to read the capture in this control directory.
    fn follow(&self, control: &Path);
    /// The capture has grown up to here.
    fn captured(&self, end: Offset);
    /// Begins to read a service's capture, or goes on with it.
    fn follow_service(&self, service: u16, control: &Path);
    /// The capture of a service has grown up to here.
    fn service_captured(&self, service: u16, end: Offset);
    /// Ends the log with what is in the captures now, synced.
    async fn seal(&self) -> Result<(LogDigest, Option<LogLoss>), LogFailed>;
    /// Returns the end of the masked bytes.
    fn end(&self) -> Offset;
    /// A controller said how far the log is safe.
    fn safe(&self, received: Offset, durable: Offset);
    /// Returns how much of it a controller said to have.
    fn received(&self) -> Offset;
    /// A controller does not have it from here on, although one said so.
    fn missing(&self, from: Offset);
    async fn drop_spool(&self);
}

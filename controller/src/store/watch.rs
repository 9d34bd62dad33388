//! Following changes.

use tokio::sync::mpsc;

use super::error::Result;
use super::range::{KeyValue, Revision};

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    batches: mpsc::Receiver<Result<WatchBatch>>,
}

/// All changes of one or more whole revisions: a transaction's changes are never torn apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    pub events: Vec<Event>,
    /// Everything up to this revision has been seen; also told without events now and then.
    pub revision: Revision,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub change: Change,
    pub mod_revision: Revision,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(KeyValue),
    Delete { key: String },
}

impl Watch {
    /// Batches that a watch holds for a slow follower before its home stops reading for it.
    pub const QUEUE: usize = 64;

    pub fn new(batches: mpsc::Receiver<Result<WatchBatch>>) -> Self {
        Self { batches }
    }

    /// Waits for the next batch. After an error, or none, the watch is over. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<WatchBatch>> {
        self.batches.recv().await
    }
}

impl Event {
    pub fn key(&self) -> &str {
        match &self.change {
            Change::Put(item) => &item.key,
            Change::Delete { key } => key,
        }
    }
}

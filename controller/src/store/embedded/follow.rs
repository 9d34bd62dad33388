//! One task per watch. It waits for its follower as long as it takes, and reads on from the history
//! when the feed has moved past it; nobody else waits and nothing piles up.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::store::error::{Error, Result};
use crate::store::range::Revision;
use crate::store::watch::WatchBatch;

use super::failure::Reason;
use super::feed::{Fed, Feed};
use super::read::{self, Readers};

#[derive(Debug)]
pub(super) struct Follower {
    pub(super) prefix: String,
    /// The first revision not yet told.
    pub(super) from: Revision,
    pub(super) feed: Arc<Feed>,
    pub(super) readers: Arc<Readers>,
    pub(super) batches: mpsc::Sender<Result<WatchBatch>>,
    pub(super) closing: CancellationToken,
}

impl Follower {
    /// Revisions that pass without a word before the follower is told that there was nothing.
    const SILENCE: i64 = 1000;

    pub(super) async fn run(mut self) {
        let mut newest = self.feed.subscribe();
        // Who only watches what is new has told all before it already.
        let mut told = Revision(self.from.0 - 1);
        loop {
            let batch = match self.next(&mut newest).await {
                Ok(Some(batch)) => batch,
                Ok(None) => return,
                Err(error) => return self.end(error).await,
            };
            self.from = batch.revision.next();
            if batch.events.is_empty() && batch.revision.0 - told.0 < Self::SILENCE {
                continue;
            }
            told = batch.revision;
            let sent = tokio::select! {
                sent = self.batches.send(Ok(batch)) => sent,
                () = self.closing.cancelled() => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// Returns what follows, or none once nobody listens.
    async fn next(&self, newest: &mut watch::Receiver<Revision>) -> Result<Option<WatchBatch>> {
        loop {
            newest.mark_unchanged();
            match self.feed.after(self.from, &self.prefix) {
                Fed::Batch(batch) => return Ok(Some(batch)),
                Fed::Older => {
                    let (prefix, from) = (self.prefix.clone(), self.from);
                    let read = move |connection: &_| read::history(connection, &prefix, from);
                    return self.readers.view(read).await.map(Some);
                }
                Fed::CaughtUp => {}
            }
            tokio::select! {
                changed = newest.changed() => {
                    changed.map_err(|closed| Error::Unavailable(Box::new(closed)))?;
                }
                () = self.batches.closed() => return Ok(None),
                () = self.closing.cancelled() => {
                    return Err(Error::Unavailable(Reason::boxed("the store is closed")));
                }
            }
        }
    }

    async fn end(self, error: Error) {
        tokio::select! {
            // A follower that went away needs no last word.
            _gone = self.batches.send(Err(error)) => {}
            () = self.closing.cancelled() => {}
        }
    }
}

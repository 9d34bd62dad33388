//! How far the view is, and those who wait for it.
//!
//! They are woken in the order in which they came. A channel that shuffles its readers would make the
//! simulation go another way each time.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::store::Revision;

/// The revision up to which everything is in; none until the prefix was listed.
#[derive(Debug, Default)]
pub(super) struct Applied {
    at: Mutex<Option<Revision>>,
    news: Notify,
}

impl Applied {
    pub(super) fn get(&self) -> Option<Revision> {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, revision: Revision) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
        self.news.notify_waiters();
    }

    /// Waits until the view is there. Cancel-safe.
    pub(super) async fn reaches(&self, revision: Revision) {
        loop {
            // Made before the look, so that news between the two is not missed.
            let told = self.news.notified();
            if self.get().is_some_and(|at| at >= revision) {
                return;
            }
            told.await;
        }
    }
}

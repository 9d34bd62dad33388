//! The logs that are open: each at most once, so that there is one truth of how far it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ocelot_domain::task::state::Session;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::error::{Error, Result};
use super::id::LogId;
use super::log::Log;
use super::place::Place;
use super::{Logs, blocking};

/// The most logs that are open at a time: each holds a file and up to two frames in memory.
const OPEN_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Open {
    logs: HashMap<LogId, Arc<OnceCell<OpenLog>>>,
}

/// An open log, and who was last known to hold its attempt.
#[derive(Debug, Clone)]
pub(super) struct OpenLog {
    pub(super) log: Arc<Log>,
    confirmed: Arc<Mutex<Option<(Session, Instant)>>>,
    /// When the oldest byte was received that is not in the home of bytes.
    unshipped_since: Arc<Mutex<Option<Instant>>>,
}

impl OpenLog {
    pub(super) fn confirmed(&self) -> Option<(Session, Instant)> {
        *self.confirmed.lock().expect(UNPOISONED)
    }

    /// Notes that bytes wait since `now`, if none did before, or that none wait. Returns since when.
    pub(super) fn ship_since(&self, now: Option<Instant>) -> Option<Instant> {
        let mut since = self.unshipped_since.lock().expect(UNPOISONED);
        *since = now.map(|now| since.unwrap_or(now));
        *since
    }

    pub(super) fn confirm(&self, holder: Option<(Session, Instant)>) {
        *self.confirmed.lock().expect(UNPOISONED) = holder;
    }
}

const UNPOISONED: &str = "nothing panics while it holds the open logs";

impl Open {
    fn cell(&mut self, id: LogId) -> Result<Arc<OnceCell<OpenLog>>> {
        if let Some(cell) = self.logs.get(&id) {
            let has_failed = cell.get().is_some_and(|open| open.log.progress().failed);
            if !has_failed {
                return Ok(Arc::clone(cell));
            }
            // What is on the disk is found out anew; who has the one that failed is told so by it.
            self.logs.remove(&id);
        }
        if self.logs.len() >= OPEN_MAX {
            self.close_idle();
        }
        if self.logs.len() >= OPEN_MAX {
            return Err(Error::TooManyOpen { open: self.logs.len() });
        }
        Ok(Arc::clone(self.logs.entry(id).or_default()))
    }

    /// Closes logs that nobody uses and that nothing more is to be done for.
    pub(super) fn close_idle(&mut self) {
        self.logs.retain(|_, cell| {
            // Nobody takes a cell, or a log out of it, but under the lock that is held here.
            let used = Arc::strong_count(cell) > 1;
            let log_used = cell.get().is_some_and(|open| Arc::strong_count(&open.log) > 1);
            used || log_used || cell.get().is_some_and(|open| !open.log.is_idle())
        });
    }

    /// Returns every log that is open by now.
    pub(super) fn all(&self) -> Vec<OpenLog> {
        self.logs.values().filter_map(|cell| cell.get().cloned()).collect()
    }

    /// Returns a log that is open by now.
    pub(super) fn at_hand(&self, id: &LogId) -> Option<OpenLog> {
        self.logs.get(id)?.get().cloned()
    }

    pub(super) fn forget(&mut self, id: &LogId) {
        self.logs.remove(id);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.logs.len()
    }
}

impl Logs {
    pub(super) fn open_logs(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().expect(UNPOISONED)
    }

    /// Returns how far a log is that is open here; none if it is not.
    pub fn glance(&self, id: LogId) -> Option<super::Progress> {
        let cell = self.open_logs().logs.get(&id).cloned()?;
        cell.get().map(|open| open.log.progress())
    }

    /// Fetches what the home of bytes has of a log beyond what is here: another controller may have
    /// taken it there and died.
    pub async fn refresh(&self, id: LogId) -> Result<()> {
        let open = self.ensure_open(id).await?;
        match &self.home {
            Some(home) => self.catch_up(home.as_ref(), &open.log).await,
            None => Ok(()),
        }
    }

    /// Opens a log once, however many ask for it.
    pub(super) async fn ensure_open(&self, id: LogId) -> Result<OpenLog> {
        let cell = self.open_logs().cell(id)?;
        let opening = cell.get_or_try_init(|| async {
            let (directory, disk) = (self.directory.clone(), Arc::clone(&self.disk));
            let place = Place { id, directory, disk, alone: self.home.is_none() };
            let log = Arc::new(blocking(move || Log::load(place)).await?);
            if let Some(home) = &self.home {
                self.catch_up(home.as_ref(), &log).await?;
            }
            Ok(OpenLog { log, confirmed: Arc::default(), unshipped_since: Arc::default() })
        });
        opening.await.cloned()
    }
}

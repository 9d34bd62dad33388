//! What this machine promised, on disk before it counts.
//!
//! One file of checksummed blocks. A block is what one sync made durable, and the next is written only
//! after it: so a damaged block with whole ones behind it was once promised, and the journal refuses to
//! open; a damaged last block was never acknowledged, and is cut off. The file gets its name only with
//! a synced first block, which therefore is never a torn one.
//!
//! The state is the fold of the records ([`State::apply`]), and nothing else is kept: compaction writes
//! the state as the first block of a new file and renames it over the old one.

mod commit;
#[cfg(test)]
mod compat;
mod error;
mod file;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ocelot_core::id::Incarnation;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::disk::Disk;

use commit::{Committer, QUEUE_MAX, Request};
pub use error::JournalError;
use file::{DataLock, JournalFile};
pub use state::{
    ATTEMPTS_MAX, Accepted, Container, Entry, Held, Identity, Illegal, Phase, Record, Sequence, State,
};

/// How long the lock of a process that was killed may outlive it.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_STEP: Duration = Duration::from_millis(20);

/// The journal of this executor, held by a lock on its data directory until it is dropped.
#[derive(Debug)]
pub struct Journal {
    requests: Option<mpsc::Sender<Request>>,
    durable: Arc<Mutex<State>>,
    incarnation: Incarnation,
    committer: Option<JoinHandle<()>>,
}

impl Journal {
    /// Takes the data directory, reads what another process left, and begins a new incarnation, which
    /// is durable before this returns. Blocks.
    pub fn open(directory: &Path, disk: Arc<dyn Disk>) -> Result<Self, JournalError> {
        let lock = DataLock::take(directory)?;
        let (mut file, mut state) = JournalFile::open(directory, disk)?;
        let incarnation = Incarnation(state.incarnation.0 + 1);
        let opened = Record::Opened { incarnation };
        state.apply(&opened)?;
        file.append(state.sequence, &[opened])?;
        file.make_room_if_due()?;
        let durable = Arc::new(Mutex::new(state.clone()));
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let committer = Committer { _lock: lock, file, state, durable: Arc::clone(&durable) };
        let thread = thread::Builder::new().name("journal".into());
        let thread = thread.spawn(move || committer.run(queue)).map_err(JournalError::Thread)?;
        Ok(Self { requests: Some(requests), durable, incarnation, committer: Some(thread) })
    }

    /// The same, for whoever may come right after another process. One that is killed while it starts a
    /// child leaves its lock with that child, which lets go of it a moment later.
    pub async fn open_when_free(directory: &Path, disk: Arc<dyn Disk>) -> Result<Self, JournalError> {
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            match Self::open(directory, Arc::clone(&disk)) {
                Err(JournalError::Held { .. }) if Instant::now() < until => {
                    tokio::time::sleep(LOCK_STEP).await;
                }
                opened => return opened,
            }
        }
    }

    /// Appends records that belong together, and returns the number of the last one once they are
    /// durable. Those that wait at the same time share a sync.
    pub async fn append(&self, records: Vec<Record>) -> Result<Sequence, JournalError> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(JournalError::Stopped)?;
        let sent = requests.send(Request { records, reply }).await;
        sent.map_err(|_| JournalError::Stopped)?;
        answer.await.map_err(|_| JournalError::Stopped)?
    }

    /// The same for a thread of its own.
    pub fn append_blocking(&self, records: Vec<Record>) -> Result<Sequence, JournalError> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(JournalError::Stopped)?;
        let sent = requests.blocking_send(Request { records, reply });
        sent.map_err(|_| JournalError::Stopped)?;
        answer.blocking_recv().map_err(|_| JournalError::Stopped)?
    }

    /// Returns the state as of the last durable record.
    pub fn state(&self) -> State {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the incarnation that this opening began.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }
}

impl Drop for Journal {
    /// Waits for what is under way: the lock must not be free while a write may still come.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.committer.take() {
            // A panic of the thread was already printed; there is no one left to tell.
            drop(thread.join());
        }
    }
}

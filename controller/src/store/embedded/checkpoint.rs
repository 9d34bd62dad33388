//! Moves what is in the write-ahead log into the file, beside the commits.
//!
//! The log is begun anew by the next commit that finds all of it moved and nobody reading it, so it
//! stays at the size where that last succeeded and commits overwrite it in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, ErrorCode};

/// The state that the writer and the checkpointer share.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Pages in the log after the last commit.
    pages: AtomicU32,
    /// All but the last few pages are moved; the writer moves these between two groups.
    nearly_moved: AtomicBool,
}

impl Log {
    /// Log pages (of 4 KiB) from which on moving them pays: a page that was written many times by then
    /// is moved once.
    const PAGES: u32 = 4000;
    /// Log pages from which on the writer finishes what the checkpointer cannot, because it runs
    /// after a target that moves.
    const PAGES_FINISH: u32 = 2 * Self::PAGES;
    /// Log pages from which on commits wait until all is moved: the checkpointer does not keep up.
    const PAGES_MAX: u32 = 8 * Self::PAGES;

    /// Returns the hook that learns the log's length with each commit.
    pub(super) fn hook(
        self: Arc<Self>,
    ) -> impl FnMut(&mut Wal, i32) -> rusqlite::Result<()> + Send + 'static {
        move |_, pages| {
            self.pages.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }
    }

    /// Returns how many pages the log had after the last commit.
    pub(super) fn pages(&self) -> u32 {
        self.pages.load(Ordering::Relaxed)
    }

    /// What the writer does between two groups: wakes the checkpointer, or finishes its work.
    pub(super) fn between_groups(&self, writer: &Connection, wake: &SyncSender<()>) -> rusqlite::Result<()> {
        let pages = self.pages();
        let finish = pages >= Self::PAGES_FINISH && self.nearly_moved.swap(false, Ordering::AcqRel);
        if finish || pages >= Self::PAGES_MAX {
            return move_pages(writer);
        }
        if pages >= Self::PAGES {
            match wake.try_send(()) {
                // Full: it is awake already. Gone: the log grows, and nothing is lost.
                Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
        Ok(())
    }
}

/// Makes the bell by which the checkpointer is woken.
pub(super) fn bell() -> (SyncSender<()>, Receiver<()>) {
    sync_channel(1)
}

/// Works until the bell is gone.
pub(super) fn run(connection: &Connection, log: &Log, bell: &Receiver<()>) {
    while bell.recv().is_ok() {
        match move_pages(connection) {
            Ok(()) => log.nearly_moved.store(true, Ordering::Release),
            // The log keeps everything: the next bell tries again.
            Err(error) => tracing::warn!(error = %error, "the write-ahead log could not be moved"),
        }
    }
}

fn move_pages(connection: &Connection) -> rusqlite::Result<()> {
    match connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE) {
        // Busy: the other of the two is at it already.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
        moved => moved.map(drop),
    }
}

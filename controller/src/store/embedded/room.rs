//! Room in the write-ahead log: zeros behind what it holds.
//!
//! A commit that makes the file longer waits for the file system's own journal; one that overwrites bytes
//! which are there waits for the disk alone, many times shorter. Only the writer's thread may make room:
//! nobody else knows that no page is being written where the zeros go. The engine takes zeros for the end
//! of the log, and after a restart too.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

/// Room that is made at once, and how little of it is left then.
const ROOM_BYTES: u64 = 4 << 20;
const ROOM_BYTES_MIN: u64 = 512 << 10;
/// Bytes that the next commits write, kept in the machine's memory.
const NEAR_BYTES: u64 = 128 << 10;
/// A page of the log with its header, and the log's own header.
const PAGE_BYTES: u64 = 4096 + 24;
const HEADER_BYTES: u64 = 32;

/// How long the file of the write-ahead log is.
#[derive(Debug)]
pub(super) struct Room {
    path: PathBuf,
    file: Option<File>,
    /// Where the zeros end.
    end: u64,
}

impl Room {
    /// Makes the first room of the log of this database, before anything is written.
    pub(super) fn open(database: &Path) -> Self {
        let mut path = OsString::from(database);
        path.push("-wal");
        let path = PathBuf::from(path);
        // One that an earlier process left is used from wherever its pages end.
        let end = path.metadata().map_or(0, |metadata| metadata.len());
        let file = File::open(&path).ok();
        let mut room = Self { path, file, end };
        if end < ROOM_BYTES {
            room.grow(end, ROOM_BYTES);
        }
        room
    }

    /// Makes more room, if the log has come near its end.
    pub(super) fn make_if_due(&mut self, pages: u32) {
        let used = used_bytes(pages);
        if used + ROOM_BYTES_MIN > self.end {
            let from = self.end.max(used);
            self.grow(from, from + ROOM_BYTES);
        }
    }

    /// Has the machine read what the next commit writes into: it may have let go of it, and a page of the
    /// log never covers a whole one of the file.
    pub(super) fn keep_near(&self, pages: u32) {
        let Some(file) = &self.file else { return };
        let length = NonZero::new(NEAR_BYTES);
        if let Err(error) = fadvise(file, used_bytes(pages), length, Advice::WillNeed) {
            tracing::trace!(%error, "the next commit may have to read before it writes");
        }
    }

    /// Without room a commit is only slower, so a failure is not tried again before more is written.
    fn grow(&mut self, from: u64, to: u64) {
        self.end = to;
        if let Err(error) = fill(&self.path, from, to) {
            tracing::debug!(%error, "no room was made in the write-ahead log");
        }
    }
}

fn used_bytes(pages: u32) -> u64 {
    HEADER_BYTES + u64::from(pages) * PAGE_BYTES
}

fn fill(path: &Path, from: u64, to: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    // What the engine wrote beyond, in a group that was larger than the room, stays.
    let from = from.max(file.metadata()?.len());
    let zeros = vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?];
    file.write_all_at(&zeros, from)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::{EmbeddedStore, Settings};
    use crate::store::{RangeRequest, Store, Txn};

    #[tokio::test]
    async fn commits_overwrite_room_and_a_log_that_outgrows_it_gets_more() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("store.db-wal");
        let length = || log.metadata().unwrap().len();
        let store = EmbeddedStore::open(Settings::new(directory.path())).unwrap();
        for number in 0..20 {
            store.commit(Txn::new().put(format!("/small/{number}"), b"x".to_vec())).await.unwrap();
        }
        assert_eq!(length(), ROOM_BYTES, "a commit made the log longer");
        for number in 0..6 {
            store.commit(Txn::new().put(format!("/large/{number}"), vec![7; 1 << 20])).await.unwrap();
        }
        store.nudge().await.unwrap();
        assert!(length() > ROOM_BYTES);
        // What another process finds while the log has zeros at its end.
        let copy = tempfile::tempdir().unwrap();
        for file in ["store.db", "store.db-wal"] {
            std::fs::copy(directory.path().join(file), copy.path().join(file)).unwrap();
        }
        let found = EmbeddedStore::open(Settings::new(copy.path())).unwrap();
        let page = found.range(RangeRequest::prefix("/")).await.unwrap();
        assert_eq!(page.items.len(), 26);
    }
}

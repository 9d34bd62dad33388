//! Locks of a mirror between processes: files, so that the kernel frees them when a process dies.
//!
//! `fetch` is held by whoever brings something new; `life` is shared by all that read and held alone by
//! whoever replaces or removes the repository. Always taken in this order.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use crate::error::GitError;

/// First and longest wait between two looks at a lock; there is no call of the kernel to wait with a limit.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(250);

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Alone,
    Shared,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _file: File,
}

/// Takes a lock, or says that it is held after `limit`.
pub(crate) async fn take(path: &Path, hold: Hold, limit: Duration) -> Result<Held, GitError> {
    let mut wait = LOOK_FIRST;
    let mut waited = Duration::ZERO;
    loop {
        if let Some(held) = attempt(path, hold)? {
            return Ok(held);
        }
        if waited >= limit {
            return Err(GitError::Locked { path: path.to_owned(), waited });
        }
        tokio::time::sleep(wait).await;
        waited += wait;
        wait = (wait * 2).min(LOOK_MAX);
    }
}

/// Takes a lock if it is free now.
pub(crate) fn attempt(path: &Path, hold: Hold) -> Result<Option<Held>, GitError> {
    let opened = File::options().create(true).append(true).open(path);
    let file = opened.map_err(GitError::io("open the lock", path))?;
    let taken = match hold {
        Hold::Alone => file.try_lock(),
        Hold::Shared => file.try_lock_shared(),
    };
    match taken {
        Ok(()) if is_still_there(&file, path) => Ok(Some(Held { _file: file })),
        // The mirror was removed while we waited: this lock guards nothing.
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(GitError::io("lock", path)(source)),
    }
}

fn is_still_there(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

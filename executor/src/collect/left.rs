//! Which directories of attempts are left by nobody who will come back, and what others tell of them.
//!
//! What is held is never left. Beside that a directory must look left: it is named after an attempt and
//! did not change for a while, or an earlier process made it ready, or its own attempt could not take it
//! away. What has any other name belongs to whoever gave it, and stays until the next start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ocelot_core::id::RunId;
use tokio::sync::Notify;

use crate::disk::size_of;

/// An attempt is in the journal long before its directory is so old.
const OLD: Duration = Duration::from_secs(600);
/// Directories that are remembered as left; more are found at the next start.
const LEFT_MAX: usize = 4096;

/// What others tell the collector.
#[derive(Debug, Default)]
pub struct Signs {
    ask: Notify,
    left: Mutex<BTreeSet<PathBuf>>,
}

impl Signs {
    /// Work is refused for want of room: collects soon.
    pub(crate) fn ask(&self) {
        self.ask.notify_one();
    }

    pub(super) async fn asked(&self) {
        self.ask.notified().await;
    }

    /// An attempt is over, and its directory could not be taken away.
    pub(crate) fn note_left(&self, directory: &Path) {
        let mut left = self.lock();
        if left.len() < LEFT_MAX {
            left.insert(directory.to_owned());
        }
    }

    pub(super) fn left(&self) -> BTreeSet<PathBuf> {
        self.lock().clone()
    }

    pub(super) fn forget(&self, directory: &Path) {
        self.lock().remove(directory);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A directory among those of attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) changed: SystemTime,
    /// Nothing where nobody counts them.
    pub(super) bytes: u64,
}

/// Lists them. Blocks.
pub(super) fn directories(attempts: &Path, measured: bool) -> Vec<Directory> {
    let entries = std::fs::read_dir(attempts).into_iter().flatten().flatten();
    let directory = |entry: std::fs::DirEntry| {
        let (path, changed) = (entry.path(), entry.metadata().ok()?.modified().ok()?);
        let bytes = if measured { size_of(&path) } else { 0 };
        Some(Directory { path, changed, bytes })
    };
    entries.filter_map(directory).collect()
}

/// All that tells what is left.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) held: BTreeSet<PathBuf>,
    pub(super) incarnation: u64,
    pub(super) now: SystemTime,
    pub(super) noted: BTreeSet<PathBuf>,
}

impl Judge {
    /// Judges a directory, and when it changed last; none: it is not there.
    pub(super) fn is_left(&self, directory: &Path, changed: Option<SystemTime>) -> bool {
        if self.held.contains(directory) {
            return false;
        }
        let Some(changed) = changed else { return true };
        if self.noted.contains(directory) {
            return true;
        }
        let Some(name) = directory.file_name().and_then(|name| name.to_str()) else { return false };
        match name.strip_prefix("ready-") {
            Some(rest) => {
                let incarnation = rest.split('-').next().and_then(|number| number.parse::<u64>().ok());
                incarnation.is_some_and(|incarnation| incarnation < self.incarnation)
            }
            None => {
                let is_old = self.now.duration_since(changed).is_ok_and(|age| age >= OLD);
                is_old && is_of_an_attempt(name)
            }
        }
    }
}

/// Whether it is a name as attempts' directories have it: run, index, number and epoch.
fn is_of_an_attempt(name: &str) -> bool {
    let mut parts = name.rsplitn(4, '-');
    let numbers = parts.by_ref().take(3).filter(|part| part.parse::<u64>().is_ok()).count();
    numbers == 3 && parts.next().is_some_and(|run| run.parse::<RunId>().is_ok())
}

#[cfg(test)]
mod tests {
    use ocelot_core::id::{Attempt, Epoch, TaskId};

    use super::*;
    use crate::attempt::AttemptId;
    use crate::attempt::files::Places;

    #[test]
    fn only_what_is_not_held_and_looks_left_is_left() {
        let attempts = Path::new("/data/attempts");
        let id = |number| AttemptId {
            task: TaskId { run: RunId::from_bytes([7; 16]), index: 2 },
            number,
            epoch: Epoch(1),
        };
        let place = |id| Places::new(attempts, id).directory;
        let (over, held) = (place(id(Attempt::FIRST)), place(id(Attempt::new(2).unwrap())));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let judge = Judge {
            held: [held.clone(), attempts.join("ready-1-1")].into(),
            incarnation: 3,
            now,
            noted: [attempts.join("ready-3-4"), held.clone()].into(),
        };
        let old = Some(now - OLD);
        let young = Some(now - OLD + Duration::from_secs(1));
        assert!(judge.is_left(&over, old));
        assert!(!judge.is_left(&over, young), "its attempt may not be in the journal yet");
        assert!(!judge.is_left(&over, Some(now + OLD)), "the clock went back");
        assert!(!judge.is_left(&held, old));
        assert!(!judge.is_left(&held, None));
        assert!(!judge.is_left(&attempts.join("ready-1-1"), old), "an attempt has taken it");
        assert!(judge.is_left(&attempts.join("ready-2-9"), young), "an earlier process made it");
        assert!(!judge.is_left(&attempts.join("ready-3-1"), old), "it waits for an attempt");
        assert!(judge.is_left(&attempts.join("ready-3-4"), young), "its attempt could not take it away");
        assert!(!judge.is_left(&attempts.join("of somebody else"), old));
        assert!(!judge.is_left(&attempts.join("x-1-2-3"), old));
        assert!(judge.is_left(&attempts.join("of somebody else"), None));
    }
}

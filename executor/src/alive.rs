//! The sign of life that a running executor leaves beside its journal, for health checks.
//!
//! It says when a controller answered last, and what the executor refuses work for. Nothing is decided
//! by it, so it is not made durable; it may be lost or old.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const FILE: &str = "alive.json";
/// The file that a running executor holds.
pub(crate) const LOCK: &str = "lock";

/// What was last known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alive {
    /// Seconds since 1970, when a controller last answered.
    pub(crate) answered: u64,
    /// How often it is asked.
    pub(crate) every: Duration,
    /// Why no work is taken; empty: it is.
    #[serde(default)]
    pub(crate) refusing: String,
}

impl Alive {
    /// Leaves the sign. Blocks for a moment.
    pub(crate) fn write(&self, data: &Path) -> io::Result<()> {
        let draft = data.join("alive.new");
        fs::write(&draft, serde_json::to_vec(self)?)?;
        fs::rename(draft, data.join(FILE))
    }

    /// Reads the sign, if there is one. Blocks.
    pub(crate) fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data.join(FILE)).ok()?).ok()
    }
}

/// Returns the process that runs on this data, if the system tells. Blocks.
///
/// Trying the lock itself would be in the way of one that starts just now.
pub(crate) fn process(data: &Path) -> Option<String> {
    let inode = fs::metadata(data.join(LOCK)).ok()?.ino();
    is_locked(&fs::read_to_string("/proc/locks").ok()?, inode)
        .then(|| fs::read_to_string(data.join(LOCK)).unwrap_or_default().trim().to_owned())
}

/// Looks for a lock in lines such as `1: FLOCK  ADVISORY  WRITE 42 fe:00:1234 0 EOF`.
fn is_locked(locks: &str, inode: u64) -> bool {
    let inode = inode.to_string();
    locks.lines().any(|line| {
        let mut words = line.split_whitespace();
        let kind = words.nth(1);
        kind == Some("FLOCK") && words.nth(3).and_then(|place| place.rsplit(':').next()) == Some(&inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_a_lock_without_its_being_tried() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(process(data.path()), None);
        fs::write(data.path().join(LOCK), "42\n").unwrap();
        assert_eq!(process(data.path()), None);
        let held = fs::File::open(data.path().join(LOCK)).unwrap();
        held.lock().unwrap();
        assert_eq!(process(data.path()).as_deref(), Some("42"));
        held.unlock().unwrap();
        assert_eq!(process(data.path()), None);
    }
}

//! How much room a disk has, and what that forbids.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The room on the disk under some directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// What may still be begun on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    Enough,
    /// What runs goes on; nothing new is accepted.
    NoNewRuns,
    /// Executors keep their bytes for now.
    Backpressure,
}

impl Space {
    /// Below this, or below a twentieth of the disk, no new run is accepted.
    pub const NEW_RUNS_BYTES: u64 = 2 * 1024 * 1024 * 1024;

    /// Asks the disk under `path`. What is reserved for root does not count as free.
    pub fn under(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(path)?;
        let block = stat.f_frsize;
        Ok(Self {
            free_bytes: stat.f_bavail.saturating_mul(block),
            total_bytes: stat.f_blocks.saturating_mul(block),
        })
    }

    /// Returns the free share, from 0 to 1.
    pub fn free_share(&self) -> f64 {
        if self.total_bytes == 0 { 0.0 } else { self.free_bytes as f64 / self.total_bytes as f64 }
    }

    pub fn room(&self) -> Room {
        let share = self.free_share();
        if share < 0.01 {
            Room::Backpressure
        } else if share < 0.05 || self.free_bytes < Self::NEW_RUNS_BYTES {
            Room::NoNewRuns
        } else {
            Room::Enough
        }
    }
}

/// What was last found of the disks' room, for all who must heed it. Cheap to clone; until somebody
/// looks, there is enough.
#[derive(Debug, Clone, Default)]
pub struct Floor(Arc<AtomicU8>);

impl Floor {
    pub fn room(&self) -> Room {
        match self.0.load(Ordering::Relaxed) {
            0 => Room::Enough,
            1 => Room::NoNewRuns,
            _ => Room::Backpressure,
        }
    }

    /// Notes what was found; returns what it was before.
    pub fn note(&self, room: Room) -> Room {
        let before = self.room();
        self.0.store(room as u8, Ordering::Relaxed);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * 1024 * 1024;

    #[test]
    fn the_floor_is_a_share_or_a_size_whichever_is_reached_first() {
        let room = |free_bytes, total_bytes| Space { free_bytes, total_bytes }.room();
        assert_eq!(room(50 * GIB, 1000 * GIB), Room::Enough);
        assert_eq!(room(49 * GIB, 1000 * GIB), Room::NoNewRuns);
        assert_eq!(room(9 * GIB, 1000 * GIB), Room::Backpressure);
        assert_eq!(room(2 * GIB, 10 * GIB), Room::Enough);
        assert_eq!(room(2 * GIB - 1, 10 * GIB), Room::NoNewRuns);
        assert_eq!(room(0, 0), Room::Backpressure);
    }

    #[test]
    fn a_disk_tells_its_room() {
        let space = Space::under(Path::new("/")).unwrap();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes, "{space:?}");
    }
}

//! Mirrors give way when the disk is short: the one that was not used for the longest time first.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ocelot_git::{Contents, Credentials, Mirror, RepositoryUrl};
use ocelot_proto::kit::telemetry::chain;

use super::Checkouts;

/// Between two looks at the disk.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// So much more than the floor is to be free, in percent: below the floor nothing is taken at all.
const ABOVE_FLOOR: u64 = 125;

/// A mirror that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) folder: PathBuf,
    pub(super) last_used: SystemTime,
    pub(super) bytes: u64,
    pub(super) in_use: bool,
}

/// Returns which mirrors go so that so many bytes come free, as far as they do.
pub(super) fn surplus(mut mirrors: Vec<Known>, missing: u64) -> Vec<Known> {
    mirrors.retain(|mirror| !mirror.in_use);
    mirrors.sort_by(|one, other| (one.last_used, &one.folder).cmp(&(other.last_used, &other.folder)));
    let mut freed: u64 = 0;
    mirrors.retain(|mirror| {
        let goes = freed < missing;
        freed = freed.saturating_add(if goes { mirror.bytes } else { 0 });
        goes
    });
    mirrors
}

impl Checkouts {
    /// Makes room whenever the disk is short, until the program ends.
    pub async fn keep_room(self: Arc<Self>, floor: u64) {
        loop {
            self.make_room(floor).await;
            self.clock.sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn make_room(&self, floor: u64) {
        let wanted = floor.saturating_mul(ABOVE_FLOOR) / 100;
        let free = match crate::identity::disk(&self.way) {
            Ok(disk) => disk.free,
            Err(error) => return tracing::debug!(%error, "the disk cannot be looked at"),
        };
        let missing = wanted.saturating_sub(free);
        if missing == 0 {
            return;
        }
        for mirror in surplus(self.known().await, missing) {
            tracing::info!(folder = %mirror.folder.display(), bytes = mirror.bytes, "a mirror gives way");
            self.take_away(&mirror.folder).await;
        }
    }

    async fn known(&self) -> Vec<Known> {
        let mut known = Vec::new();
        for folder in folders(&self.mirrors) {
            let last_used = Mirror::last_used(&folder).await.unwrap_or(SystemTime::UNIX_EPOCH);
            let in_use = self.used().contains_key(&folder);
            let measured = folder.clone();
            let bytes = tokio::task::spawn_blocking(move || size_of(&measured)).await.unwrap_or_default();
            known.push(Known { folder, last_used, bytes, in_use });
        }
        known
    }

    /// Opens a mirror by what its folder says of itself, which counts as a use of it.
    async fn open(&self, folder: &Path) -> Option<Mirror> {
        let origin = tokio::fs::read_to_string(folder.join("origin")).await.ok()?;
        let url = RepositoryUrl::parse_with(origin.lines().next()?, self.setup.allowed).ok()?;
        let git = self.git().await.ok()?;
        Mirror::open(git, folder, &url, Credentials::None, Contents::Everything).await.ok()
    }

    async fn take_away(&self, folder: &Path) {
        let removed = match self.open(folder).await {
            Some(mirror) => mirror.remove().await.map_err(|error| chain(&error).to_string()),
            // Nobody can use what does not say what it is.
            None => tokio::fs::remove_dir_all(folder).await.map_err(|error| error.to_string()),
        };
        if let Err(why) = removed {
            tracing::warn!(folder = %folder.display(), why, "a mirror stays");
        }
    }
}

/// Returns what a folder takes on disk, as far as it can be read. Blocks.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

fn folders(mirrors: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(mirrors).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

//! The mirrors that are there, and how one gives way: it is made again by the next checkout.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ocelot_git::{Contents, Credentials, Mirror, RepositoryUrl};
use ocelot_proto::kit::telemetry::chain;

use super::Checkouts;
use crate::disk::size_of;

/// A mirror that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) folder: PathBuf,
    pub(crate) last_used: SystemTime,
    pub(crate) bytes: u64,
    pub(crate) in_use: bool,
}

impl Checkouts {
    /// Returns all mirrors.
    pub(crate) async fn known(&self) -> Vec<Known> {
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

    /// Takes a mirror away; returns false where somebody uses it after all.
    pub(crate) async fn take_away(&self, folder: &Path) -> Result<bool, String> {
        if self.used().contains_key(folder) {
            return Ok(false);
        }
        match self.open(folder).await {
            Some(mirror) => mirror.remove().await.map_err(|error| chain(&error).to_string())?,
            // Nobody can use what does not say what it is.
            None => tokio::fs::remove_dir_all(folder).await.map_err(|error| error.to_string())?,
        }
        Ok(true)
    }

    /// Opens a mirror by what its folder says of itself, which counts as a use of it.
    async fn open(&self, folder: &Path) -> Option<Mirror> {
        let origin = tokio::fs::read_to_string(folder.join("origin")).await.ok()?;
        let url = RepositoryUrl::parse_with(origin.lines().next()?, self.setup.allowed).ok()?;
        let git = self.git().await.ok()?;
        Mirror::open(git, folder, &url, Credentials::None, Contents::Everything).await.ok()
    }
}

fn folders(mirrors: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(mirrors).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

//! The folder of mirrors: one for each repository, made when it is first needed, within a budget.
//!
//! What is here can be fetched again. Nothing is in it that another controller needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ocelot_git::{
    Advertised, Allowed, Contents, Credentials, Git, GitError, Guard, Mirror, RepositoryUrl, Setup, UrlError,
};
use tokio::sync::OnceCell;

use crate::records::Digest;

/// What all mirrors of a controller may take on its disk.
pub const MIRRORS_BYTES: u64 = 20 * 1024 * 1024 * 1024;
/// A mirror that was not used for so long is removed.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// A server that takes longer is down for us: others wait behind it.
const REMOTE_LIMIT: Duration = Duration::from_secs(120);
const LOCAL_LIMIT: Duration = Duration::from_secs(60);
/// Branches and tags that a look reads.
const REFERENCES_MAX: usize = 50_000;

/// The mirrors of one controller.
#[derive(Debug)]
pub struct Mirrors {
    directory: PathBuf,
    setup: Setup,
    git: OnceCell<Git>,
    bytes_max: u64,
}

impl Mirrors {
    /// Uses a folder of its own; `allowed` says which addresses besides https and ssh are fetched.
    pub fn new(directory: impl Into<PathBuf>, allowed: Allowed, bytes_max: u64) -> Self {
        let directory = directory.into();
        let mut setup = Setup::new(directory.join("home"), directory.join("keys"));
        setup.allowed = allowed;
        setup.remote_limit = REMOTE_LIMIT;
        setup.local_limit = LOCAL_LIMIT;
        Self { directory, setup, git: OnceCell::new(), bytes_max }
    }

    /// Lets a guard decide which servers are spoken to.
    #[must_use]
    pub fn guarded(mut self, guard: Arc<dyn Guard>) -> Self {
        self.setup.guard = Some(guard);
        self
    }

    /// Reads the address of a repository.
    pub fn address(&self, text: &str) -> Result<RepositoryUrl, UrlError> {
        RepositoryUrl::parse_with(text, self.setup.allowed)
    }

    /// Opens the mirror of a repository.
    pub(super) async fn open(
        &self,
        url: &RepositoryUrl,
        credentials: Credentials,
    ) -> Result<Mirror, GitError> {
        let place = self.mirrors().join(&Digest::of(url.as_str().as_bytes()).to_string()[..32]);
        Mirror::open(self.git().await?, place, url, credentials, Contents::WithoutFiles).await
    }

    /// Asks a server for its branches and tags.
    pub(super) async fn ask(
        &self,
        url: &RepositoryUrl,
        credentials: &Credentials,
    ) -> Result<Advertised, GitError> {
        self.git().await?.ls_remote_up_to(url, credentials, REFERENCES_MAX).await
    }

    /// Removes what was not used for long, and the longest unused until the rest is within the budget.
    pub(crate) async fn tidy(&self, now: SystemTime) -> Result<usize, GitError> {
        let mut all = Vec::new();
        let mut bytes = 0;
        for directory in folders(&self.mirrors()) {
            let Some(mirror) = self.known(&directory).await else { continue };
            let used = Mirror::last_used(&directory).await.unwrap_or(SystemTime::UNIX_EPOCH);
            let size = mirror.size_bytes().await?;
            bytes += size;
            all.push((used, size, mirror));
        }
        all.sort_by_key(|(used, ..)| *used);
        let mut removed = 0;
        for (used, size, mirror) in all {
            let is_old = now.duration_since(used).is_ok_and(|age| age > UNUSED_MAX);
            if !is_old && bytes <= self.bytes_max {
                continue;
            }
            bytes = bytes.saturating_sub(size);
            tracing::info!(url = %mirror.url(), bytes = size, "a mirror is removed");
            mirror.remove().await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Opens what lies in a folder of ours as the mirror that it is.
    async fn known(&self, directory: &Path) -> Option<Mirror> {
        let origin = tokio::fs::read_to_string(directory.join("origin")).await.ok()?;
        let url = self.address(origin.lines().next()?).ok()?;
        let used = Mirror::last_used(directory).await.ok();
        let git = self.git().await.ok()?;
        let mirror =
            Mirror::open(git, directory, &url, Credentials::None, Contents::WithoutFiles).await.ok()?;
        // To look at it is not to use it.
        if let Some(used) = used {
            let file = std::fs::File::options().write(true).open(directory.join("used")).ok()?;
            file.set_modified(used).ok()?;
        }
        Some(mirror)
    }

    fn mirrors(&self) -> PathBuf {
        self.directory.join("mirrors")
    }

    async fn git(&self) -> Result<&Git, GitError> {
        self.git.get_or_try_init(|| Git::open(self.setup.clone())).await
    }
}

fn folders(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()
}

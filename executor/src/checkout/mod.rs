//! Puts the commit that a task works on into its workspace, before its first stage.
//!
//! Every repository has one bare mirror on this machine, which all attempts share; a workspace borrows
//! nothing from it. Git runs as an account of its own where the executor is root, so that whatever a
//! repository makes of it, it is nobody on this machine. The mirrors give way when the disk is short:
//! they are made again.

mod account;
mod room;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ocelot_core::plan::Checkout;
use ocelot_git::{
    Allowed, CheckoutPlan, CommitId, Contents, Credentials, Git, GitError, Mirror, Owner, Reference,
    RepositoryUrl, Setup, Submodules,
};
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::telemetry::chain;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::attempt::Failure;
use crate::attempt::state::Cause;
use crate::runtime::Tell;

/// A server that does not answer is asked again so often.
const TRIES: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_secs(2);
/// The full disk, and a path that is too long, as the system calls them.
const NO_SPACE: i32 = 28;
const NAME_TOO_LONG: i32 = 36;

/// The commit that a task works on, as it is kept with the offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub url: String,
    pub commit: String,
    pub reference: String,
    pub branch: String,
    pub needs_credentials: bool,
}

/// All mirrors of this machine, and the git that reads them.
#[derive(Debug)]
pub struct Checkouts {
    setup: Setup,
    mirrors: PathBuf,
    git: OnceCell<Git>,
    clock: Arc<dyn Clock>,
    /// Folders on the way to an attempt's workspace, which git's account must pass.
    way: PathBuf,
    /// How often each mirror is in use.
    used: Mutex<HashMap<PathBuf, usize>>,
}

/// What one checkout is made of.
#[derive(Debug)]
pub struct Order {
    pub source: Source,
    pub wanted: Checkout,
    pub credentials: Credentials,
    pub workspace: PathBuf,
}

impl Checkouts {
    /// Keeps mirrors below the data directory, and what git may not show others in `memory`.
    pub fn new(data: &Path, memory: &Path, allowed: Allowed, clock: Arc<dyn Clock>) -> Self {
        let home = data.join("git");
        let secrets = memory.to_owned();
        let account = account::own(data);
        Self {
            setup: Setup { allowed, account, ..Setup::new(home, secrets) },
            mirrors: data.join("mirrors"),
            git: OnceCell::new(),
            clock,
            way: data.to_owned(),
            used: Mutex::default(),
        }
    }

    async fn git(&self) -> Result<&Git, Cause> {
        let opened = self.git.get_or_try_init(|| async {
            account::open_way(&self.setup, &self.way, &self.way).map_err(|source| GitError::Io {
                what: "open",
                path: self.way.clone(),
                source,
            })?;
            Git::open(self.setup.clone()).await
        });
        opened
            .await
            .map_err(|error| Cause::Platform { why: format!("git cannot be used: {}", chain(&error)) })
    }

    /// Fills the workspace, whatever an earlier try left in it. It belongs to `owner` afterwards, who
    /// may be known only once the task's container is up.
    pub async fn place(
        &self,
        order: &Order,
        owner: impl Future<Output = Result<Option<Owner>, Cause>>,
        tell: &dyn Tell,
    ) -> Result<(), Cause> {
        let began = self.clock.monotonic();
        let git = self.git().await?;
        let (url, plan) = read(order, self.setup.allowed)?;
        let fetched = self.obtain(git, &url, &plan, order.credentials.clone(), tell).await?;
        let fetching = self.clock.monotonic() - began;
        let owner = owner.await?;
        let Fetched { mirror, in_use: _in_use } = fetched;
        self.empty(&order.workspace).await?;
        let folder = |url: &RepositoryUrl| self.folder(url);
        let placed = mirror.checkout(&plan, &order.workspace, owner, &Submodules { mirror: &folder }).await;
        let checked = placed.map_err(|error| cause(&url, &error))?;
        let branch = checked.branch.map(|branch| format!(" on {branch}")).unwrap_or_default();
        let short = plan.commit.as_str().get(..7).unwrap_or_default();
        let whole = self.clock.monotonic() - began;
        let (whole, fetching) = (whole.as_secs_f64(), fetching.as_secs_f64());
        tell.line(&format!(
            "checkout: commit {short}{branch} in {whole:.1} s, {fetching:.1} s of it fetching"
        ));
        Ok(())
    }

    /// Brings the commit into the mirror.
    async fn obtain(
        &self,
        git: &Git,
        url: &RepositoryUrl,
        plan: &CheckoutPlan,
        credentials: Credentials,
        tell: &dyn Tell,
    ) -> Result<Fetched<'_>, Cause> {
        let folder = self.folder(url);
        let in_use = self.uses(&folder);
        tell.line(&format!("checkout: fetching {url}"));
        let mut tries = 0;
        loop {
            tries += 1;
            let fetched = async {
                let contents = Contents::Everything;
                let mirror = Mirror::open(git, &folder, url, credentials.clone(), contents).await?;
                mirror.obtain(&plan.commit, plan.reference.as_ref()).await?;
                Ok::<_, GitError>(mirror)
            };
            match fetched.await {
                Ok(mirror) => return Ok(Fetched { mirror, in_use }),
                Err(error) if error.may_pass() && tries < TRIES => {
                    tell.line(&format!("checkout: {error}; it is tried again"));
                    self.clock.sleep(TRY_PAUSE * tries).await;
                }
                Err(error) => return Err(cause(url, &error)),
            }
        }
    }

    /// Makes the workspace as empty as it was, without taking away the folder, which may be mounted.
    async fn empty(&self, workspace: &Path) -> Result<(), Cause> {
        let (path, setup, way) = (workspace.to_owned(), self.setup.clone(), self.way.clone());
        let emptied = tokio::task::spawn_blocking(move || {
            for entry in std::fs::read_dir(&path)? {
                crate::disk::remove_tree(&entry?.path())?;
            }
            account::open_way(&setup, &way, path.parent().unwrap_or(&path))
        });
        let emptied = emptied.await.map_err(std::io::Error::other).and_then(|emptied| emptied);
        emptied.map_err(|error| Cause::Platform { why: format!("the workspace cannot be emptied: {error}") })
    }

    fn folder(&self, url: &RepositoryUrl) -> PathBuf {
        let digest = Sha256::digest(url.as_str().as_bytes());
        let digits: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.mirrors.join(digits)
    }

    fn used(&self) -> MutexGuard<'_, HashMap<PathBuf, usize>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uses(&self, folder: &Path) -> Use<'_> {
        *self.used().entry(folder.to_owned()).or_default() += 1;
        Use { checkouts: self, folder: folder.to_owned() }
    }
}

/// A commit that is here.
struct Fetched<'a> {
    mirror: Mirror,
    in_use: Use<'a>,
}

/// A mirror is not taken away while there is one.
struct Use<'a> {
    checkouts: &'a Checkouts,
    folder: PathBuf,
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let mut used = self.checkouts.used();
        if let Some(count) = used.get_mut(&self.folder) {
            *count -= 1;
            if *count == 0 {
                used.remove(&self.folder);
            }
        }
    }
}

/// Reads what the offer says, as types that cannot be mistaken by git.
fn read(order: &Order, allowed: Allowed) -> Result<(RepositoryUrl, CheckoutPlan), Cause> {
    let refused = |what: &str, why: String| setup(format!("the {what} of the task cannot be used: {why}"));
    let source = &order.source;
    let url = RepositoryUrl::parse_with(&source.url, allowed);
    let url = url.map_err(|error| refused("repository", error.to_string()))?;
    let commit = CommitId::parse(&source.commit);
    let commit = commit.map_err(|error| refused("commit", error.to_string()))?;
    let reference = match (source.reference.as_str(), source.branch.as_str()) {
        ("", "") => None,
        ("", branch) => Some(Reference::branch(branch)),
        (reference, _) => Some(Reference::parse(reference)),
    };
    let reference = reference.transpose().map_err(|error| refused("ref", error.to_string()))?;
    let Checkout { depth, submodules, lfs } = order.wanted;
    let depth = std::num::NonZeroU32::new(depth);
    Ok((url, CheckoutPlan { commit, reference, depth, submodules, lfs }))
}

/// Whose fault it is: a server that does not answer and this machine's own troubles are no task's.
fn cause(url: &RepositoryUrl, error: &GitError) -> Cause {
    match error {
        GitError::Io { source, .. } if source.raw_os_error() == Some(NO_SPACE) => {
            Cause::Failed(Failure::Disk { why: format!("the checkout of {url} has no room: {error}") })
        }
        GitError::Room { .. } => {
            Cause::Failed(Failure::Disk { why: format!("the checkout failed: {error}") })
        }
        // The repository made it so, and it is so on every machine.
        GitError::Io { source, .. } if source.raw_os_error() == Some(NAME_TOO_LONG) => {
            setup(format!("the checkout failed: {error}"))
        }
        GitError::Start { .. } | GitError::Io { .. } | GitError::Locked { .. } => {
            Cause::Platform { why: format!("{url} cannot be checked out here: {error}") }
        }
        error if error.may_pass() => Cause::Platform { why: format!("{url} does not answer: {error}") },
        error => setup(format!("the checkout failed: {error}")),
    }
}

fn setup(why: String) -> Cause {
    Cause::Failed(Failure::Setup { why })
}

//! A work tree for one task, made from a mirror.
//!
//! It has a `.git` of its own that borrows nothing: the objects are written anew, only those that the
//! commit reaches, so that the mirror may go, and no task can write into it or read what a force-push
//! took away. No credential, hook or program of anyone stands in it. After the files are given to the
//! task's account, git is never run in the workspace again by us.

mod measure;
mod objects;
mod submodule;
mod tree;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use crate::error::GitError;
use crate::mirror::{Contents, Mirror};
use crate::reference::{CommitId, Kind, Reference};
use crate::url::{RepositoryUrl, Scheme};

/// What a task wants in its workspace.
#[derive(Debug, Clone)]
pub struct CheckoutPlan {
    pub commit: CommitId,
    /// A branch is checked out as that branch, a pull request as the branch `pr/N`, a tag as a detached
    /// head beside the tag, as `git clone --branch TAG` does.
    pub reference: Option<Reference>,
    /// How many commits of history; all of it if none is given.
    pub depth: Option<NonZeroU32>,
    pub submodules: bool,
    /// Whether files that git-lfs keeps elsewhere are fetched.
    pub lfs: bool,
}

/// The account that a workspace is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Where the mirrors of submodules lie: each call names the folder for one URL.
pub struct Submodules<'a> {
    pub mirror: &'a (dyn Fn(&RepositoryUrl) -> PathBuf + Send + Sync),
}

impl std::fmt::Debug for Submodules<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Submodules")
    }
}

/// What stands in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub commit: CommitId,
    /// The branch that `HEAD` is on.
    pub branch: Option<String>,
    /// Paths of submodules that were checked out.
    pub submodules: Vec<String>,
}

impl Mirror {
    /// Fetches what is missing and fills `workspace`, which is empty or not there yet.
    pub async fn checkout(
        &self,
        plan: &CheckoutPlan,
        workspace: &Path,
        owner: Option<Owner>,
        submodules: &Submodules<'_>,
    ) -> Result<Checked, GitError> {
        let mut checked = self.fill(plan, workspace).await?;
        if plan.submodules {
            checked.submodules = submodule::fill(self, plan, workspace, submodules).await?;
        }
        if let Some(owner) = owner {
            tree::give(workspace, owner).await?;
        }
        Ok(checked)
    }

    /// Makes one work tree, and mends a broken mirror once.
    async fn fill(&self, plan: &CheckoutPlan, workspace: &Path) -> Result<Checked, GitError> {
        if self.contents() == Contents::WithoutFiles {
            return Err(GitError::NoFiles { url: self.url().clone() });
        }
        self.obtain(&plan.commit, plan.reference.as_ref()).await?;
        tree::claim(self.git(), workspace).await?;
        match self.fill_once(plan, workspace).await {
            Err(error) if error.is_corruption() => {
                tracing::warn!(url = %self.url(), %error, "a mirror is broken");
                self.renew().await?;
                self.obtain(&plan.commit, plan.reference.as_ref()).await?;
                tree::empty(workspace).await?;
                self.fill_once(plan, workspace).await
            }
            filled => filled,
        }
    }

    async fn fill_once(&self, plan: &CheckoutPlan, workspace: &Path) -> Result<Checked, GitError> {
        let git = self.git();
        let head = Head::of(plan);
        let format = if plan.commit.as_str().len() == 64 { "sha256" } else { "sha1" };
        let call = git.call("init").args(["--quiet", "--template=", "--initial-branch=main"]);
        let call = call.arg(format!("--object-format={format}")).arg("--end-of-options").arg(workspace);
        call.run().await?;
        // What a few objects unfold to is known before the first file is written.
        let measuring = measure::fits(self, &plan.commit, workspace);
        tokio::try_join!(measuring, objects::copy(self, plan, &head, workspace))?;
        self.write_settings(&head, workspace).await?;
        let call = git.call("checkout").tree(workspace).set("core.fsync=none").set("checkout.workers=0");
        let call = call.args(["--quiet", "--force", "--no-recurse-submodules"]);
        let call = match &head {
            Head::Branch(name) | Head::Local(name) => {
                call.args(["--no-track", "-B", name, plan.commit.as_str()])
            }
            Head::Tag(_) | Head::Detached => call.args(["--detach", plan.commit.as_str()]),
        };
        call.arg("--").run().await?;
        if plan.lfs {
            self.large_files(workspace).await?;
        }
        let branch = match head {
            Head::Branch(name) | Head::Local(name) => Some(name),
            Head::Tag(_) | Head::Detached => None,
        };
        Ok(Checked { commit: plan.commit.clone(), branch, submodules: Vec::new() })
    }

    /// Writes what a user's git needs to know of the server: its URL, which never holds a credential.
    async fn write_settings(&self, head: &Head, workspace: &Path) -> Result<(), GitError> {
        let mut settings = vec![
            ("remote.origin.url".to_owned(), self.url().to_string()),
            ("remote.origin.fetch".to_owned(), "+refs/heads/*:refs/remotes/origin/*".to_owned()),
        ];
        if let Head::Branch(name) = head {
            settings.push((format!("branch.{name}.remote"), "origin".to_owned()));
            settings.push((format!("branch.{name}.merge"), format!("refs/heads/{name}")));
        }
        for (name, value) in settings {
            let call = self.git().call("config").tree(workspace);
            call.args(["--local", "--end-of-options", &name, &value]).run().await?;
        }
        Ok(())
    }

    /// Fetches large files from the server of this repository alone, whatever its `.lfsconfig` says.
    async fn large_files(&self, workspace: &Path) -> Result<(), GitError> {
        let call = self.git().call("lfs").tree(workspace).arg("version");
        call.run().await.map_err(|error| GitError::LargeFiles { message: error.to_string() })?;
        // Without these a task's own `git status` would call every large file changed.
        for (name, value) in LARGE_FILES {
            self.git().call("config").tree(workspace).args(["--local", name, value]).run().await?;
        }
        let call = self.git().call("lfs").tree(workspace).set(format!("lfs.url={}", lfs_url(self.url())));
        let call = call.remote(self.url(), self.credentials(), &self.known_hosts())?;
        call.args(["pull", "origin"]).run().await.map(drop)
    }
}

/// What `git lfs install --local` writes, without its hooks.
const LARGE_FILES: [(&str, &str); 4] = [
    ("filter.lfs.clean", "git-lfs clean -- %f"),
    ("filter.lfs.smudge", "git-lfs smudge -- %f"),
    ("filter.lfs.process", "git-lfs filter-process"),
    ("filter.lfs.required", "true"),
];

/// Returns where git-lfs would look by itself: a server over ssh is asked for the place.
fn lfs_url(url: &RepositoryUrl) -> String {
    match url.scheme() {
        Scheme::Ssh | Scheme::File => url.to_string(),
        Scheme::Https | Scheme::Http if url.as_str().ends_with(".git") => format!("{url}/info/lfs"),
        Scheme::Https | Scheme::Http => format!("{url}.git/info/lfs"),
    }
}

/// Where `HEAD` stands in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Head {
    /// A branch of the server.
    Branch(String),
    /// A branch that is only here.
    Local(String),
    Tag(Reference),
    Detached,
}

impl Head {
    fn of(plan: &CheckoutPlan) -> Self {
        let Some(reference) = &plan.reference else { return Self::Detached };
        match reference.kind() {
            Kind::Branch(name) => Self::Branch(name.to_owned()),
            Kind::PullRequest(number) => Self::Local(format!("pr/{number}")),
            Kind::Tag(_) => Self::Tag(reference.clone()),
            Kind::Change(_) => Self::Detached,
        }
    }
}

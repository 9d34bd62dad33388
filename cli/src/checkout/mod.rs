//! What the git checkout around the current folder says. Everything is optional: outside a checkout,
//! or without git, there is simply nothing to say.

mod changes;
mod git;
mod remote;
mod snapshot;

use std::path::PathBuf;

pub(crate) use git::Git;
pub(crate) use remote::{Remote, without_credentials};
pub(crate) use snapshot::{Snapshot, SnapshotError};

/// The commit that the checkout stands on.
#[derive(Debug, Default)]
pub(crate) struct Checkout {
    /// Its top folder.
    pub(crate) root: Option<PathBuf>,
    pub(crate) branch: Option<String>,
    pub(crate) commit: Option<String>,
    pub(crate) message: Option<String>,
    /// The address that it is pushed to.
    pub(crate) origin: Option<String>,
    /// `owner/name`, from that address.
    pub(crate) project: Option<String>,
    /// What the address is called here.
    remote: Option<String>,
}

/// How what is here compares with what the remote was last known to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The commit is part of the branch there.
    Yes,
    /// So many commits are here only; the branch there stands at this one.
    Behind { commits: u64, tip: String },
    /// Nothing is known of the branch there.
    Unknown,
}

impl Checkout {
    /// Returns the top folder alone.
    pub(crate) fn top() -> Option<PathBuf> {
        Git::here().text(&["rev-parse", "--show-toplevel"]).map(PathBuf::from)
    }

    pub(crate) fn here() -> Self {
        let git = Git::here();
        let branch = git.text(&["symbolic-ref", "--quiet", "--short", "HEAD"]);
        let remote = remote_of(&git, branch.as_deref());
        let origin =
            remote.as_deref().and_then(|name| git.text(&["config", "--get", &format!("remote.{name}.url")]));
        Self {
            root: Self::top(),
            commit: git.text(&["rev-parse", "--verify", "--quiet", "HEAD"]),
            message: git.text(&["log", "-1", "--format=%B"]),
            project: origin.as_deref().and_then(Remote::read).and_then(|remote| remote.project()),
            branch,
            origin,
            remote,
        }
    }

    /// Compares the commit with the branch as it was last seen at the remote.
    pub(crate) fn pushed(&self) -> Pushed {
        let (Some(branch), Some(remote)) = (&self.branch, &self.remote) else {
            return self.pushed_somewhere();
        };
        let git = Git::here();
        let tracked = format!("refs/remotes/{remote}/{branch}");
        let Some(tip) = git.text(&["rev-parse", "--verify", "--quiet", &tracked]) else {
            return Pushed::Unknown;
        };
        let only_here = git.text(&["rev-list", "--count", &format!("{tracked}..HEAD")]);
        match only_here.and_then(|count| count.parse().ok()) {
            Some(0) => Pushed::Yes,
            Some(commits) => Pushed::Behind { commits, tip },
            None => Pushed::Unknown,
        }
    }

    /// A commit without a branch here counts as pushed when some branch there has it.
    fn pushed_somewhere(&self) -> Pushed {
        let holding = ["for-each-ref", "--count=1", "--contains=HEAD", "--format=%(refname)", "refs/remotes"];
        match Git::here().text(&holding) {
            Some(_) => Pushed::Yes,
            None => Pushed::Unknown,
        }
    }

    /// Returns how many files differ from the commit, new ones included.
    pub(crate) fn uncommitted(&self) -> usize {
        let changed = Git::here().bytes(&["status", "--porcelain=v1", "-z", "--no-renames"]);
        changed.map_or(0, |bytes| bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty()).count())
    }

    /// Returns the full id of a commit that is named in any of git's ways.
    pub(crate) fn resolve(&self, name: &str) -> Option<String> {
        let wanted = format!("{name}^{{commit}}");
        Git::here().text(&["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted])
    }

    /// Returns the branch that others start from, as the remote was last seen.
    pub(crate) fn default_branch(&self) -> Option<String> {
        let git = Git::here();
        let remote = self.remote.as_deref()?;
        let prefix = format!("refs/remotes/{remote}/");
        let head = git.text(&["symbolic-ref", "--quiet", &format!("{prefix}HEAD")]);
        let named = head.and_then(|head| head.strip_prefix(&prefix).map(str::to_owned));
        named.or_else(|| {
            let is_there = |name: &&str| {
                git.text(&["rev-parse", "--verify", "--quiet", &format!("{prefix}{name}")]).is_some()
            };
            ["main", "master"].into_iter().find(is_there).map(str::to_owned)
        })
    }

    /// Returns the tag that the commit has.
    pub(crate) fn tag(&self) -> Option<String> {
        Git::here().text(&["describe", "--exact-match", "--tags", "HEAD"])
    }

    /// Returns who wrote the commit.
    pub(crate) fn author(&self) -> Option<String> {
        Git::here().text(&["log", "-1", "--format=%an"])
    }

    /// Returns what changed between a branch of the remote and a snapshot; none where nothing can be
    /// compared.
    pub(crate) fn changed(&self, since: &str, snapshot: &Snapshot) -> Option<Vec<String>> {
        let tracked = format!("refs/remotes/{}/{since}", self.remote.as_deref()?);
        let base = Git::here().text(&["merge-base", &tracked, "HEAD"])?;
        changes::between(&Git::at(&snapshot.repository), &base, &snapshot.tree)
    }
}

/// The remote of the branch, or `origin`, or the only one there is.
fn remote_of(git: &Git, branch: Option<&str>) -> Option<String> {
    let own = branch.and_then(|branch| git.text(&["config", "--get", &format!("branch.{branch}.remote")]));
    // A branch that follows another one here has `.` for its remote.
    if let Some(own) = own.filter(|own| own != ".") {
        return Some(own);
    }
    let all = git.text(&["remote"])?;
    let mut names = all.lines();
    match names.clone().find(|name| *name == "origin") {
        Some(origin) => Some(origin.to_owned()),
        None => names.next().filter(|_| names.next().is_none()).map(str::to_owned),
    }
}

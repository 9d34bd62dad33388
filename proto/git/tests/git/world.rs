//! A folder of one test: origins made by a plain git, and a `Git` of ours to look at them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ocelot_git::{
    Allowed, Checked, CheckoutPlan, CommitId, Contents, Credentials, Git, GitError, Mirror, Reference,
    RepositoryUrl, Setup, Submodules,
};
use tempfile::TempDir;

pub(crate) const ALL: Allowed = Allowed { http: true, file: true };

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) git: Git,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Setup, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A task's account must be able to reach its workspace.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut setup = Setup::new(folder.path().join("home"), folder.path().join("secrets"));
        setup.allowed = ALL;
        change(&mut setup, folder.path());
        Self { git: Git::open(setup).await.unwrap(), folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a repository with one commit on `main`.
    pub(crate) fn origin(&self, name: &str) -> Origin {
        let origin = Origin { path: self.path(name) };
        std::fs::create_dir_all(&origin.path).unwrap();
        origin.git(&["init", "--quiet", "--initial-branch=main"]);
        origin.git(&["config", "uploadpack.allowFilter", "true"]);
        origin.commit(&[("README.md", "hello\n")]);
        origin
    }

    pub(crate) async fn mirror(&self, name: &str, origin: &Origin) -> Mirror {
        self.open(name, &origin.url(), Credentials::None, Contents::Everything).await.unwrap()
    }

    pub(crate) async fn open(
        &self,
        name: &str,
        url: &RepositoryUrl,
        credentials: Credentials,
        contents: Contents,
    ) -> Result<Mirror, GitError> {
        Mirror::open(&self.git, self.path("mirrors").join(name), url, credentials, contents).await
    }

    pub(crate) async fn checkout(
        &self,
        mirror: &Mirror,
        plan: &CheckoutPlan,
        name: &str,
    ) -> Result<Checked, GitError> {
        let folder = self.path("mirrors");
        let place = move |url: &RepositoryUrl| folder.join(url.as_str().replace(['/', ':'], "_"));
        mirror.checkout(plan, &self.path(name), None, &Submodules { mirror: &place }).await
    }
}

pub(crate) fn plan(commit: &CommitId, reference: Option<Reference>) -> CheckoutPlan {
    CheckoutPlan { commit: commit.clone(), reference, depth: None, submodules: false, lfs: false }
}

pub(crate) fn main() -> Reference {
    Reference::branch("main").unwrap()
}

/// Runs a plain git and returns what it printed.
pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    try_git(folder, args).unwrap_or_else(|error| panic!("git {args:?}: {error}"))
}

pub(crate) fn try_git(folder: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.com");
        command.env(format!("GIT_{who}_DATE"), "2026-01-02T03:04:05Z");
    }
    let output = command.arg("-C").arg(folder).args(args).output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A repository that someone pushes to.
pub(crate) struct Origin {
    pub(crate) path: PathBuf,
}

impl Origin {
    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(&self.path, args)
    }

    pub(crate) fn url(&self) -> RepositoryUrl {
        RepositoryUrl::parse_with(self.path.to_str().unwrap(), ALL).unwrap()
    }

    pub(crate) fn head(&self) -> CommitId {
        CommitId::parse(&self.git(&["rev-parse", "HEAD"])).unwrap()
    }

    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> CommitId {
        for (path, text) in files {
            let path = self.path.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git(&["add", "--all"]);
        self.commit_index("change")
    }

    pub(crate) fn commit_index(&self, message: &str) -> CommitId {
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.head()
    }

    /// Makes a commit of a tree that no work tree could hold, from lines for `git mktree`.
    pub(crate) fn commit_tree(&self, lines: &str) -> CommitId {
        std::fs::write(self.path.join(".git/lines"), lines).unwrap();
        let script = "git mktree --missing <.git/lines";
        let made = Command::new("sh").args(["-c", script]).current_dir(&self.path).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let tree = String::from_utf8(made.stdout).unwrap();
        let commit = self.git(&["commit-tree", "-m", "odd", "-p", "HEAD", tree.trim()]);
        self.git(&["update-ref", "refs/heads/main", &commit]);
        CommitId::parse(&commit).unwrap()
    }

    pub(crate) fn blob(&self, text: &str) -> String {
        std::fs::write(self.path.join(".git/blob"), text).unwrap();
        self.git(&["hash-object", "-w", ".git/blob"])
    }
}

/// Writes a program through another process: a file that we hold open for writing cannot be run.
pub(crate) fn script(path: &Path, text: &str) {
    let write = Command::new("sh")
        .args(["-c", "printf '%s' \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .arg(text)
        .status();
    assert!(write.unwrap().success());
}

/// Finds the git that a wrapper hands over to.
pub(crate) fn real_git() -> String {
    let found = Command::new("sh").args(["-c", "command -v git"]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

//! What can go wrong with git, as a caller tells it apart.
//!
//! A text here is shown to users. It never holds a credential, and says what to do where we know.

use std::path::PathBuf;
use std::time::Duration;

use crate::cause::Cause;
use crate::credentials::CredentialsError;
use crate::guard::Refusal;
use crate::reference::CommitId;
use crate::url::{RepositoryUrl, UrlError};
use crate::version::Version;

/// Why git did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("cannot run {program}: {source}; is git installed?")]
    Start { program: PathBuf, source: std::io::Error },
    #[error("git {verb} was ended after {} s without an end of its own", .limit.as_secs())]
    Deadline { verb: &'static str, limit: Duration },
    #[error("git {verb} failed: {message}{}", .cause.advice())]
    Failed { verb: &'static str, cause: Cause, message: String },
    #[error("git {verb} wrote more than {limit} bytes")]
    Output { verb: &'static str, limit: usize },
    #[error("git {verb} answered what we do not understand: {what}")]
    Answer { verb: &'static str, what: String },
    #[error("{url} has more than {limit} refs; a repository of that many is not followed")]
    References { url: RepositoryUrl, limit: usize },
    #[error(
        "commit {commit} is not in {url}: it was never pushed there, or a force-push took it away before \
         it was fetched; build a commit that a branch or tag holds ({message})"
    )]
    NoCommit { commit: CommitId, url: RepositoryUrl, message: String },
    #[error("{}:// is not allowed here ({url})", .url.scheme().name())]
    Scheme { url: RepositoryUrl },
    #[error("{url} is not fetched: {}", .refusal.why)]
    Refused { url: RepositoryUrl, refusal: Refusal },
    #[error("{path} is {kind}, not a file")]
    NotAFile { path: String, kind: &'static str },
    #[error("{path} has more than {limit} bytes")]
    Large { path: String, limit: usize },
    #[error("{path:?} is not the path of a file in a repository")]
    Path { path: String },
    #[error("another process held {} for {} s", .path.display(), .waited.as_secs())]
    Locked { path: PathBuf, waited: Duration },
    #[error("cannot {what} {}: {source}", .path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} is not empty; a checkout needs a folder of its own", .path.display())]
    Occupied { path: PathBuf },
    #[error(
        "git {version} is too old for submodules (CVE-2025-48384); install 2.43.7, 2.47.3, 2.50.1 or later"
    )]
    SubmodulesRefused { version: Version },
    #[error("commit {commit} has more than {limit} files; so many are not checked out")]
    Files { commit: CommitId, limit: u64 },
    #[error("the files of commit {commit} take {bytes} bytes, and the disk has {free}")]
    Room { commit: CommitId, bytes: u64, free: u64 },
    #[error("the mirror of {url} is one without files: nothing can be checked out from it")]
    NoFiles { url: RepositoryUrl },
    #[error("submodule {path:?}: {why}")]
    Submodule { path: String, why: String },
    #[error("submodule {path:?}: {source}")]
    SubmoduleUrl { path: String, source: UrlError },
    #[error("this task asks for large files (LFS), and git-lfs is not installed here: {message}")]
    LargeFiles { message: String },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl GitError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// Returns what git's own words mean, where git failed.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Failed { cause, .. } => Some(*cause),
            _ => None,
        }
    }

    /// Tells whether the same call may succeed later with nothing changed.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Deadline { .. }
                | Self::Locked { .. }
                | Self::Failed { cause: Cause::Unreachable, .. }
                | Self::Refused { refusal: Refusal { may_pass: true, .. }, .. }
        )
    }

    /// Tells whether the mirror is broken, where nothing but the mirror was asked.
    pub(crate) fn is_corruption(&self) -> bool {
        matches!(self.cause(), Some(Cause::Corrupt | Cause::CorruptThere))
    }
}

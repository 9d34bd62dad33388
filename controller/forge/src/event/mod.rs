//! What happened in a repository, in one form whoever told of it: a webhook, a poller or a command.
//!
//! An event names repositories and people by the forge's immutable ids; their names are for people.
//! Trust ([`trust`]) and sameness ([`key`]) are decided from what cannot be renamed, never from a
//! text that a contributor chose.

mod key;
mod trust;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use key::SemanticKey;
pub use trust::{Trust, Untrusted};

use crate::Forge;

/// One thing that happened in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// None: a git host that is no forge we know.
    pub forge: Option<Forge>,
    pub repository: RepositoryIdentity,
    pub actor: Actor,
    pub kind: EventKind,
}

/// What a forge says of a repository. URLs and names are its words at that moment: a project is
/// found by the id and fetched from the address that it was added with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryIdentity {
    pub id: RepositoryId,
    pub full_name: String,
    pub clone_url_https: Option<String>,
    pub clone_url_ssh: Option<String>,
    pub default_branch: Option<String>,
    pub web_url: Option<String>,
    /// True where the forge does not say.
    pub private: bool,
}

/// The id under which a forge knows a repository for ever: a number, or a UUID at Bitbucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepositoryId(String);

impl RepositoryId {
    /// Takes a text that was an id before, from a store or a configuration.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who did it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    pub id: Option<String>,
    pub login: String,
}

/// The id of a commit in lower-case hex: 40 or 64 digits, at Bitbucket's pull requests fewer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

/// A text that is the id of no commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a commit is 40 or 64 hexadecimal digits (at least 7 where it is abbreviated)")]
pub struct NotACommit;

impl CommitId {
    /// Takes a whole or an abbreviated id; all zeros is what git says for *none*.
    pub fn new(text: &str) -> Result<Self, NotACommit> {
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match hex && (7..=64).contains(&text.len()) && text.bytes().any(|byte| byte != b'0') {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(NotACommit),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a whole id; an abbreviated one is asked for before it is built.
    pub fn is_whole(&self) -> bool {
        matches!(self.0.len(), 40 | 64)
    }

    /// Whether both name one commit, so far as the shorter of them tells.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CommitId {
    type Error = NotACommit;

    fn try_from(text: String) -> Result<Self, NotACommit> {
        Self::new(&text)
    }
}

impl From<CommitId> for String {
    fn from(id: CommitId) -> Self {
        id.0
    }
}

/// The kind of an event, with what belongs to it. Branch and tag names are without `refs/..`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Push(Push),
    BranchDeleted { branch: String, before: Option<CommitId> },
    Tag(Tag),
    TagDeleted { tag: String, before: Option<CommitId> },
    PullRequest(PullRequest),
}

/// A branch points to another commit than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    pub branch: String,
    /// None: the branch is new, or is seen for the first time.
    pub before: Option<CommitId>,
    pub after: CommitId,
    /// None: the forge does not say; git knows once both commits are fetched.
    pub forced: Option<bool>,
    /// The first of them as the forge lists them; `commits_total` counts all that it told of.
    pub commits: Vec<Commit>,
    pub commits_total: u64,
    /// The whole message of `after`, where the forge tells it.
    pub head_message: Option<String>,
}

impl Push {
    /// Whether the branch is new.
    pub fn created(&self) -> bool {
        self.before.is_none()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub id: CommitId,
    pub message: String,
    pub author: String,
}

/// A tag is new, or points elsewhere than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    pub tag: String,
    pub before: Option<CommitId>,
    /// What the ref points to: the commit, or the tag object of an annotated tag.
    pub object: CommitId,
    /// The commit, where the forge tells it apart; otherwise the same as `object`.
    pub commit: CommitId,
}

/// A pull request has a head that was not seen before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    pub number: u64,
    pub title: String,
    pub action: PullRequestAction,
    pub author: Actor,
    pub head_commit: CommitId,
    pub head_ref: String,
    /// None: the repository of the head is unknown, hidden or deleted, or there is none, because
    /// the head was pushed for review by one who need not have the right to push (AGit).
    pub head_repository_id: Option<RepositoryId>,
    pub head_clone_url: Option<String>,
    pub base_ref: String,
    pub base_commit: Option<CommitId>,
    pub base_repository_id: Option<RepositoryId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullRequestAction {
    Opened,
    /// The head moved, or the base is another branch.
    Synchronised,
    Reopened,
}

impl EventKind {
    /// The word for keys, logs and people.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Push(_) => "push",
            Self::BranchDeleted { .. } => "branch_deleted",
            Self::Tag(_) => "tag",
            Self::TagDeleted { .. } => "tag_deleted",
            Self::PullRequest(_) => "pull_request",
        }
    }
}

impl Event {
    /// Whether this happened in that repository: one who knows a project's secret can still sign
    /// a payload that speaks of another.
    pub fn is_of(&self, repository: &RepositoryId) -> bool {
        self.repository.id == *repository
    }
}

#[cfg(test)]
mod tests;

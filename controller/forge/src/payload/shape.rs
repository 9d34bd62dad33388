//! What the payloads of several forges have in common: people, commits, repositories, ends of a ref.

use serde::Deserialize;

use super::{Delivery, Malformed, refuse};
use crate::Forge;
use crate::event::{Actor, Commit, CommitId, Event, EventKind, Push, RepositoryId, RepositoryIdentity, Tag};
use crate::text::{Bounded, Cut, Name, NumberId};

pub(super) const COMMITS_MAX: usize = 100;
/// Git itself takes no longer ref on most file systems.
pub(super) type RefText = Name<1024>;
pub(super) type CommitText = Name<64>;
pub(super) type Url = Cut<2048>;
pub(super) type Title = Cut<1024>;
pub(super) type Login = Cut<256>;
pub(super) type Message = Cut<8192>;

/// A repository as GitHub and Gitea tell of it, in deliveries and by their API alike.
#[derive(Debug, Deserialize)]
pub(crate) struct RepositoryShape {
    #[serde(default)]
    pub(super) id: NumberId,
    full_name: Name<512>,
    clone_url: Option<Url>,
    ssh_url: Option<Url>,
    default_branch: Option<RefText>,
    html_url: Option<Url>,
    private: Option<bool>,
}

impl RepositoryShape {
    pub(crate) fn identity(self) -> Option<RepositoryIdentity> {
        Some(RepositoryIdentity {
            id: number_id(self.id)?,
            full_name: self.full_name.0,
            clone_url_https: self.clone_url.map(|url| url.0),
            clone_url_ssh: self.ssh_url.map(|url| url.0),
            default_branch: self.default_branch.map(|branch| branch.0),
            web_url: self.html_url.map(|url| url.0),
            private: self.private.unwrap_or(true),
        })
    }
}

/// One end of a pull request at GitHub and Gitea.
#[derive(Debug, Deserialize)]
pub(super) struct PullEnd {
    #[serde(rename = "ref")]
    pub(super) reference: RefText,
    pub(super) sha: CommitText,
    label: Option<Title>,
    /// Gitea tells the id a second time; where both are there, both must say the same.
    #[serde(default)]
    repo_id: Option<NumberId>,
    repo: Option<EndRepository>,
}

#[derive(Debug, Deserialize)]
struct EndRepository {
    #[serde(default)]
    id: NumberId,
    clone_url: Option<Url>,
}

impl PullEnd {
    pub(super) fn repository_id(&self) -> Option<RepositoryId> {
        let id = self.repo.as_ref()?.id;
        match self.repo_id {
            Some(second) if second != id => None,
            Some(_) | None => number_id(id),
        }
    }

    /// Whether this head is no branch of any repository: at Gitea whoever may read can push for
    /// review (AGit), and the delivery then names the base repository as that of the head.
    pub(super) fn is_no_branch(&self) -> bool {
        self.reference.0.starts_with("refs/") || self.label.as_ref().is_some_and(|label| label.0.is_empty())
    }

    pub(super) fn clone_url(&self) -> Option<String> {
        self.repo.as_ref()?.clone_url.as_ref().map(|url| url.0.clone())
    }
}

/// A person at GitHub and Gitea.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Person {
    #[serde(default)]
    id: NumberId,
    login: Option<Login>,
}

impl Person {
    pub(super) fn actor(person: Option<Self>) -> Actor {
        let Self { id, login } = person.unwrap_or_default();
        Actor { id: id.0.map(|id| id.to_string()), login: login.unwrap_or_default().0 }
    }
}

/// A commit of a push at GitHub, GitLab and Gitea.
#[derive(Debug, Deserialize)]
pub(super) struct CommitShape {
    pub(super) id: CommitText,
    pub(super) message: Option<Message>,
    author: Option<Author>,
}

#[derive(Debug, Deserialize)]
struct Author {
    name: Option<Login>,
}

pub(super) type Commits = Bounded<CommitShape, COMMITS_MAX>;

/// The commits of a push; one without a right id is left out, because it names nothing.
pub(super) fn commits(list: &Commits) -> Vec<Commit> {
    let commit = |shape: &CommitShape| {
        let author = shape.author.as_ref().and_then(|author| author.name.clone());
        let message = shape.message.clone().unwrap_or_default().0;
        Some(Commit { id: CommitId::new(&shape.id.0).ok()?, message, author: author.unwrap_or_default().0 })
    };
    list.kept.iter().filter_map(commit).collect()
}

/// The id of a repository that a number names.
pub(crate) fn number_id(id: NumberId) -> Option<RepositoryId> {
    id.0.map(|id| RepositoryId::from_text(id.to_string()))
}

/// A ref that moved, with its ends as git says them.
pub(super) struct Moved<'a> {
    pub(super) forge: Forge,
    pub(super) reference: &'a str,
    pub(super) before: &'a str,
    pub(super) after: &'a str,
    /// The commit of an annotated tag.
    pub(super) peeled: Option<&'a str>,
    pub(super) forced: Option<bool>,
    pub(super) commits: Commits,
    pub(super) total: Option<u64>,
    pub(super) head_message: Option<String>,
}

/// What the move of a ref is: a push, a tag, a deletion, or nothing for us.
pub(super) fn moved(
    it: Moved<'_>,
    repository: RepositoryIdentity,
    actor: Actor,
) -> Result<Delivery, Malformed> {
    let forge = it.forge;
    let (before, after) = (end(forge, it.before)?, end(forge, it.after)?);
    let kind = if let Some(branch) = it.reference.strip_prefix("refs/heads/") {
        branch_moved(branch.to_owned(), before, after, it)
    } else if let Some(tag) = it.reference.strip_prefix("refs/tags/") {
        let tag = tag.to_owned();
        match after {
            None => EventKind::TagDeleted { tag, before },
            Some(object) => {
                let peeled = it.peeled.map(|commit| whole(forge, commit)).transpose()?;
                EventKind::Tag(Tag { tag, before, commit: peeled.unwrap_or_else(|| object.clone()), object })
            }
        }
    } else {
        return Ok(Delivery::ignored("push: the ref is neither a branch nor a tag"));
    };
    Ok(Delivery::one(Event { forge: Some(forge), repository, actor, kind }))
}

fn branch_moved(
    branch: String,
    before: Option<CommitId>,
    after: Option<CommitId>,
    it: Moved<'_>,
) -> EventKind {
    let Some(after) = after else { return EventKind::BranchDeleted { branch, before } };
    let of_head = it.commits.kept.iter().find(|commit| commit.id.0 == after.as_str());
    let found = of_head.and_then(|commit| commit.message.as_ref()).map(|message| message.0.clone());
    EventKind::Push(Push {
        branch,
        before,
        after,
        forced: it.forced,
        commits: commits(&it.commits),
        commits_total: it.total.unwrap_or(it.commits.total),
        head_message: it.head_message.or(found),
    })
}

/// One end of a move: nothing where git says all zeros.
fn end(forge: Forge, text: &str) -> Result<Option<CommitId>, Malformed> {
    match matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte == b'0') {
        true => Ok(None),
        false => whole(forge, text).map(Some),
    }
}

pub(super) fn whole(forge: Forge, text: &str) -> Result<CommitId, Malformed> {
    let id = CommitId::new(text).ok().filter(CommitId::is_whole);
    id.ok_or_else(|| refuse(forge, "delivery", "a commit's id is not 40 or 64 hexadecimal digits"))
}

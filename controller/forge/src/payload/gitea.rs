//! Gitea's and Forgejo's deliveries: as GitHub's, but a deleted branch comes as `delete` alone, a
//! moved head is *synchronized*, and the head of a deleted fork has no repository.
//!
//! Whoever may read a repository may push for review to `refs/for/..` (AGit). Such a pull request
//! names the base repository as the one of its head although its author can not push there: its
//! head is taken to be in no repository, so it is never trusted. Only the lack of a branch is read
//! from the ref here: it can take trust away, not give it.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::shape::{
    CommitShape, CommitText, Commits, Moved, Person, PullEnd, RefText, RepositoryShape, Title, moved, whole,
};
use super::{Delivery, Malformed, read, refuse};
use crate::Forge;
use crate::event::{
    CommitId, Event, EventKind, PullRequest, PullRequestAction, RepositoryId, RepositoryIdentity,
};
use crate::text::{Name, NumberId};

const FORGE: Forge = Forge::Gitea;

#[derive(Deserialize)]
struct PushBody {
    #[serde(rename = "ref")]
    reference: RefText,
    before: CommitText,
    after: CommitText,
    #[serde(default)]
    commits: Commits,
    total_commits: Option<u64>,
    head_commit: Option<CommitShape>,
    repository: RepositoryShape,
    sender: Option<Person>,
}

#[derive(Deserialize)]
struct DeleteBody {
    #[serde(rename = "ref")]
    reference: RefText,
    ref_type: Name<64>,
    repository: RepositoryShape,
    sender: Option<Person>,
}

#[derive(Deserialize)]
struct PullRequestBody {
    action: Name<64>,
    pull_request: PullShape,
    changes: Option<Changes>,
    repository: RepositoryShape,
    sender: Option<Person>,
}

#[derive(Deserialize)]
struct Changes {
    /// The base was another branch.
    #[serde(rename = "ref")]
    base: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct PullShape {
    number: NumberId,
    title: Option<Title>,
    user: Option<Person>,
    head: PullEnd,
    base: PullEnd,
    /// Forgejo: 0 for a branch of a repository, 1 for AGit.
    #[serde(default)]
    flow: NumberId,
}

impl PullShape {
    fn head_repository_id(&self) -> Option<RepositoryId> {
        match self.flow.0.is_some() || self.head.is_no_branch() {
            true => None,
            false => self.head.repository_id(),
        }
    }
}

pub(super) fn parse(event: &str, body: &[u8]) -> Result<Delivery, Malformed> {
    match event {
        "push" => push(read(FORGE, "push", body)?),
        "delete" => deleted(read(FORGE, "delete", body)?),
        "pull_request" | "pull_request_sync" => pull_request(read(FORGE, "pull request", body)?),
        "create" => Ok(Delivery::ignored("create: the push event of the same ref tells of it")),
        other => Ok(Delivery::of_no_interest(other)),
    }
}

fn identity(shape: RepositoryShape, event: &'static str) -> Result<RepositoryIdentity, Malformed> {
    shape.identity().ok_or_else(|| refuse(FORGE, event, "the repository has no id"))
}

fn push(body: PushBody) -> Result<Delivery, Malformed> {
    let repository = identity(body.repository, "push")?;
    let head = body.head_commit;
    moved(
        Moved {
            forge: FORGE,
            reference: &body.reference.0,
            before: &body.before.0,
            after: &body.after.0,
            peeled: head.as_ref().map(|head| head.id.0.as_str()),
            forced: None,
            commits: body.commits,
            total: body.total_commits,
            head_message: head.as_ref().and_then(|head| head.message.clone()).map(|message| message.0),
        },
        repository,
        Person::actor(body.sender),
    )
}

fn deleted(body: DeleteBody) -> Result<Delivery, Malformed> {
    let repository = identity(body.repository, "delete")?;
    let name = body.reference.0;
    let kind = match body.ref_type.0.as_str() {
        "branch" => EventKind::BranchDeleted {
            branch: name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned(),
            before: None,
        },
        "tag" => EventKind::TagDeleted {
            tag: name.strip_prefix("refs/tags/").unwrap_or(&name).to_owned(),
            before: None,
        },
        _ => return Ok(Delivery::ignored("delete: the ref is neither a branch nor a tag")),
    };
    Ok(Delivery::one(Event { forge: Some(FORGE), repository, actor: Person::actor(body.sender), kind }))
}

fn pull_request(body: PullRequestBody) -> Result<Delivery, Malformed> {
    let action = match body.action.0.as_str() {
        "opened" => PullRequestAction::Opened,
        "synchronized" => PullRequestAction::Synchronised,
        "reopened" => PullRequestAction::Reopened,
        "edited" if body.changes.is_some_and(|changes| changes.base.is_some()) => {
            PullRequestAction::Synchronised
        }
        "closed" => return Ok(Delivery::ignored("pull request closed: nothing is built for it")),
        other => return Ok(Delivery::of_no_interest(&format!("pull request {other}"))),
    };
    let repository = identity(body.repository, "pull request")?;
    let pull = body.pull_request;
    let number = pull.number.0;
    let number = number.ok_or_else(|| refuse(FORGE, "pull request", "the pull request has no number"))?;
    let head_repository_id = pull.head_repository_id();
    let kind = EventKind::PullRequest(PullRequest {
        number,
        title: pull.title.unwrap_or_default().0,
        action,
        author: Person::actor(pull.user),
        head_repository_id,
        head_commit: whole(FORGE, &pull.head.sha.0)?,
        head_clone_url: pull.head.clone_url(),
        head_ref: pull.head.reference.0,
        base_commit: CommitId::new(&pull.base.sha.0).ok(),
        base_repository_id: pull.base.repository_id(),
        base_ref: pull.base.reference.0,
    });
    Ok(Delivery::one(Event { forge: Some(FORGE), repository, actor: Person::actor(body.sender), kind }))
}

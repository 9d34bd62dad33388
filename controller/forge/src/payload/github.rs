//! GitHub's deliveries: `push` tells of branches and tags, new, moved and deleted; `pull_request`.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::shape::{
    CommitShape, CommitText, Commits, Moved, Person, PullEnd, RefText, RepositoryShape, Title, moved, whole,
};
use super::{Delivery, Malformed, read, refuse};
use crate::Forge;
use crate::event::{CommitId, Event, EventKind, PullRequest, PullRequestAction};
use crate::text::{Name, NumberId};

const FORGE: Forge = Forge::GitHub;

#[derive(Deserialize)]
struct PushBody {
    #[serde(rename = "ref")]
    reference: RefText,
    before: CommitText,
    after: CommitText,
    forced: Option<bool>,
    #[serde(default)]
    commits: Commits,
    head_commit: Option<CommitShape>,
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

/// Which fields an *edited* pull request had otherwise before.
#[derive(Deserialize)]
struct Changes {
    base: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct PullShape {
    number: NumberId,
    title: Option<Title>,
    user: Option<Person>,
    head: PullEnd,
    base: PullEnd,
}

pub(super) fn parse(event: &str, body: &[u8]) -> Result<Delivery, Malformed> {
    match event {
        "ping" => Ok(Delivery::ignored("ping: the hook works")),
        "push" => push(read(FORGE, "push", body)?),
        "pull_request" => pull_request(read(FORGE, "pull request", body)?),
        "create" | "delete" => {
            Ok(Delivery::ignored(format!("{event}: the push event of the same ref tells of it")))
        }
        other => Ok(Delivery::of_no_interest(other)),
    }
}

fn push(body: PushBody) -> Result<Delivery, Malformed> {
    let repository = body.repository.identity();
    let repository = repository.ok_or_else(|| refuse(FORGE, "push", "the repository has no id"))?;
    let head = body.head_commit;
    moved(
        Moved {
            forge: FORGE,
            reference: &body.reference.0,
            before: &body.before.0,
            after: &body.after.0,
            peeled: head.as_ref().map(|head| head.id.0.as_str()),
            forced: body.forced,
            commits: body.commits,
            total: None,
            head_message: head.as_ref().and_then(|head| head.message.clone()).map(|message| message.0),
        },
        repository,
        Person::actor(body.sender),
    )
}

fn pull_request(body: PullRequestBody) -> Result<Delivery, Malformed> {
    let action = match body.action.0.as_str() {
        "opened" => PullRequestAction::Opened,
        "synchronize" => PullRequestAction::Synchronised,
        "reopened" => PullRequestAction::Reopened,
        "edited" if body.changes.is_some_and(|changes| changes.base.is_some()) => {
            PullRequestAction::Synchronised
        }
        "closed" => return Ok(Delivery::ignored("pull request closed: nothing is built for it")),
        other => return Ok(Delivery::of_no_interest(&format!("pull request {other}"))),
    };
    let missing = |why| refuse(FORGE, "pull request", why);
    let repository = body.repository.identity().ok_or_else(|| missing("the repository has no id"))?;
    let pull = body.pull_request;
    let kind = EventKind::PullRequest(PullRequest {
        number: pull.number.0.ok_or_else(|| missing("the pull request has no number"))?,
        title: pull.title.unwrap_or_default().0,
        action,
        author: Person::actor(pull.user),
        head_commit: whole(FORGE, &pull.head.sha.0)?,
        head_repository_id: pull.head.repository_id(),
        head_clone_url: pull.head.clone_url(),
        head_ref: pull.head.reference.0,
        base_commit: CommitId::new(&pull.base.sha.0).ok(),
        base_repository_id: pull.base.repository_id(),
        base_ref: pull.base.reference.0,
    });
    Ok(Delivery::one(Event { forge: Some(FORGE), repository, actor: Person::actor(body.sender), kind }))
}

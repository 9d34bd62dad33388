//! Bitbucket Cloud's deliveries: one `repo:push` tells of every ref that the push moved, and
//! `pullrequest:updated` comes for a changed title too: the event's key knows the head again.
//!
//! The commits of a pull request are abbreviated here (12 digits); the API gives the whole id.

use serde::Deserialize;

use super::shape::{CommitText, Login, Message, RefText, Title, whole};
use super::{Delivery, EVENTS_MAX, Malformed, read, refuse};
use crate::Forge;
use crate::event::{
    Actor, Commit, CommitId, Event, EventKind, PullRequest, PullRequestAction, Push, RepositoryId,
    RepositoryIdentity, Tag,
};
use crate::text::{Bounded, Href, Name, NumberId, UuidId};

const FORGE: Forge = Forge::Bitbucket;
const COMMITS_MAX: usize = super::shape::COMMITS_MAX;

#[derive(Deserialize)]
struct PushBody {
    push: Changes,
    repository: Repository,
    actor: Option<Person>,
}

#[derive(Deserialize)]
struct Changes {
    changes: Bounded<Change, EVENTS_MAX>,
}

#[derive(Deserialize)]
struct Change {
    old: Option<Ref>,
    new: Option<Ref>,
    forced: Option<bool>,
    #[serde(default)]
    commits: Bounded<CommitShape, COMMITS_MAX>,
}

#[derive(Deserialize)]
struct Ref {
    #[serde(rename = "type")]
    kind: Name<64>,
    name: RefText,
    target: CommitShape,
}

#[derive(Deserialize)]
struct CommitShape {
    hash: CommitText,
    message: Option<Message>,
    author: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    raw: Option<Login>,
    user: Option<Person>,
}

#[derive(Default, Deserialize)]
struct Person {
    #[serde(default)]
    uuid: UuidId,
    nickname: Option<Login>,
    display_name: Option<Login>,
}

#[derive(Deserialize)]
struct Repository {
    #[serde(default)]
    uuid: UuidId,
    full_name: Name<512>,
    is_private: Option<bool>,
    mainbranch: Option<MainBranch>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct MainBranch {
    name: RefText,
}

#[derive(Deserialize)]
struct Links {
    html: Option<Href>,
}

#[derive(Deserialize)]
struct PullRequestBody {
    pullrequest: Pull,
    repository: Repository,
    actor: Option<Person>,
}

#[derive(Deserialize)]
struct Pull {
    id: NumberId,
    title: Option<Title>,
    state: Option<Name<64>>,
    author: Option<Person>,
    source: End,
    destination: End,
}

#[derive(Deserialize)]
struct End {
    branch: MainBranch,
    commit: Option<CommitShape>,
    repository: Option<EndRepository>,
}

#[derive(Deserialize)]
struct EndRepository {
    #[serde(default)]
    uuid: UuidId,
    full_name: Option<Name<512>>,
}

pub(super) fn parse(event: &str, body: &[u8]) -> Result<Delivery, Malformed> {
    match event {
        "repo:push" => push(read(FORGE, "push", body)?),
        "pullrequest:created" => pull_request(PullRequestAction::Opened, read(FORGE, "pull request", body)?),
        "pullrequest:updated" => {
            pull_request(PullRequestAction::Synchronised, read(FORGE, "pull request", body)?)
        }
        "pullrequest:fulfilled" | "pullrequest:rejected" => {
            Ok(Delivery::ignored("pull request closed: nothing is built for it"))
        }
        "diagnostics:ping" => Ok(Delivery::ignored("ping: the hook works")),
        other => Ok(Delivery::of_no_interest(other)),
    }
}

fn person(person: Option<Person>) -> Actor {
    let Person { uuid, nickname, display_name } = person.unwrap_or_default();
    Actor { id: uuid.0, login: nickname.or(display_name).unwrap_or_default().0 }
}

/// The deliveries name no addresses to clone from; at Bitbucket Cloud they follow from the name.
fn clone_url(full_name: &str) -> String {
    format!("https://bitbucket.org/{full_name}.git")
}

fn identity(shape: Repository) -> Result<RepositoryIdentity, Malformed> {
    let id = shape.uuid.0.map(RepositoryId::from_text);
    let full_name = shape.full_name.0;
    Ok(RepositoryIdentity {
        id: id.ok_or_else(|| refuse(FORGE, "delivery", "the repository has no uuid"))?,
        clone_url_https: Some(clone_url(&full_name)),
        clone_url_ssh: Some(format!("git@bitbucket.org:{full_name}.git")),
        full_name,
        default_branch: shape.mainbranch.map(|branch| branch.name.0),
        web_url: shape.links.and_then(|links| links.html).map(|link| link.href.0),
        private: shape.is_private.unwrap_or(true),
    })
}

fn commit(text: &CommitText) -> Result<CommitId, Malformed> {
    CommitId::new(&text.0).map_err(|error| refuse(FORGE, "delivery", &error.to_string()))
}

fn push(body: PushBody) -> Result<Delivery, Malformed> {
    let repository = identity(body.repository)?;
    let actor = person(body.actor);
    let Bounded { kept, total } = body.push.changes;
    let left_out = total - kept.len() as u64;
    let mut events = Vec::new();
    for change in kept {
        if let Some(kind) = changed(change)? {
            let (repository, actor) = (repository.clone(), actor.clone());
            events.push(Event { forge: Some(FORGE), repository, actor, kind });
        }
    }
    match events.is_empty() {
        true => Ok(Delivery::ignored("push: it moved neither a branch nor a tag")),
        false => Ok(Delivery::Events { events, left_out }),
    }
}

fn changed(change: Change) -> Result<Option<EventKind>, Malformed> {
    let before = change.old.as_ref().map(|old| whole(FORGE, &old.target.hash.0)).transpose()?;
    let Some(new) = change.new else {
        return Ok(change.old.and_then(|old| match old.kind.0.as_str() {
            "branch" => Some(EventKind::BranchDeleted { branch: old.name.0, before }),
            "tag" => Some(EventKind::TagDeleted { tag: old.name.0, before }),
            _ => None,
        }));
    };
    let after = whole(FORGE, &new.target.hash.0)?;
    match new.kind.0.as_str() {
        "branch" => Ok(Some(EventKind::Push(Push {
            branch: new.name.0,
            before,
            after,
            forced: change.forced,
            commits: change.commits.kept.into_iter().filter_map(listed).collect(),
            commits_total: change.commits.total,
            head_message: new.target.message.map(|message| message.0),
        }))),
        "tag" => {
            Ok(Some(EventKind::Tag(Tag { tag: new.name.0, before, object: after.clone(), commit: after })))
        }
        _ => Ok(None),
    }
}

fn listed(shape: CommitShape) -> Option<Commit> {
    let author = shape.author.map(|author| match author.user {
        Some(user) => person(Some(user)).login,
        None => author.raw.unwrap_or_default().0,
    });
    let message = shape.message.unwrap_or_default().0;
    Some(Commit { id: CommitId::new(&shape.hash.0).ok()?, message, author: author.unwrap_or_default() })
}

fn pull_request(action: PullRequestAction, body: PullRequestBody) -> Result<Delivery, Malformed> {
    let missing = |why| refuse(FORGE, "pull request", why);
    let pull = body.pullrequest;
    if pull.state.is_some_and(|state| state.0 != "OPEN") {
        return Ok(Delivery::ignored("pull request closed: nothing is built for it"));
    }
    let repository = identity(body.repository)?;
    let head = pull.source.commit.as_ref().ok_or_else(|| missing("the head names no commit"))?;
    let id =
        |end: &End| end.repository.as_ref().and_then(|it| it.uuid.0.clone()).map(RepositoryId::from_text);
    let name = pull.source.repository.as_ref().and_then(|repository| repository.full_name.as_ref());
    let kind = EventKind::PullRequest(PullRequest {
        number: pull.id.0.ok_or_else(|| missing("the pull request has no number"))?,
        title: pull.title.unwrap_or_default().0,
        action,
        author: person(pull.author),
        head_commit: commit(&head.hash)?,
        head_clone_url: name.map(|name| clone_url(&name.0)),
        head_repository_id: id(&pull.source),
        base_commit: pull.destination.commit.as_ref().and_then(|it| CommitId::new(&it.hash.0).ok()),
        base_repository_id: id(&pull.destination),
        head_ref: pull.source.branch.name.0,
        base_ref: pull.destination.branch.name.0,
    });
    Ok(Delivery::one(Event { forge: Some(FORGE), repository, actor: person(body.actor), kind }))
}

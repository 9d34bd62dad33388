//! GitLab's deliveries: `push`, `tag_push` and `merge_request`.
//!
//! The body names its own kind, which is verified with it; the header only says what is of no
//! interest. A merge request is *updated* by everything: its head moved where `oldrev` stands.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::shape::{
    CommitShape, CommitText, Commits, Login, Moved, RefText, Title, Url, moved, number_id, whole,
};
use super::{Delivery, Malformed, read, refuse};
use crate::Forge;
use crate::event::{
    Actor, Event, EventKind, PullRequest, PullRequestAction, RepositoryId, RepositoryIdentity,
};
use crate::text::{Name, NumberId};

const FORGE: Forge = Forge::GitLab;
/// `visibility_level` of a project that everybody may see; *internal* is not that.
const PUBLIC: u64 = 20;

#[derive(Deserialize)]
struct Kind {
    object_kind: Name<64>,
}

#[derive(Deserialize)]
struct PushBody {
    #[serde(rename = "ref")]
    reference: RefText,
    before: CommitText,
    after: CommitText,
    checkout_sha: Option<CommitText>,
    #[serde(default)]
    commits: Commits,
    total_commits_count: Option<u64>,
    project: Project,
    #[serde(default)]
    user_id: NumberId,
    user_username: Option<Login>,
}

#[derive(Deserialize)]
struct Project {
    #[serde(default)]
    id: NumberId,
    path_with_namespace: Name<1024>,
    git_http_url: Option<Url>,
    git_ssh_url: Option<Url>,
    default_branch: Option<RefText>,
    web_url: Option<Url>,
    visibility_level: Option<u64>,
}

#[derive(Deserialize)]
struct MergeBody {
    user: Option<User>,
    project: Project,
    object_attributes: Merge,
    changes: Option<Changes>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    id: NumberId,
    username: Option<Login>,
}

#[derive(Deserialize)]
struct Merge {
    iid: NumberId,
    title: Option<Title>,
    action: Option<Name<64>>,
    oldrev: Option<CommitText>,
    source_branch: RefText,
    target_branch: RefText,
    #[serde(default)]
    source_project_id: NumberId,
    #[serde(default)]
    target_project_id: NumberId,
    source: Option<End>,
    target: Option<End>,
    #[serde(default)]
    author_id: NumberId,
    last_commit: Option<CommitShape>,
}

#[derive(Deserialize)]
struct End {
    id: Option<NumberId>,
    git_http_url: Option<Url>,
}

/// Which fields an updated merge request had otherwise before.
#[derive(Deserialize)]
struct Changes {
    target_branch: Option<IgnoredAny>,
}

pub(super) fn parse(event: &str, body: &[u8]) -> Result<Delivery, Malformed> {
    if !matches!(event, "Push Hook" | "Tag Push Hook" | "Merge Request Hook" | "System Hook") {
        return Ok(Delivery::of_no_interest(event));
    }
    let kind: Kind = read(FORGE, "delivery", body)?;
    match kind.object_kind.0.as_str() {
        "push" | "tag_push" => push(read(FORGE, "push", body)?),
        "merge_request" => merge_request(read(FORGE, "merge request", body)?),
        other => Ok(Delivery::of_no_interest(other)),
    }
}

fn identity(project: Project) -> Result<RepositoryIdentity, Malformed> {
    let id = number_id(project.id).ok_or_else(|| refuse(FORGE, "delivery", "the project has no id"))?;
    Ok(RepositoryIdentity {
        id,
        full_name: project.path_with_namespace.0,
        clone_url_https: project.git_http_url.map(|url| url.0),
        clone_url_ssh: project.git_ssh_url.map(|url| url.0),
        default_branch: project.default_branch.map(|branch| branch.0),
        web_url: project.web_url.map(|url| url.0),
        private: project.visibility_level != Some(PUBLIC),
    })
}

fn push(body: PushBody) -> Result<Delivery, Malformed> {
    let repository = identity(body.project)?;
    let actor = Actor {
        id: body.user_id.0.map(|id| id.to_string()),
        login: body.user_username.unwrap_or_default().0,
    };
    moved(
        Moved {
            forge: FORGE,
            reference: &body.reference.0,
            before: &body.before.0,
            after: &body.after.0,
            peeled: body.checkout_sha.as_ref().map(|commit| commit.0.as_str()),
            forced: None,
            commits: body.commits,
            total: body.total_commits_count,
            head_message: None,
        },
        repository,
        actor,
    )
}

fn merge_request(body: MergeBody) -> Result<Delivery, Malformed> {
    let missing = |why| refuse(FORGE, "merge request", why);
    let MergeBody { user, project, object_attributes: merge, changes } = body;
    let other_base = changes.is_some_and(|changes| changes.target_branch.is_some());
    let action = match merge.action.as_ref().map(|action| action.0.as_str()) {
        Some("open") => PullRequestAction::Opened,
        Some("reopen") => PullRequestAction::Reopened,
        Some("update") if merge.oldrev.is_some() || other_base => PullRequestAction::Synchronised,
        Some("update") => return Ok(Delivery::ignored("merge request update: its commits are the same")),
        Some("close" | "merge") => {
            return Ok(Delivery::ignored("merge request closed: nothing is built for it"));
        }
        Some(other) => return Ok(Delivery::of_no_interest(&format!("merge request {other}"))),
        None => return Ok(Delivery::ignored("merge request: it does not say what happened")),
    };
    let head = merge.last_commit.as_ref().ok_or_else(|| missing("the merge request has no last commit"))?;
    let clone_url = merge.source.as_ref().and_then(|source| source.git_http_url.clone());
    let kind = EventKind::PullRequest(PullRequest {
        number: merge.iid.0.ok_or_else(|| missing("the merge request has no number"))?,
        title: merge.title.unwrap_or_default().0,
        action,
        author: Actor { id: merge.author_id.0.map(|id| id.to_string()), login: String::new() },
        head_commit: whole(FORGE, &head.id.0)?,
        head_ref: merge.source_branch.0,
        head_repository_id: agreed(merge.source_project_id, merge.source.as_ref()),
        head_clone_url: clone_url.map(|url| url.0),
        base_ref: merge.target_branch.0,
        base_commit: None,
        base_repository_id: agreed(merge.target_project_id, merge.target.as_ref()),
    });
    let login = user.as_ref().and_then(|user| user.username.clone()).unwrap_or_default().0;
    let id = user.and_then(|user| user.id.0).map(|id| id.to_string());
    let event =
        Event { forge: Some(FORGE), repository: identity(project)?, actor: Actor { id, login }, kind };
    Ok(Delivery::one(event))
}

/// The id of an end; GitLab tells it twice, and both must say the same. A merge request whose end
/// is not described is one whose project is gone or hidden.
fn agreed(id: NumberId, end: Option<&End>) -> Option<RepositoryId> {
    match end?.id {
        Some(second) if second != id => None,
        Some(_) | None => number_id(id),
    }
}

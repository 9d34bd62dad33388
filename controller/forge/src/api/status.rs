//! The word back: what a run has come to, as the status of its commit.
//!
//! | ours | GitHub | GitLab | Gitea | Bitbucket |
//! |---|---|---|---|---|
//! | pending | pending | pending | pending | INPROGRESS |
//! | running | pending | running | pending | INPROGRESS |
//! | success | success | success | success | SUCCESSFUL |
//! | warning | success | success | warning | SUCCESSFUL |
//! | failure | failure | failed | failure | FAILED |
//! | error | error | failed | error | FAILED |
//! | cancelled | error | canceled | error | STOPPED |
//! | skipped | success | skipped | success | SUCCESSFUL |
//!
//! A forge knows statuses of a commit apart by the context: sent again, the word replaces itself.

use serde::Deserialize;
use serde_json::{Value, json};

use super::place::encode;
use super::{Method, Place, Request, Unreadable};
use crate::Forge;
use crate::event::CommitId;
use crate::secret::ForgeToken;
use crate::text::{hex, sha256, shorten};

/// Bitbucket's limit for the key of a status.
const KEY_CHARS_MAX: usize = 40;
const STATUSES_READ: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusState {
    Pending,
    Running,
    Success,
    /// It succeeded although something that may fail did.
    Warning,
    Failure,
    /// It failed for a reason that is not the code's.
    Error,
    Cancelled,
    Skipped,
}

/// What is said of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub state: StatusState,
    /// Tells this status apart from others of the commit, the same for each word of one run's job.
    pub context: String,
    pub description: String,
    /// The page of the run.
    pub target_url: String,
    /// The branch or tag: GitLab puts the status onto the pipeline of that ref.
    pub reference: Option<String>,
}

impl StatusState {
    /// The forge's word for it.
    pub const fn word(self, forge: Forge) -> &'static str {
        match (forge, self) {
            (Forge::GitHub | Forge::Gitea, Self::Pending | Self::Running) => "pending",
            (Forge::Gitea, Self::Warning) => "warning",
            (Forge::GitHub, Self::Warning) => "success",
            (Forge::GitHub | Forge::Gitea, Self::Success | Self::Skipped) => "success",
            (Forge::GitHub | Forge::Gitea, Self::Failure) => "failure",
            (Forge::GitHub | Forge::Gitea, Self::Error | Self::Cancelled) => "error",
            (Forge::GitLab, Self::Pending) => "pending",
            (Forge::GitLab, Self::Running) => "running",
            (Forge::GitLab, Self::Success | Self::Warning) => "success",
            (Forge::GitLab, Self::Failure | Self::Error) => "failed",
            (Forge::GitLab, Self::Cancelled) => "canceled",
            (Forge::GitLab, Self::Skipped) => "skipped",
            (Forge::Bitbucket, Self::Pending | Self::Running) => "INPROGRESS",
            (Forge::Bitbucket, Self::Success | Self::Warning | Self::Skipped) => "SUCCESSFUL",
            (Forge::Bitbucket, Self::Failure | Self::Error) => "FAILED",
            (Forge::Bitbucket, Self::Cancelled) => "STOPPED",
        }
    }
}

/// How long a description the forge takes, in characters.
const fn description_chars(forge: Forge) -> usize {
    match forge {
        Forge::GitHub => 140,
        Forge::GitLab | Forge::Gitea | Forge::Bitbucket => 255,
    }
}

/// The context as the forge keeps it; a long one ends in a hash, so that two stay two.
fn context(forge: Forge, context: &str) -> String {
    let most = match forge {
        Forge::Bitbucket => KEY_CHARS_MAX,
        Forge::GitHub | Forge::GitLab | Forge::Gitea => 255,
    };
    match context.chars().count() <= most {
        true => context.to_owned(),
        false => {
            let start: String = context.chars().take(most - 13).collect();
            format!("{start}-{}", hex(&sha256(context.as_bytes())[..6]))
        }
    }
}

/// Says the status of a commit.
pub fn status_request(place: &Place<'_>, commit: &CommitId, status: &Status, token: &ForgeToken) -> Request {
    let forge = place.forge;
    let state = status.state.word(forge);
    let key = context(forge, &status.context);
    let (url, words) = (&status.target_url, shorten(&status.description, description_chars(forge)));
    let (path, body) = match forge {
        Forge::GitHub | Forge::Gitea => (
            format!("/statuses/{commit}"),
            json!({ "state": state, "context": key, "description": words, "target_url": url }),
        ),
        Forge::GitLab => (
            format!("/statuses/{commit}"),
            json!({ "state": state, "name": key, "description": words, "target_url": url }),
        ),
        Forge::Bitbucket => (
            format!("/commit/{commit}/statuses/build"),
            json!({
                "state": state, "key": key, "name": shorten(&status.context, 255),
                "description": words, "url": url,
            }),
        ),
    };
    let body = match (forge, &status.reference, body) {
        (Forge::GitLab, Some(reference), Value::Object(mut fields)) => {
            fields.insert("ref".into(), json!(reference));
            Value::Object(fields)
        }
        (_, _, body) => body,
    };
    Request::new(Method::Post, place, &path, token).with_body(body)
}

/// Asks which statuses a commit has.
pub fn read_status_request(
    place: &Place<'_>,
    commit: &CommitId,
    status_context: &str,
    token: &ForgeToken,
) -> Request {
    let key = encode(&context(place.forge, status_context));
    let path = match place.forge {
        Forge::GitHub => format!("/commits/{commit}/statuses?per_page={STATUSES_READ}"),
        Forge::GitLab => format!("/repository/commits/{commit}/statuses?name={key}&per_page={STATUSES_READ}"),
        Forge::Gitea => format!("/statuses/{commit}?sort=recentupdate&limit={STATUSES_READ}"),
        Forge::Bitbucket => format!("/commit/{commit}/statuses/build/{key}"),
    };
    Request::new(Method::Get, place, &path, token)
}

/// A status as any of the four tells of it; none of them has all these fields.
#[derive(Deserialize)]
struct StatusShape {
    context: Option<String>,
    name: Option<String>,
    key: Option<String>,
    state: Option<String>,
    status: Option<String>,
}

/// The forge's word for the newest status of that context; none where it has none.
pub fn state_of_status(
    forge: Forge,
    body: &[u8],
    status_context: &str,
) -> Result<Option<String>, Unreadable> {
    let wanted = context(forge, status_context);
    let read = match forge {
        Forge::Bitbucket => serde_json::from_slice(body).map(|one: StatusShape| vec![one]),
        Forge::GitHub | Forge::GitLab | Forge::Gitea => serde_json::from_slice(body),
    };
    let list: Vec<StatusShape> = read.map_err(|error| Unreadable::new("status", &error))?;
    // What is told to GitLab and Gitea as `state` comes back as `status`.
    let parts = |it: StatusShape| match forge {
        Forge::GitHub => (it.context, it.state),
        Forge::GitLab => (it.name, it.status),
        Forge::Gitea => (it.context, it.status),
        Forge::Bitbucket => (it.key, it.state),
    };
    let mut ours = list.into_iter().map(parts).filter(|(name, _)| name.as_deref() == Some(&wanted));
    Ok(ours.next().and_then(|(_, state)| state))
}

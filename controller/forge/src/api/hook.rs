//! Our webhook at a forge: made once, found again by its address, and brought up to date.
//!
//! Asked for are pushes (tags are among them everywhere but at GitLab, which counts them apart) and
//! pull requests; at Gitea deletions too, which a push does not tell there.

use serde::Deserialize;
use serde_json::{Value, json};

use super::place::encode;
use super::{Method, Place, Request, Unreadable};
use crate::Forge;
use crate::secret::{ForgeToken, Secret};

/// How many hooks of a repository are looked through.
const HOOKS_READ: u32 = 100;
/// Gitea answers at most so many unless its operator allows more.
const HOOKS_READ_GITEA: u32 = 50;

/// A webhook that the repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub id: String,
    pub url: String,
}

/// Whether our webhook is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookDecision {
    Create,
    /// It is: told again, so that secret and events are right. Others of the same address would
    /// deliver everything twice.
    Update {
        id: String,
        surplus: Vec<String>,
    },
}

pub fn list_hooks_request(place: &Place<'_>, token: &ForgeToken) -> Request {
    let path = match place.forge {
        Forge::GitHub | Forge::GitLab => format!("/hooks?per_page={HOOKS_READ}"),
        Forge::Gitea => format!("/hooks?limit={HOOKS_READ_GITEA}"),
        Forge::Bitbucket => format!("/hooks?pagelen={HOOKS_READ}"),
    };
    Request::new(Method::Get, place, &path, token)
}

#[derive(Deserialize)]
struct HookShape {
    id: Option<u64>,
    uuid: Option<String>,
    url: Option<String>,
    config: Option<HookConfig>,
}

#[derive(Deserialize)]
struct HookConfig {
    url: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    values: Vec<HookShape>,
}

/// Reads the list of webhooks.
pub fn hooks(forge: Forge, body: &[u8]) -> Result<Vec<Hook>, Unreadable> {
    let list = match forge {
        Forge::Bitbucket => serde_json::from_slice::<Page>(body).map(|page| page.values),
        Forge::GitHub | Forge::GitLab | Forge::Gitea => serde_json::from_slice(body),
    };
    let list = list.map_err(|error| Unreadable::new("list of webhooks", &error))?;
    // GitHub's own `url` is the hook's place in the API; where it calls is in `config`.
    let hook = |shape: HookShape| match forge {
        Forge::GitHub | Forge::Gitea => {
            Some(Hook { id: shape.id?.to_string(), url: shape.config.and_then(|config| config.url)? })
        }
        Forge::GitLab => Some(Hook { id: shape.id?.to_string(), url: shape.url? }),
        Forge::Bitbucket => Some(Hook { id: shape.uuid?, url: shape.url? }),
    };
    Ok(list.into_iter().filter_map(hook).collect())
}

/// Decides what makes our webhook be there exactly once.
pub fn decide_hook(hooks: &[Hook], url: &str) -> HookDecision {
    let same = |hook: &&Hook| hook.url.trim_end_matches('/') == url.trim_end_matches('/');
    let mut ours = hooks.iter().filter(same).map(|hook| hook.id.clone());
    match ours.next() {
        Some(id) => HookDecision::Update { id, surplus: ours.collect() },
        None => HookDecision::Create,
    }
}

/// Makes our webhook.
pub fn hook_request(place: &Place<'_>, url: &str, secret: &Secret, token: &ForgeToken) -> Request {
    Request::new(Method::Post, place, "/hooks", token).with_body(hook_body(place.forge, url, secret))
}

/// Brings our webhook up to date.
pub fn update_hook_request(
    place: &Place<'_>,
    id: &str,
    url: &str,
    secret: &Secret,
    token: &ForgeToken,
) -> Request {
    let method = match place.forge {
        Forge::GitHub | Forge::Gitea => Method::Patch,
        Forge::GitLab | Forge::Bitbucket => Method::Put,
    };
    let request = Request::new(method, place, &format!("/hooks/{}", encode(id)), token);
    request.with_body(hook_body(place.forge, url, secret))
}

/// Takes a webhook away; that it is not there (404) is as good.
pub fn delete_hook_request(place: &Place<'_>, id: &str, token: &ForgeToken) -> Request {
    Request::new(Method::Delete, place, &format!("/hooks/{}", encode(id)), token)
}

/// Lets the forge call our webhook; Bitbucket can not be asked to.
pub fn ping_request(place: &Place<'_>, id: &str, token: &ForgeToken) -> Option<Request> {
    let id = encode(id);
    let path = match place.forge {
        Forge::GitHub => format!("/hooks/{id}/pings"),
        Forge::GitLab => format!("/hooks/{id}/test/push_events"),
        Forge::Gitea => format!("/hooks/{id}/tests"),
        Forge::Bitbucket => return None,
    };
    Some(Request::new(Method::Post, place, &path, token))
}

fn hook_body(forge: Forge, url: &str, secret: &Secret) -> Value {
    match forge {
        Forge::GitHub => json!({
            "name": "web", "active": true, "events": ["push", "pull_request"],
            "config": {
                "url": url, "content_type": "json", "insecure_ssl": "0", "secret": secret.reveal(),
            },
        }),
        Forge::GitLab => json!({
            "url": url, "push_events": true, "tag_push_events": true, "merge_requests_events": true,
            "enable_ssl_verification": true,
            "token": secret.gitlab_token(), "signing_token": secret.gitlab_signing_token(),
        }),
        Forge::Gitea => json!({
            "type": "gitea", "active": true, "events": ["push", "delete", "pull_request"],
            "config": { "url": url, "content_type": "json", "secret": secret.reveal() },
        }),
        Forge::Bitbucket => json!({
            "description": "ocelot", "url": url, "active": true, "secret": secret.reveal(),
            "events": ["repo:push", "pullrequest:created", "pullrequest:updated"],
        }),
    }
}

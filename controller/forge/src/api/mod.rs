//! Requests to the forges' APIs and what their answers say, as values; the caller sends them, each
//! with a deadline, and does not follow a redirect: the token goes to no other host.
//!
//! Every part of a path is encoded where it is put together, in [`Place`]: a repository's name can
//! not change which resource is meant.

mod answer;
mod facts;
mod hook;
mod place;
mod status;

use std::fmt;

use serde_json::Value;

pub use answer::{Answer, GiveUp, Response, classify};
pub use facts::{
    PullRequestFacts, Unreadable, pull_request_facts, pull_request_request, repository_identity,
    repository_request,
};
pub use hook::{
    Hook, HookDecision, decide_hook, delete_hook_request, hook_request, hooks, list_hooks_request,
    ping_request, update_hook_request,
};
pub use place::{ApiBase, NotARepository, NotAnAddress, Place, RepositoryPath};
pub use status::{Status, StatusState, read_status_request, state_of_status, status_request};

use crate::Forge;
use crate::secret::ForgeToken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A request to be sent. Its `Debug` hides the token and the body, which may hold a secret.
#[derive(Clone, PartialEq)]
pub struct Request {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Value>,
}

impl Request {
    pub(crate) fn new(method: Method, place: &Place<'_>, path: &str, token: &ForgeToken) -> Self {
        Self {
            method,
            url: format!("{}{path}", place.repository_url()),
            headers: headers(place.forge, token),
            body: None,
        }
    }

    pub(crate) fn with_body(mut self, body: Value) -> Self {
        self.headers.push(("content-type", "application/json".into()));
        self.body = Some(body);
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.method.word(), self.url)
    }
}

fn headers(forge: Forge, token: &ForgeToken) -> Vec<(&'static str, String)> {
    let mut headers = vec![("user-agent", "ocelot".to_owned())];
    let accept = match forge {
        Forge::GitHub => "application/vnd.github+json",
        Forge::GitLab | Forge::Gitea | Forge::Bitbucket => "application/json",
    };
    headers.push(("accept", accept.into()));
    if forge == Forge::GitHub {
        headers.push(("x-github-api-version", "2022-11-28".into()));
    }
    headers.push(match (forge, token) {
        (_, ForgeToken::Password { user, password }) => ("authorization", ForgeToken::basic(user, password)),
        (Forge::GitHub | Forge::Bitbucket, ForgeToken::Token(token)) => {
            ("authorization", format!("Bearer {token}"))
        }
        (Forge::GitLab, ForgeToken::Token(token)) => ("private-token", token.clone()),
        (Forge::Gitea, ForgeToken::Token(token)) => ("authorization", format!("token {token}")),
    });
    headers
}

#[cfg(test)]
mod tests;

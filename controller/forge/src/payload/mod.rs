//! Deliveries of webhooks, read into events. Called after the signature was found right.
//!
//! Unknown fields are skipped and never kept, lists and texts have bounds, nesting has serde_json's.
//! A payload that lacks what makes the event is refused, not guessed at; one that is understood but
//! starts nothing is ignored, with words for the person who looks at the forge's list of deliveries.

mod bitbucket;
mod gitea;
mod github;
mod gitlab;
mod shape;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Event;
use crate::text::cut;
use crate::{Forge, Headers};

pub(crate) use shape::{RepositoryShape, number_id};

/// One payload tells of at most so many events; what is left out is found by the poller.
pub const EVENTS_MAX: usize = 100;
const WHY_BYTES_MAX: usize = 300;

/// What a delivery comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// At least one, in the payload's order.
    Events {
        events: Vec<Event>,
        left_out: u64,
    },
    Ignored {
        why: String,
    },
}

/// Why a body is not what its headers say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the delivery does not name its event in the header {header}")]
    NoEvent { header: &'static str },
    #[error("the body is a form: set the webhook's content type to application/json")]
    Form,
    #[error("the body is not a {event} of {}: {why}", forge.name())]
    Body { forge: Forge, event: &'static str, why: String },
}

/// Reads one delivery.
pub fn parse(forge: Forge, headers: &Headers<'_>, body: &[u8]) -> Result<Delivery, Malformed> {
    let (event, header) = match forge {
        Forge::GitHub => (headers("x-github-event"), "X-GitHub-Event"),
        Forge::GitLab => (headers("x-gitlab-event"), "X-Gitlab-Event"),
        Forge::Gitea => (headers("x-forgejo-event").or_else(|| headers("x-gitea-event")), "X-Gitea-Event"),
        Forge::Bitbucket => (headers("x-event-key"), "X-Event-Key"),
    };
    let event =
        event.and_then(|event| std::str::from_utf8(event).ok()).ok_or(Malformed::NoEvent { header })?;
    if body.starts_with(b"payload=") {
        return Err(Malformed::Form);
    }
    match forge {
        Forge::GitHub => github::parse(event, body),
        Forge::GitLab => gitlab::parse(event, body),
        Forge::Gitea => gitea::parse(event, body),
        Forge::Bitbucket => bitbucket::parse(event, body),
    }
}

impl Delivery {
    fn ignored(why: impl Into<String>) -> Self {
        Self::Ignored { why: why.into() }
    }

    fn one(event: Event) -> Self {
        Self::Events { events: vec![event], left_out: 0 }
    }

    /// An event that nothing waits for, told by its name if that is a plain word.
    fn of_no_interest(event: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | ' ' | '.');
        match event.len() <= 64 && event.chars().all(plain) && !event.is_empty() {
            true => Self::ignored(format!("{event}: nothing is built for this event")),
            false => Self::ignored("an event that is not known"),
        }
    }
}

/// Reads the body as that event.
fn read<T: DeserializeOwned>(forge: Forge, event: &'static str, body: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|error| {
        let why = error.to_string();
        Malformed::Body { forge, event, why: cut(&why, WHY_BYTES_MAX).to_owned() }
    })
}

fn refuse(forge: Forge, event: &'static str, why: &str) -> Malformed {
    Malformed::Body { forge, event, why: why.to_owned() }
}

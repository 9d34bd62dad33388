//! Webhooks: what forges tell us, on a route that needs no credential because each delivery brings
//! its own proof.
//!
//! The signature is verified over the raw bytes before anything is parsed, and before that nothing
//! is read but a bounded body. Absent, of another forge, without a secret and forged are answered
//! alike. A delivery is answered after it was stored durably and never before; no delivery that is
//! refused changes the store.

mod body;
mod plain;
mod receive;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use ocelot_forge::Forge;
use ocelot_forge::secret::Secret;
use ocelot_proto::kit::clock::Clock;
use serde_json::{Value, json};

use crate::api_error::ErrorBody;
use crate::auth::FailureLimit;
use crate::error::{Error, Kind};
use crate::server::Peer;
use crate::service::Service;

use body::{Budget, Unread};

/// The folder of the routes.
pub const FOLDER: &str = "/hooks/";

/// Forges that look at it come again after this.
const COME_AGAIN: Duration = Duration::from_secs(10);

/// Answers deliveries.
#[derive(Debug, Clone)]
pub struct Hooks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: Arc<Service>,
    clock: Arc<dyn Clock>,
    failures: Mutex<FailureLimit>,
    budget: Budget,
    /// What a delivery for nobody is verified with, so that it takes as long.
    decoy: Secret,
}

/// What became of a delivery that was let in.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    /// The events in the delivery's order; at least one.
    Accepted {
        events: Vec<Accepted>,
        left_out: u64,
    },
    Ignored {
        why: String,
    },
}

/// One event that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Accepted {
    run: String,
    url: String,
    existed: bool,
}

/// Why a delivery was not let in.
#[derive(Debug)]
enum Refusal {
    Unread(Unread),
    /// It is nobody's, or not signed by whoever knows the secret.
    NotProved,
    /// It is proved and can not be used.
    Unusable(Error),
}

impl Hooks {
    /// `decoy` is a text of 32 bytes or more that nobody can guess.
    pub fn new(service: Arc<Service>, clock: Arc<dyn Clock>, decoy: Secret) -> Self {
        let (failures, budget) = (Mutex::default(), Budget::default());
        Self { inner: Arc::new(Inner { service, clock, failures, budget, decoy }) }
    }

    /// Returns the routes; their folder is public.
    pub fn router(self) -> Router {
        Router::new().route("/hooks/{forge}/{*project}", post(deliver)).with_state(self)
    }

    /// Counts a failure of this address.
    fn failed(&self, peer: Peer) -> Error {
        let Peer(address) = peer;
        let now = self.inner.clock.monotonic();
        let mut failures = self.inner.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.count(address.ip(), now) {
            Ok(()) => Error::new(
                Kind::Unauthenticated,
                "there is no project with a webhook here, or the delivery is not signed with its secret",
            ),
            Err(too_many) => Error::new(
                Kind::Exhausted { retry_after: Some(too_many.retry_after) },
                "too many deliveries from this address were not signed",
            ),
        }
    }
}

async fn deliver(
    State(hooks): State<Hooks>,
    Path((forge, project)): Path<(String, String)>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let decided = hooks.receive((&forge, &project), &parts.headers, body).await;
    // Before it was let in, its words are anybody's: they are not written to the log as they came.
    let project = if matches!(decided, Err(Refusal::NotProved)) { "" } else { project.as_str() };
    let decision = decision(&decided);
    hooks.inner.service.metrics().hook(label(&forge), decision);
    match decided {
        Ok(Verdict::Accepted { events, left_out }) => {
            tracing::info!(decision, forge, project, events = events.len(), "a delivery was accepted");
            (StatusCode::ACCEPTED, Json(accepted(&events, left_out))).into_response()
        }
        Ok(Verdict::Ignored { why }) => {
            tracing::info!(decision, forge, project, why, "a delivery was ignored");
            Json(json!({ "ignored": why })).into_response()
        }
        Err(Refusal::NotProved) => {
            tracing::info!(decision, peer = %peer.0, "a delivery was refused");
            hooks.failed(peer).into_response()
        }
        Err(Refusal::Unread(unread)) => {
            tracing::info!(decision, peer = %peer.0, "a delivery was not read");
            refused(&unread)
        }
        Err(Refusal::Unusable(error)) => {
            tracing::warn!(decision, forge, project, %error, "a delivery could not be taken");
            let kind = error.kind();
            let mut response = error.into_response();
            if matches!(kind, Kind::Unavailable | Kind::Leaving) {
                come_again(response.headers_mut());
            }
            response
        }
    }
}

/// The word for what was decided, for logs and numbers.
fn decision(decided: &Result<Verdict, Refusal>) -> &'static str {
    match decided {
        Ok(Verdict::Accepted { .. }) => "accepted",
        Ok(Verdict::Ignored { .. }) => "ignored",
        Err(Refusal::NotProved) => "not_proved",
        Err(Refusal::Unread(unread)) => unread.word(),
        Err(Refusal::Unusable(error)) if error.kind() == Kind::Unavailable => "unavailable",
        Err(Refusal::Unusable(_)) => "unusable",
    }
}

/// The word for whose delivery it says it is: one of ours, because anybody can write any other.
fn label(word: &str) -> &'static str {
    match word.parse::<Forge>() {
        Ok(forge) => forge.word(),
        Err(_) if word == receive::GIT => receive::GIT,
        Err(_) => "unknown",
    }
}

fn accepted(events: &[Accepted], left_out: u64) -> Value {
    let shown = |event: &Accepted| json!({ "run": event.run, "url": event.url, "existed": event.existed });
    let mut body = events.first().map_or_else(|| json!({}), shown);
    if events.len() > 1 || left_out > 0 {
        body["events"] = events.iter().map(shown).collect();
    }
    if left_out > 0 {
        // The next look at the repository finds them.
        body["left_out"] = left_out.into();
    }
    body
}

fn refused(unread: &Unread) -> Response {
    let mut response = unread.status().into_response();
    let kind = match unread {
        Unread::TooLarge | Unread::Broken => Kind::Invalid,
        Unread::TooSlow | Unread::NoRoom => Kind::Unavailable,
    };
    if kind == Kind::Unavailable {
        come_again(response.headers_mut());
    }
    response.extensions_mut().insert(ErrorBody { kind, message: unread.to_string() });
    response
}

fn come_again(headers: &mut HeaderMap) {
    headers.insert(header::RETRY_AFTER, HeaderValue::from(COME_AGAIN.as_secs()));
}

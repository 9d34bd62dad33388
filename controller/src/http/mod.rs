//! The REST API: what people and scripts are answered over gRPC, as JSON under `/api/v1/`.
//!
//! Each route is put together with its own description, so the OpenAPI document cannot name one that
//! is not there, nor leave one out. A handler checks shapes, asks the use cases and shapes what they
//! say; a rule belongs into `service`. Only who came with an API token gets as far as a handler, and
//! no `GET` changes anything.

mod document;
mod events;
mod extract;
mod jobs;
mod log;
mod logs;
mod range;
mod refusal;
mod runs;
mod scrape;
mod shape;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::Stream;
use ocelot_core::id::RunId;
use ocelot_domain::outcome::Actor;
use ocelot_proto::kit::shutdown::Tasks;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Caller, Identity};
use crate::error::{Error, Kind};
use crate::service::{AttemptRef, Service};

pub use document::document;
pub use scrape::{METRICS, scraped};

use refusal::Refusal;

/// How long a call may take until its answer begins. Streams go on after that.
const DEADLINE: Duration = Duration::from_secs(30);

/// Answers for people and scripts that speak HTTP.
#[derive(Debug, Clone)]
pub struct Rest {
    service: Arc<Service>,
    logs: Arc<dyn LogSource>,
    tasks: Tasks,
}

/// Reads logs, whichever controller has them.
#[async_trait]
pub trait LogSource: fmt::Debug + Send + Sync {
    /// Returns the pieces of a log, each of whole frames. An attempt that is not there is an error of
    /// the call.
    async fn read(&self, wanted: LogWanted) -> Result<LogPieces, Error>;

    /// Returns how much of an attempt's log is open here.
    fn known_bytes(&self, attempt: &AttemptRef) -> u64;
}

/// Pieces of a log, in order.
pub type LogPieces = Pin<Box<dyn Stream<Item = Result<LogPiece, Error>> + Send>>;

/// Which log is wanted, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogWanted {
    pub run: RunId,
    pub task: u32,
    /// 0 is the newest.
    pub attempt: u32,
    /// The first byte of a frame.
    pub offset: u64,
    /// Until the log is over.
    pub follow: bool,
}

/// Whole frames of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// 0 where the task has no attempt yet, or never had one.
    pub attempt: u32,
    pub frames: Bytes,
    /// The log is over after them.
    pub complete: bool,
    /// What is missing of it: from which byte on, and why.
    pub loss: Option<(u64, String)>,
}

impl Rest {
    pub fn new(service: Arc<Service>, logs: Arc<dyn LogSource>, tasks: Tasks) -> Self {
        Self { service, logs, tasks }
    }

    /// Returns the routes, to be put behind the door.
    pub fn into_router(self) -> Router {
        let (router, document) = described().split_for_parts();
        let text: Arc<str> = document::written(&document).into();
        router
            .method_not_allowed_fallback(other_method)
            .route_layer(from_fn(only_people))
            .layer(from_fn(in_time))
            .layer(Extension(document::Text(text)))
            .with_state(self)
    }

    /// Finds the run that is meant: an id, a part of one, `name#number`, a name for its last run.
    async fn find(&self, text: &str) -> Result<RunId, Refusal> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        // What was answered before this call must be found by it.
        self.service.see_latest().await;
        Ok(self.service.find_run(text)?)
    }
}

/// Every route with its description.
fn described() -> OpenApiRouter<Rest> {
    OpenApiRouter::with_openapi(document::head())
        .routes(routes!(runs::list_runs))
        .routes(routes!(runs::get_run))
        .routes(routes!(runs::get_project_run))
        .routes(routes!(events::run_events))
        .routes(routes!(logs::get_log))
        .routes(routes!(logs::stream_log))
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(jobs::execute))
        .routes(routes!(document::openapi))
}

/// Lets people and scripts through, with the name that they act under; nobody else.
async fn only_people(mut request: Request, next: Next) -> Response {
    let Some(Caller { identity, .. }) = request.extensions().get::<Caller>() else {
        return Error::new(Kind::Internal, "a call came in past the door").into_response();
    };
    match identity {
        Identity::Person { person, .. } => {
            let by = Actor(person.clone());
            request.extensions_mut().insert(by);
            next.run(request).await
        }
        Identity::Executor { .. } | Identity::Controller { .. } => {
            Error::new(Kind::Forbidden, "this call needs an API token").into_response()
        }
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    let slow = |_| {
        let why = "the controller was not done in time; it may have happened all the same: ask again";
        Error::new(Kind::Unavailable, why).into_response()
    };
    tokio::time::timeout(DEADLINE, next.run(request)).await.unwrap_or_else(slow)
}

async fn other_method(request: Request) -> Refusal {
    let why = format!("this address does not answer to {}", request.method());
    Refusal::with(StatusCode::METHOD_NOT_ALLOWED, Error::new(Kind::Invalid, why))
}

//! `/metrics`: the numbers of this controller, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use crate::auth::{Caller, Identity};
use crate::error::{Error, Kind};
use crate::metrics::{CONTENT_TYPE, Exposition};

/// Where the numbers are.
pub const METRICS: &str = "/metrics";

#[derive(Debug, Clone)]
struct Scraped {
    exposition: Arc<Exposition>,
    open: bool,
}

/// Returns the route; `open` to whoever reaches the listener, or to those with an API token alone.
pub fn scraped(exposition: Arc<Exposition>, open: bool) -> Router {
    Router::new().route(METRICS, get(scrape)).with_state(Scraped { exposition, open })
}

async fn scrape(
    State(Scraped { exposition, open }): State<Scraped>,
    caller: Option<Extension<Caller>>,
) -> Result<Response, Error> {
    let is_person = caller.is_some_and(|Extension(caller)| match caller.identity {
        Identity::Person { .. } => true,
        Identity::Executor { .. } | Identity::Controller { .. } => false,
    });
    if !is_person && !open {
        return Err(Error::new(Kind::Forbidden, "this call needs an API token"));
    }
    let text = exposition.text().map_err(|error| Error::from_cause(Kind::Internal, error))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

//! Whether the program lives, and whether it can do its work.

use std::fmt;

use async_trait::async_trait;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Knows whether everything is there that the controller needs.
#[async_trait]
pub trait Health: fmt::Debug + Send + Sync {
    /// Returns what is missing; nothing when work can be done. Ends within a few seconds.
    async fn missing(&self) -> Vec<NotReady>;
}

/// One thing that is needed and does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// Such as `store`.
    pub what: String,
    /// For people. `/readyz` is public, so this names no address and no secret.
    pub why: String,
}

pub(super) async fn live() -> Response {
    Json(json!({ "live": true })).into_response()
}

pub(super) async fn ready(health: &dyn Health) -> Response {
    let missing = health.missing().await;
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let missing: Vec<_> =
        missing.iter().map(|missing| json!({ "what": missing.what, "why": missing.why })).collect();
    (status, Json(json!({ "ready": { "missing": missing } }))).into_response()
}

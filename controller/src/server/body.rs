//! Bodies of the listener's own: errors, and answers that end with the credential.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use crate::api_error::{ErrorBody, shown};

use super::admit::over;
use super::request_id::RequestId;

/// The body of every HTTP error, as RFC 9457 has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status and the code say what kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the status.
    pub title: String,
    pub status: u16,
    /// What went wrong, for people: the words are those of the gRPC services.
    pub detail: String,
    /// The kind of the error, for scripts: `not_found`, `invalid`, `rejected`, `exists`, `conflict`,
    /// `fenced`, `unauthenticated`, `forbidden`, `exhausted`, `unavailable` or `internal`.
    pub code: String,
    /// Under which the controller's log knows the request.
    pub request_id: String,
}

/// Returns the error as its caller expects it: a status over gRPC, a JSON body otherwise.
pub(super) fn error(response: Response, error: ErrorBody, id: &RequestId, grpc: bool) -> Response {
    if grpc {
        return Status::from(error).into_http();
    }
    let (parts, _) = response.into_parts();
    let body = Problem {
        kind: "about:blank".to_owned(),
        title: parts.status.canonical_reason().unwrap_or("Error").to_owned(),
        status: parts.status.as_u16(),
        detail: error.message,
        code: shown(error.kind).word.to_owned(),
        request_id: id.to_string(),
    };
    let json = [(header::CONTENT_TYPE, "application/problem+json")];
    let mut written = (parts.status, json, Json(body)).into_response();
    for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::ALLOW, header::CONTENT_RANGE] {
        if let Some(value) = parts.headers.get(&name) {
            written.headers_mut().insert(name, value.clone());
        }
    }
    written
}

/// Ends the answer when the credential ends.
pub(super) fn until(response: Response, ended: CancellationToken) -> Response {
    let grpc = super::admit::is_grpc(response.headers());
    response
        .map(|body| Body::new(Until { body, ended: Box::pin(ended.cancelled_owned()), over: false, grpc }))
}

#[derive(Debug)]
struct Until {
    body: Body,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    over: bool,
    grpc: bool,
}

impl hyper::body::Body for Until {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if self.ended.as_mut().poll(cx).is_pending() {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        self.over = true;
        Poll::Ready(Some(if self.grpc {
            let (parts, ()) = Status::from(over()).into_http().into_parts();
            Ok(Frame::trailers(parts.headers))
        } else {
            // Only a broken answer tells a reader that more was to come.
            Err(axum::Error::new(over()))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Nobody gets anywhere without a credential, unless the place is on one short list.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::Instrument;

use crate::api_error::ErrorBody;
use crate::error::{Error, Kind};
use crate::version;

use super::body;
use super::request_id;
use super::routes::Shared;

/// The places that need no credential, by their exact path. The calls of an executor that has no
/// session yet prove who is calling by what is in them.
pub const PUBLIC: [&str; 5] = [
    "/livez",
    "/readyz",
    "/ocelot.v1.ExecutorService/Register",
    "/ocelot.v1.ExecutorService/Challenge",
    "/ocelot.v1.ExecutorService/OpenSession",
];

/// The folders whose places need no credential: a delivery of a webhook brings its own proof, its
/// signature.
pub const PUBLIC_FOLDERS: [&str; 1] = ["/hooks/"];

fn is_public(path: &str) -> bool {
    PUBLIC.contains(&path) || PUBLIC_FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// The address that a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Names the request, lets it in or not, and gives every error its body.
pub(super) async fn admit(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let id = shared.ids.of(request.headers());
    let span = tracing::info_span!("rpc", method = request.uri().path(), request.id = %id);
    request.extensions_mut().insert(id.clone());
    let grpc = is_grpc(request.headers());
    let handled = AssertUnwindSafe(through(&shared, request, next)).catch_unwind().instrument(span);
    // One broken handler ends one request, not the program.
    let broken = |_| Error::new(Kind::Internal, "a handler panicked").into_response();
    let mut response = handled.await.unwrap_or_else(broken);
    if let Some(error) = response.extensions_mut().remove::<ErrorBody>() {
        response = body::error(response, error, &id, grpc);
    }
    response.headers_mut().insert(request_id::HEADER, id.header());
    response
}

async fn through(shared: &Shared, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if is_public(path) || shared.open.contains(&path) {
        return next.run(request).await;
    }
    let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    if let Err(error) = version::admit_agent(agent.unwrap_or_default()) {
        return error.into_response();
    }
    let Some(Peer(peer)) = request.extensions().get().copied() else {
        return Error::new(Kind::Internal, "a request came from nowhere").into_response();
    };
    // It goes no further than here, so that no handler can print it.
    let authorization = request.headers_mut().remove(header::AUTHORIZATION);
    let credential = authorization.as_ref().map(|value| value.as_bytes());
    let caller = match shared.gate.admit(credential, peer.ip()).await {
        Ok(caller) => caller,
        Err(denied) => return Error::from(denied).into_response(),
    };
    let ended = caller.ended.clone();
    request.extensions_mut().insert(caller);
    tokio::select! {
        biased;
        () = ended.cancelled() => over().into_response(),
        response = next.run(request) => body::until(response, ended),
    }
}

/// What a caller is told whose credential ends under a call.
pub(super) fn over() -> Error {
    Error::new(Kind::Unauthenticated, "the token is not valid any more")
}

pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

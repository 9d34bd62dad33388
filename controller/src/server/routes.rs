//! Everything that the listener answers, behind one door.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderMap;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tonic::Status;
use tower::ServiceExt;
use tower::util::MapRequest;

use crate::auth::Gate;
use crate::error::{Error, Kind};

use super::MESSAGE_BYTES_MAX;
use super::admit::{self, Peer};
use super::health::{self, Health};
use super::request_id::RequestIds;

/// All routes, with the door in front of them.
#[derive(Debug, Clone)]
pub struct Routes {
    router: Router,
}

/// What the door needs.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) gate: Gate,
    pub(super) ids: Arc<RequestIds>,
    /// Places that this controller was told to leave open, beside [`super::PUBLIC`].
    pub(super) open: &'static [&'static str],
}

impl Routes {
    /// Puts the door in front of `app`: HTTP routes and gRPC services alike, merged into one router
    /// without a fallback. A handler finds the [`crate::auth::Caller`] and the
    /// [`super::RequestId`] among the request's extensions.
    pub fn new(app: Router, gate: Gate, health: Arc<dyn Health>, ids: RequestIds) -> Self {
        Self::with_open(app, gate, health, ids, &[])
    }

    /// As [`Routes::new`], with places by their exact path that whoever runs the controller opened.
    pub fn with_open(
        app: Router,
        gate: Gate,
        health: Arc<dyn Health>,
        ids: RequestIds,
        open: &'static [&'static str],
    ) -> Self {
        let shared = Shared { gate, ids: Arc::new(ids), open };
        let ready = move || async move { health::ready(health.as_ref()).await };
        let router = app
            .route("/livez", get(health::live))
            .route("/readyz", get(ready))
            .fallback(nothing_here)
            .layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX))
            .layer(from_fn_with_state(shared, admit::admit));
        Self { router }
    }

    /// Returns what answers one connection.
    pub(super) fn for_peer(
        &self,
        peer: SocketAddr,
    ) -> TowerToHyperService<
        MapRequest<Router, impl FnMut(Request<Incoming>) -> Request<Incoming> + Clone + Send + 'static>,
    > {
        let with_peer = move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request
        };
        TowerToHyperService::new(ServiceExt::<Request<Incoming>>::map_request(self.router.clone(), with_peer))
    }
}

async fn nothing_here(headers: HeaderMap) -> Response {
    if admit::is_grpc(&headers) {
        return Status::unimplemented("this controller has no such call").into_http();
    }
    Error::new(Kind::NotFound, "there is nothing at this address").into_response()
}

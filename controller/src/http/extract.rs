//! What a request says, taken strictly: what is not known is refused with what would be.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind};

use super::refusal::Refusal;

/// The variable parts of an address.
#[derive(Debug)]
pub(super) struct At<T>(pub(super) T);

/// What comes after the `?`. A name that is not known is an error.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

/// A body in JSON. A field that is not known is an error.
#[derive(Debug)]
pub(super) struct Sent<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let found = Path::<T>::from_request_parts(parts, state).await;
        let wrong = |rejection: axum::extract::rejection::PathRejection| {
            Refusal::invalid(format!("the address is not right: {}", rejection.body_text()))
        };
        found.map(|Path(found)| Self(found)).map_err(wrong)
    }
}

/// What axum puts before the reason.
const QUERY_PREFIX: &str = "Failed to deserialize query string: ";

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let asked = Query::<T>::try_from_uri(&parts.uri);
        asked.map(|Query(asked)| Self(asked)).map_err(|rejection| {
            let why = rejection.body_text();
            let why = why.strip_prefix(QUERY_PREFIX).unwrap_or(&why);
            Refusal::invalid(format!("the query is not right: {why}"))
        })
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec());
        if !kind.is_some_and(|kind| is_json(&kind)) {
            let error = Error::new(Kind::Invalid, "the body is JSON, with content-type: application/json");
            return Err(Refusal::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
        }
        let body = Bytes::from_request(request, state).await.map_err(unread)?;
        let wrong = |error| Refusal::invalid(format!("the body is not right: {error}"));
        serde_json::from_slice(&body).map(Self).map_err(wrong)
    }
}

fn is_json(kind: &[u8]) -> bool {
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

fn unread(rejection: BytesRejection) -> Refusal {
    let status = rejection.status();
    let why = if status == StatusCode::PAYLOAD_TOO_LARGE {
        format!("a body has at most {} bytes", crate::server::MESSAGE_BYTES_MAX)
    } else {
        "the body broke off".to_owned()
    };
    Refusal::with(status, Error::new(Kind::Invalid, why))
}

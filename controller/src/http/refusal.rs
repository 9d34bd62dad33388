//! Why a call is refused: the words of the one table, with a finer status where HTTP has one.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::error::{Error, Kind};
use crate::service;

/// An error on its way to who asked.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    /// Where the kind's own status says less.
    status: Option<StatusCode>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn with(status: StatusCode, error: Error) -> Self {
        Self { status: Some(status), ..error.into() }
    }

    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Error::new(Kind::Invalid, why).into()
    }

    pub(super) fn and(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, status: None, header: None }
    }
}

impl From<service::Error> for Refusal {
    fn from(error: service::Error) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.error.into_response();
        if let Some(status) = self.status {
            *response.status_mut() = status;
        }
        response.headers_mut().extend(self.header);
        response
    }
}

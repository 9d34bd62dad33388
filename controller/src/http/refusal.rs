//! Why a call is refused: the words of the one table, with a finer status where HTTP has one.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::error::{Error, Kind};
use crate::service;

/// An error on its way to who asked.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    finer: Option<Box<Finer>>,
}

/// What the error's kind does not say.
#[derive(Debug, Default)]
struct Finer {
    status: Option<StatusCode>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn with(status: StatusCode, error: Error) -> Self {
        Self { error, finer: Some(Box::new(Finer { status: Some(status), header: None })) }
    }

    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Error::new(Kind::Invalid, why).into()
    }

    pub(super) fn and(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.finer.get_or_insert_default().header = Some((name, value));
        self
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, finer: None }
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
        let Finer { status, header } = self.finer.map(|finer| *finer).unwrap_or_default();
        if let Some(status) = status {
            *response.status_mut() = status;
        }
        response.headers_mut().extend(header);
        response
    }
}

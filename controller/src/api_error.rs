//! The one table from errors to what a caller sees: gRPC code and HTTP status side by side.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ocelot_proto::kit::telemetry::chain;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::auth::{self, Denied};
use crate::error::{Error, Kind};
use crate::service::logs;
use crate::store;

/// How a kind of error looks on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    pub grpc: Code,
    pub http: StatusCode,
    /// The `code` of an HTTP error's body.
    pub word: &'static str,
}

/// Returns how a kind of error looks on the wire.
pub fn shown(kind: Kind) -> Shown {
    let (grpc, http, word) = match kind {
        Kind::NotFound => (Code::NotFound, StatusCode::NOT_FOUND, "not_found"),
        Kind::Invalid => (Code::InvalidArgument, StatusCode::BAD_REQUEST, "invalid"),
        Kind::Rejected => (Code::FailedPrecondition, StatusCode::CONFLICT, "rejected"),
        Kind::Exists => (Code::AlreadyExists, StatusCode::CONFLICT, "exists"),
        Kind::Conflict => (Code::Aborted, StatusCode::CONFLICT, "conflict"),
        Kind::Fenced => (Code::Aborted, StatusCode::CONFLICT, "fenced"),
        Kind::Unauthenticated => (Code::Unauthenticated, StatusCode::UNAUTHORIZED, "unauthenticated"),
        Kind::Forbidden => (Code::PermissionDenied, StatusCode::FORBIDDEN, "forbidden"),
        Kind::Exhausted { .. } => (Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, "exhausted"),
        Kind::Unavailable | Kind::Leaving => {
            (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
        Kind::Internal => (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    Shown { grpc, http, word }
}

/// Every kind that has a word of its own.
const KINDS: [Kind; 11] = [
    Kind::NotFound,
    Kind::Invalid,
    Kind::Rejected,
    Kind::Exists,
    Kind::Conflict,
    Kind::Fenced,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::Exhausted { retry_after: None },
    Kind::Unavailable,
    Kind::Internal,
];

/// What the body of an HTTP error says. The listener writes it, with the request's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    pub kind: Kind,
    pub message: String,
}

/// Carries the word of an error over gRPC, where two kinds share a code.
pub const WORD_HEADER: &str = "x-error";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        ErrorBody { kind: error.kind(), message: told(&error) }.into()
    }
}

impl From<ErrorBody> for Status {
    fn from(body: ErrorBody) -> Self {
        let Shown { grpc, word, .. } = shown(body.kind);
        let mut status = Self::new(grpc, body.message);
        status.metadata_mut().insert(WORD_HEADER, MetadataValue::from_static(word));
        status
    }
}

impl From<Status> for Error {
    /// Reads back what one of our own services said.
    fn from(status: Status) -> Self {
        let word = status.metadata().get(WORD_HEADER).and_then(|word| word.to_str().ok());
        let kind = KINDS.into_iter().find(|kind| Some(shown(*kind).word) == word);
        let kind = kind.unwrap_or(if status.code() == Code::Unavailable {
            Kind::Unavailable
        } else {
            Kind::Internal
        });
        Self::new(kind, status.message())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = shown(self.kind()).http.into_response();
        if let Kind::Exhausted { retry_after: Some(wait) } = self.kind() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
        }
        if self.kind() == Kind::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(ErrorBody { kind: self.kind(), message: told(&self) });
        response
    }
}

/// Returns the caller's part of an error, and logs ours.
fn told(error: &Error) -> String {
    match error.kind() {
        Kind::Internal => {
            tracing::error!(error = %chain(error), "a call failed through a fault of ours");
            "a fault of the controller; its log knows more under this request's id".to_owned()
        }
        Kind::Unavailable => {
            tracing::warn!(error = %chain(error), "a call failed because something does not answer");
            error.to_string()
        }
        Kind::Leaving => {
            tracing::debug!("a call is turned away: {error}");
            error.to_string()
        }
        Kind::NotFound
        | Kind::Invalid
        | Kind::Rejected
        | Kind::Exists
        | Kind::Conflict
        | Kind::Fenced
        | Kind::Unauthenticated
        | Kind::Forbidden
        | Kind::Exhausted { .. } => error.to_string(),
    }
}

/// Whole seconds, never too few.
fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        let kind = match &error {
            store::Error::Unavailable(_) | store::Error::Unknown(_) => Kind::Unavailable,
            store::Error::Full(_) => Kind::Exhausted { retry_after: None },
            store::Error::Invalid(_)
            | store::Error::Compacted { .. }
            | store::Error::LeaseGone
            | store::Error::Corrupt(_)
            | store::Error::Unusable(_) => Kind::Internal,
        };
        Self::from_cause(kind, error)
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => Self::new(Kind::Unauthenticated, "this call needs a valid token"),
            Denied::Fenced => Self::from_cause(Kind::Fenced, denied),
            Denied::TooMany(ref too_many) => {
                let kind = Kind::Exhausted { retry_after: Some(too_many.retry_after) };
                Self::new(kind, denied.to_string())
            }
            Denied::Unavailable(_) => Self::from_cause(Kind::Unavailable, denied),
        }
    }
}

impl From<auth::Error> for Error {
    fn from(error: auth::Error) -> Self {
        let kind = match error {
            auth::Error::InvalidName(_) | auth::Error::InvalidUses { .. } => Kind::Invalid,
            auth::Error::Exists(_) => Kind::Exists,
            auth::Error::NotFound(_) => Kind::NotFound,
            auth::Error::Busy => Kind::Conflict,
            auth::Error::NotValid => Kind::Unauthenticated,
            auth::Error::Store(error) => return error.into(),
        };
        Self::from_cause(kind, error)
    }
}

impl From<logs::Error> for Error {
    fn from(error: logs::Error) -> Self {
        let kind = match error {
            logs::Error::TooLong { .. } | logs::Error::Damaged | logs::Error::NoFrame { .. } => Kind::Invalid,
            logs::Error::NotFound(_) => Kind::NotFound,
            logs::Error::TooManyOpen { .. } | logs::Error::Full(_) => Kind::Exhausted { retry_after: None },
            logs::Error::Disk(_)
            | logs::Error::Failed(_)
            | logs::Error::Home(_)
            | logs::Error::Unconfirmed(_) => Kind::Unavailable,
            logs::Error::Corrupt(..) | logs::Error::Contradicted(_) => Kind::Internal,
        };
        Self::from_cause(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_place_in_the_table() {
        let kinds: Vec<Kind> = KINDS.into_iter().chain([Kind::Leaving]).collect();
        let row = |kind| {
            let Shown { grpc, http, word } = shown(kind);
            format!("{word:16} {:20} {}", format!("{grpc:?}"), http.as_u16())
        };
        insta::assert_snapshot!(kinds.into_iter().map(row).collect::<Vec<_>>().join("\n"), @r"
        not_found        NotFound             404
        invalid          InvalidArgument      400
        rejected         FailedPrecondition   409
        exists           AlreadyExists        409
        conflict         Aborted              409
        fenced           Aborted              409
        unauthenticated  Unauthenticated      401
        forbidden        PermissionDenied     403
        exhausted        ResourceExhausted    429
        unavailable      Unavailable          503
        internal         Internal             500
        unavailable      Unavailable          503
        ");
    }

    #[test]
    fn a_fault_of_ours_tells_the_caller_nothing() {
        let error = Error::new(Kind::Internal, "the record of run 7 is broken");
        assert!(!Status::from(error).message().contains("run 7"));
    }

    #[test]
    fn who_is_too_fast_is_told_when_to_come_back() {
        let wait = Some(Duration::from_millis(1_001));
        let response = Error::new(Kind::Exhausted { retry_after: wait }, "slower").into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}

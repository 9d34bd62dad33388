//! The one table from what a controller answers to what a person is told.

use tonic::{Code, Status};

use super::dial::{DialError, Why};
use crate::config::{Source, Target, Trust};
use crate::error::{Error, REPORT, Whose};
use crate::show::plain;

/// Tells whether a call may or may not have happened: its answer never came, or nobody could give one.
pub(crate) fn is_lost(status: &Status) -> bool {
    let ours = std::error::Error::source(status).is_some();
    ours || matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
}

/// Turns a controller's refusal into what a person is told.
pub(crate) fn refused(doing: &str, status: &Status, target: &Target) -> Error {
    let said = status.message().lines().map(plain).collect::<Vec<_>>().join("\n");
    let what = format!("cannot {doing}: {said}");
    let state = |hint: Option<String>| Error::Refused { what: what.clone(), hint, whose: Whose::State };
    if is_lost(status) {
        let lost = if std::error::Error::source(status).is_some() { "the connection broke" } else { &said };
        return Error::Unanswered {
            what: format!("cannot {doing}: the controller at {} gave no answer ({lost})", addresses(target)),
            hint: again(target),
        };
    }
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => {
            Error::Refused { what, hint: None, whose: Whose::Request }
        }
        Code::Unauthenticated => Error::Configuration {
            what: format!(
                "cannot {doing}: the controller at {} does not take {}",
                addresses(target),
                token(target)
            ),
            hint: new_token(target),
        },
        Code::PermissionDenied => {
            state(Some("somebody with more rights can do it, or give you a token that may".to_owned()))
        }
        Code::NotFound => Error::Refused { what, hint: None, whose: Whose::Missing },
        Code::AlreadyExists => Error::Refused { what, hint: None, whose: Whose::Taken },
        Code::FailedPrecondition => state(None),
        Code::ResourceExhausted => state(Some("try again in a while".to_owned())),
        Code::Aborted => {
            state(Some("somebody else changed it at the same time; look at it and try again".to_owned()))
        }
        Code::Unimplemented => Error::Refused {
            what: format!("cannot {doing}: this controller does not know that call"),
            hint: Some("compare the versions: ocelot version".to_owned()),
            whose: Whose::State,
        },
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => {
            let id = status.metadata().get("x-request-id").and_then(|id| id.to_str().ok());
            let id = id.map(|id| format!(" (request {})", plain(id))).unwrap_or_default();
            Error::Refused { what: format!("{what}{id}"), hint: Some(REPORT.to_owned()), whose: Whose::Ours }
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
            unreachable!("such an answer is a lost one")
        }
    }
}

/// Says that no address could be reached.
pub(super) fn unreached(doing: &str, failed: &[DialError], target: &Target) -> Error {
    let stranger = failed.iter().find_map(|error| match error.why {
        Why::Stranger { seen } => Some((error, seen)),
        Why::Network(_) | Why::TimedOut | Why::Tls(_) | Why::Authorities(_) | Why::Protocol(_) => None,
    });
    if let Some((error, seen)) = stranger {
        let name = match &target.source {
            Source::Context(name) => name.clone(),
            Source::Server | Source::Up { .. } => "NAME".to_owned(),
        };
        return Error::Configuration {
            what: format!("cannot {doing}: {error}; it is another machine, or somebody is between"),
            hint: format!(
                "ask whoever runs it; if {} is its new one: ocelot config add {name} {} --fingerprint {}",
                Trust::show_fingerprint(&seen),
                error.url,
                Trust::show_fingerprint(&seen),
            ),
        };
    }
    let why = failed.iter().map(ToString::to_string).collect::<Vec<_>>();
    let what = format!("cannot {doing}: no controller answers at {}", why.join("; "));
    Error::Unavailable { what, hint: again(target) }
}

fn addresses(target: &Target) -> String {
    target.urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn again(target: &Target) -> String {
    match &target.source {
        Source::Up { pid } => {
            format!("`ocelot up` (process {pid}) runs but does not answer; look at what it printed, or start it again")
        }
        Source::Server => {
            "is a controller running there? start one here with `ocelot up`, and leave --server and OCELOT_SERVER out"
                .to_owned()
        }
        Source::Context(name) => format!(
            "the context {name:?} says so; see all: ocelot config list; start a controller here: ocelot up"
        ),
    }
}

fn token(target: &Target) -> &'static str {
    match target.token {
        Some(_) => "your token",
        None => "calls without a token",
    }
}

fn new_token(target: &Target) -> String {
    match &target.source {
        Source::Context(name) => {
            format!(
                "get a new one (ocelot token create NAME), then: ocelot config add {name} {}",
                addresses(target)
            )
        }
        Source::Server => "say the token: OCELOT_TOKEN=... ocelot ...".to_owned(),
        Source::Up { .. } => {
            "is OCELOT_TOKEN set to another one? otherwise start `ocelot up` again".to_owned()
        }
    }
}

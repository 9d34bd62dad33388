//! Why a use case did not do what was asked, in the kinds that some caller treats differently.

use std::fmt;

use super::logs;
use crate::error::{self, Kind};
use crate::store;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no {what} {name:?}")]
    NotFound { what: What, name: String },
    /// The request itself is wrong; every problem, for people.
    #[error("{why}")]
    Invalid { why: String },
    /// The id was used for something else.
    #[error("{what} {name:?} exists already, and is not what was asked for")]
    AlreadyExists { what: What, name: String },
    /// Several fit; the first of them, for people.
    #[error("{text:?} fits more than one {what}:\n  {}", matches.join("\n  "))]
    Ambiguous { what: What, text: String, matches: Vec<String> },
    /// The disk has no room for what a new run would bring.
    #[error("{why}")]
    NoRoom { why: &'static str },
    /// The credential is not one that counts.
    #[error("the credential is not valid")]
    Unauthenticated,
    /// The attempt or session is not the live one: kill it and drop what it has. Only answered from
    /// a read that was made for the call.
    #[error("this is not the live one: kill it and drop what it has")]
    Fenced,
    /// What was asked is impossible where things stand.
    #[error("{why}")]
    Conflict { why: String },
    /// Too much at once.
    #[error("{what} is at its limit of {limit}")]
    Exhausted { what: &'static str, limit: usize },
    /// It may work if it is asked again.
    #[error("not now: {why}")]
    NotNow { why: &'static str },
    #[error("the store failed")]
    Store(#[from] store::Error),
    #[error(transparent)]
    Logs(#[from] logs::Error),
}

/// What was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Job,
    Run,
    Task,
    Executor,
    Project,
    Event,
    Secret,
    Artifact,
    Cache,
    Object,
    Schedule,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Job => "job",
            Self::Run => "run",
            Self::Task => "task",
            Self::Executor => "executor",
            Self::Project => "project",
            Self::Event => "event",
            Self::Secret => "secret",
            Self::Artifact => "artifact",
            Self::Cache => "cache",
            Self::Object => "object",
            Self::Schedule => "schedule",
        })
    }
}

impl Error {
    pub(crate) fn not_found(what: What, name: impl fmt::Display) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }

    pub(crate) fn invalid(why: impl fmt::Display) -> Self {
        Self::Invalid { why: why.to_string() }
    }

    /// Tells whether the same request may go through later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotNow { .. } | Self::Exhausted { .. } | Self::NoRoom { .. } => true,
            Self::Store(error) => error.is_retryable(),
            Self::Logs(error) => error.is_retryable(),
            Self::NotFound { .. }
            | Self::Invalid { .. }
            | Self::AlreadyExists { .. }
            | Self::Ambiguous { .. }
            | Self::Unauthenticated
            | Self::Fenced
            | Self::Conflict { .. } => false,
        }
    }
}

impl From<Error> for error::Error {
    /// The one way out of the use cases: only the kind decides what a caller sees.
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::NotFound { .. } => Kind::NotFound,
            Error::Invalid { .. } | Error::Ambiguous { .. } => Kind::Invalid,
            Error::AlreadyExists { .. } => Kind::Exists,
            Error::Unauthenticated => Kind::Unauthenticated,
            Error::Fenced => Kind::Fenced,
            Error::Conflict { .. } => Kind::Rejected,
            Error::Exhausted { .. } | Error::NoRoom { .. } => Kind::Exhausted { retry_after: None },
            Error::NotNow { .. } => Kind::Unavailable,
            Error::Store(error) => return error.into(),
            Error::Logs(error) => return error.into(),
        };
        Self::from_cause(kind, error)
    }
}

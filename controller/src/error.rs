//! What went wrong, in the kinds that a caller treats differently.
//!
//! Each use case has an error type of its own; on its way out it becomes this one, and only
//! [`crate::api_error`] knows how a kind looks on the wire.

use std::error::Error as StdError;
use std::time::Duration;

/// Why a call was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was named is not there, or the caller may not know that it is.
    NotFound,
    /// The request can never be right as it stands.
    Invalid,
    /// Not in the state that things are in now.
    Rejected,
    /// There is something else under this name or id already.
    Exists,
    /// Somebody else changed it at the same time.
    Conflict,
    /// The caller acts for an attempt or a session that is not its own any more.
    Fenced,
    /// Nobody is known by this credential.
    Unauthenticated,
    /// The caller is known, and may not do this.
    Forbidden,
    /// A limit is reached.
    Exhausted { retry_after: Option<Duration> },
    /// Something that is needed does not answer. The same call may go through later.
    Unavailable,
    /// This program ends because it was asked to. The same call goes through elsewhere, or later.
    Leaving,
    /// A fault of ours. The caller is told nothing but the request's id.
    Internal,
}

/// An error as it leaves a use case.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    /// For the caller; never holds a secret.
    message: String,
    #[source]
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: None }
    }

    /// What open streams are told when the program ends.
    pub fn leaving() -> Self {
        Self::new(Kind::Leaving, "this controller is being stopped; ask again, and go on where this ended")
    }

    /// Keeps what caused it, for the log.
    #[must_use]
    pub fn because(self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// Takes over an error's own words, and keeps it as the cause.
    pub fn from_cause(kind: Kind, cause: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(kind, cause.to_string()).because(cause)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }
}

//! Who is calling: from the credential that a call carries, and from nothing else.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ocelot_core::id::{ExecutorId, Incarnation, SessionId};
use tokio_util::sync::CancellationToken;

use super::api::{ApiTokens, Denied};
use super::token::{Kind, Token};

/// Who a call acts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Through an API token.
    Person { token: String, person: String },
    /// Through the token of an open session.
    Executor { executor: ExecutorId, session: SessionId, incarnation: Incarnation },
    /// Another controller, which reads logs for its own readers and nothing else.
    Controller { name: String },
}

/// Someone who was let in.
#[derive(Debug, Clone)]
pub struct Caller {
    pub identity: Identity,
    /// Cancelled when the credential does not count any more.
    pub ended: CancellationToken,
}

/// Knows the sessions.
#[async_trait]
pub trait Sessions: fmt::Debug + Send + Sync {
    /// Returns the session that a token speaks for.
    async fn session(&self, token: &Token) -> Result<Admitted, Denied>;
}

/// A session that counts.
#[derive(Debug, Clone)]
pub struct Admitted {
    pub session: SessionId,
    pub executor: ExecutorId,
    pub incarnation: Incarnation,
    /// Cancelled when it ends.
    pub ended: CancellationToken,
}

/// Knows the controllers that run.
#[async_trait]
pub trait Controllers: fmt::Debug + Send + Sync {
    /// Returns the name of the controller whose token this is.
    async fn controller(&self, token: &Token) -> crate::store::Result<Option<String>>;
}

/// Lets callers in, or not.
#[derive(Debug, Clone)]
pub struct Gate {
    api: Arc<ApiTokens>,
    sessions: Arc<dyn Sessions>,
    controllers: Option<Arc<dyn Controllers>>,
}

impl Gate {
    pub fn new(api: Arc<ApiTokens>, sessions: Arc<dyn Sessions>) -> Self {
        Self { api, sessions, controllers: None }
    }

    /// Lets other controllers in, too.
    #[must_use]
    pub fn with_controllers(self, controllers: Arc<dyn Controllers>) -> Self {
        Self { controllers: Some(controllers), ..self }
    }

    /// Returns who calls, by the value of the `authorization` header.
    pub async fn admit(&self, authorization: Option<&[u8]>, from: IpAddr) -> Result<Caller, Denied> {
        // A call without any credential guesses nothing, and is not counted.
        let text = authorization.ok_or(Denied::Unknown)?;
        let Some(token) = bearer(text) else { return Err(self.api.failed(from)) };
        match token.kind() {
            Kind::Api => {
                let access = self.api.authenticate(&token, from).await?;
                let identity = Identity::Person { token: access.token, person: access.person };
                Ok(Caller { identity, ended: access.ended })
            }
            Kind::Session { .. } => self.admit_session(&token, from).await,
            Kind::Controller => self.admit_controller(&token, from).await,
            // It goes into the call that registers, and opens nothing else.
            Kind::Registration => Err(self.api.failed(from)),
        }
    }

    async fn admit_controller(&self, token: &Token, from: IpAddr) -> Result<Caller, Denied> {
        let Some(controllers) = &self.controllers else { return Err(self.api.failed(from)) };
        let found = controllers.controller(token).await.map_err(Denied::Unavailable)?;
        let name = found.ok_or_else(|| self.api.failed(from))?;
        Ok(Caller { identity: Identity::Controller { name }, ended: CancellationToken::new() })
    }

    /// Counts a failure of a call that brings its credential in its message, such as a registration.
    pub fn failed(&self, from: IpAddr) -> Denied {
        self.api.failed(from)
    }

    async fn admit_session(&self, token: &Token, from: IpAddr) -> Result<Caller, Denied> {
        let Admitted { session, executor, incarnation, ended } = match self.sessions.session(token).await {
            // Nobody was ever given it, or its executor is gone: it counts against the address.
            Err(Denied::Unknown) => return Err(self.api.failed(from)),
            found => found?,
        };
        Ok(Caller { identity: Identity::Executor { executor, session, incarnation }, ended })
    }
}

fn bearer(header: &[u8]) -> Option<Token> {
    let (scheme, token) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") { token.parse().ok() } else { None }
}

//! The questions and orders to a forge, each one call with a deadline.

use std::sync::Arc;
use std::time::Duration;

use ocelot_forge::Forge;
use ocelot_forge::api::{
    self, GiveUp, HookDecision, PullRequestFacts, Request, Response, Status, Unreadable,
};
use ocelot_forge::event::{CommitId, RepositoryIdentity};
use ocelot_forge::secret::{ForgeToken, Secret};
use ocelot_proto::kit::clock::Clock;

use super::home::{Apis, Home, NoHome};
use crate::egress::{Answer, Call, Egress, EgressError};
use crate::records::ForgeLink;

/// Webhooks of the same address that are taken away in one go.
const SURPLUS_MAX: usize = 10;

/// Asks forges, and tells them.
#[derive(Debug, Clone)]
pub struct ForgeLine {
    egress: Arc<Egress>,
    clock: Arc<dyn Clock>,
    apis: Arc<Apis>,
}

/// A webhook that is at the forge now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The hook's id there.
    pub id: String,
}

/// Why a forge did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error(transparent)]
    NoHome(#[from] NoHome),
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error("the forge does not accept the project's token (401)")]
    Token,
    #[error(transparent)]
    GivesUp(#[from] GiveUp),
    /// The wait is the forge's own word, if it said one.
    #[error("the forge answers {status}, which may pass")]
    NotNow { status: u16, wait: Option<Duration> },
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("the forge took the webhook and does not list it")]
    NotListed,
    #[error("the token cannot be sent: it holds characters that no token has")]
    Unsendable,
}

impl LineError {
    /// Tells whether trying again may go better: a token can be replaced meanwhile.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Egress(error) => error.is_passing(),
            Self::Token | Self::NotNow { .. } => true,
            Self::NoHome(_) | Self::GivesUp(_) | Self::Unreadable(_) | Self::NotListed | Self::Unsendable => {
                false
            }
        }
    }
}

/// Reads a project's secret as what authorizes at its forge.
pub fn token_of(kind: Forge, secret: &str) -> ForgeToken {
    let secret = secret.trim();
    match secret.split_once(':') {
        Some((user, password)) if kind == Forge::Bitbucket && !user.is_empty() => {
            ForgeToken::password(user, password)
        }
        Some(_) | None => ForgeToken::token(secret),
    }
}

impl ForgeLine {
    pub fn new(egress: Arc<Egress>, clock: Arc<dyn Clock>, apis: Apis) -> Self {
        Self { egress, clock, apis: Arc::new(apis) }
    }

    /// Finds the home of the repository with this address.
    pub fn home(&self, address: &str, link: &ForgeLink) -> Result<Home, LineError> {
        Ok(Home::of(address, link, &self.apis)?)
    }

    /// Makes the project's webhook, or brings the one that is there up to date.
    pub async fn register(
        &self,
        home: &Home,
        token: &ForgeToken,
        url: &str,
        secret: &Secret,
    ) -> Result<Registered, LineError> {
        let place = home.place();
        match api::decide_hook(&self.hooks(home, token).await?, url) {
            HookDecision::Update { id, surplus } => {
                self.done(home, api::update_hook_request(&place, &id, url, secret, token)).await?;
                for surplus in surplus.iter().take(SURPLUS_MAX) {
                    self.remove(home, token, surplus).await?;
                }
                Ok(Registered { id })
            }
            HookDecision::Create => {
                self.done(home, api::hook_request(&place, url, secret, token)).await?;
                match api::decide_hook(&self.hooks(home, token).await?, url) {
                    HookDecision::Update { id, .. } => Ok(Registered { id }),
                    HookDecision::Create => Err(LineError::NotListed),
                }
            }
        }
    }

    /// Lets the forge call the webhook; returns whether it can be asked to.
    pub async fn ping(&self, home: &Home, token: &ForgeToken, id: &str) -> Result<bool, LineError> {
        match api::ping_request(&home.place(), id, token) {
            Some(request) => self.done(home, request).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Takes a webhook away; one that is not there is as good.
    pub async fn remove(&self, home: &Home, token: &ForgeToken, id: &str) -> Result<(), LineError> {
        match self.done(home, api::delete_hook_request(&home.place(), id, token)).await {
            Ok(()) | Err(LineError::GivesUp(GiveUp::NotFound)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks who the repository is: its immutable id, its default branch, its addresses.
    pub async fn repository(&self, home: &Home, token: &ForgeToken) -> Result<RepositoryIdentity, LineError> {
        let answer = self.told(home, api::repository_request(&home.place(), token)).await?;
        Ok(api::repository_identity(home.kind, &answer.body)?)
    }

    /// Asks for the ids of a pull request, which decide about trust.
    pub async fn pull_request(
        &self,
        home: &Home,
        token: &ForgeToken,
        number: u64,
    ) -> Result<PullRequestFacts, LineError> {
        let answer = self.told(home, api::pull_request_request(&home.place(), number, token)).await?;
        Ok(api::pull_request_facts(home.kind, &answer.body)?)
    }

    /// Says the status of a commit.
    pub async fn say(
        &self,
        home: &Home,
        token: &ForgeToken,
        commit: &CommitId,
        status: &Status,
    ) -> Result<(), LineError> {
        self.done(home, api::status_request(&home.place(), commit, status, token)).await
    }

    /// Asks whether the status of a commit is this one.
    pub async fn has_said(
        &self,
        home: &Home,
        token: &ForgeToken,
        commit: &CommitId,
        status: &Status,
    ) -> Result<bool, LineError> {
        let request = api::read_status_request(&home.place(), commit, &status.context, token);
        let answer = match self.told(home, request).await {
            Ok(answer) => answer,
            // Bitbucket has an address for each status: none there, none said.
            Err(LineError::GivesUp(GiveUp::NotFound)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let state = api::state_of_status(home.kind, &answer.body, &status.context)?;
        Ok(state.as_deref() == Some(status.state.word(home.kind)))
    }

    async fn hooks(&self, home: &Home, token: &ForgeToken) -> Result<Vec<api::Hook>, LineError> {
        let answer = self.told(home, api::list_hooks_request(&home.place(), token)).await?;
        Ok(api::hooks(home.kind, &answer.body)?)
    }

    async fn done(&self, home: &Home, request: Request) -> Result<(), LineError> {
        self.told(home, request).await.map(drop)
    }

    /// Sends, and returns an answer that is none of the refusals.
    async fn told(&self, home: &Home, request: Request) -> Result<Answer, LineError> {
        let body = request.body.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let call = Call::new(request.method.word(), &request.url, &request.headers, body.into());
        let answer = self.egress.call(call.ok_or(LineError::Unsendable)?).await?;
        let header = |name: &str| answer.headers.get(name).map(|value| value.as_bytes());
        let response = Response { status: answer.status, headers: &header, body: &answer.body };
        let now = self.clock.wall().0 / 1_000_000;
        match api::classify(home.kind, &response, now) {
            api::Answer::Done => Ok(answer),
            api::Answer::GivesUp(why) => Err(why.into()),
            api::Answer::Retry | api::Answer::RetryAfter(_) if answer.status == 401 => Err(LineError::Token),
            api::Answer::Retry => Err(LineError::NotNow { status: answer.status, wait: None }),
            api::Answer::RetryAfter(wait) => {
                Err(LineError::NotNow { status: answer.status, wait: Some(wait) })
            }
        }
    }
}

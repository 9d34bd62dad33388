//! Register: a machine becomes an executor, once, with a token that an operator made.
//!
//! The executor's id is derived from its public key, so a repeat after a lost answer finds the same
//! executor although the token is used up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::ExecutorId;
use ocelot_domain::outcome::Actor;

use super::Service;
use super::error::{Error, Result, What};
use crate::auth::{self, Kind, Redeemed, RegistrationTokens, Token};
use crate::records::{Digest, ExecutorRecord, Machine, NameOf};
use crate::store::codec::{decode, encode};
use crate::store::keys::Key;
use crate::store::{Expected, Txn};

const SLOTS_MAX: u32 = 1000;
const LABELS_MAX: usize = 64;
const NAME_MAX: usize = 63;
/// What every machine's labels begin with by themselves; nobody is granted these.
const OWN_LABELS: [&str; 4] = ["os=", "arch=", "runtime=", "name="];

/// What an operator allows with a registration token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRegistrationToken {
    pub labels: Vec<String>,
    pub uses: u32,
    pub valid_for: Duration,
    pub by: Actor,
}

#[derive(Clone, PartialEq, Eq)]
pub struct RegisterRequest {
    pub token: String,
    pub public_key: [u8; 32],
    pub name: String,
    pub labels: Vec<String>,
    pub slots: u32,
    pub version: String,
    pub machine: Machine,
}

impl fmt::Debug for RegisterRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub executor: ExecutorId,
    pub labels: Vec<String>,
}

impl Service {
    /// Makes a registration token; its text is told this once.
    pub async fn make_registration_token(&self, new: NewRegistrationToken) -> Result<String> {
        let NewRegistrationToken { labels, uses, valid_for, by } = new;
        if let Some(label) = labels.iter().find(|label| !is_label(label)) {
            return Err(Error::invalid(format!("{label:?} is no label that can be granted")));
        }
        let new = auth::NewRegistrationToken { labels, uses, expires_in: valid_for, by: by.0 };
        let (_, token) = self.registration_tokens().create(new, self.random()).await?;
        Ok(token.reveal().to_owned())
    }

    /// Makes an executor, and uses the token up by one in the same transaction.
    pub async fn register(&self, request: RegisterRequest) -> Result<Registered> {
        check(&request)?;
        let token: Token = request.token.parse().map_err(|_| Error::Unauthenticated)?;
        if token.kind() != Kind::Registration {
            return Err(Error::Unauthenticated);
        }
        let digest = Digest::of(token.reveal().as_bytes());
        let id = executor_id(&request.public_key);
        if let Some(known) = self.registered(id, &digest).await? {
            return Ok(known);
        }
        let tokens = self.registration_tokens();
        let granted = grant(&request.labels, &tokens.check(&token).await?.labels)?;
        let record = self.new_executor(&request, id, digest, granted);
        let (key, name) =
            (Key::Executor(id).to_string(), Key::ExecutorName(request.name.clone()).to_string());
        let txn = Txn::new()
            .when(key.as_str(), Expected::Absent)
            .when(name.as_str(), Expected::Absent)
            .put(key, encode(&record, None))
            .put(name, encode(&NameOf(id), None));
        match tokens.redeem(&token, &txn).await {
            Ok(Redeemed::Committed) => Ok(Registered { executor: id, labels: record.labels }),
            Ok(Redeemed::Refused { found }) => match self.registered(id, &digest).await? {
                // The same machine asked twice at once.
                Some(known) => Ok(known),
                None => {
                    let known = found.into_iter().next().flatten();
                    let known = known.map(|item| decode::<ExecutorRecord>(&item.value)).transpose()?;
                    let name = known.map_or(request.name, |known| known.name);
                    Err(Error::AlreadyExists { what: What::Executor, name })
                }
            },
            // The answer of the store, or of a twin of this call, may be lost or late.
            Err(error) => self.registered(id, &digest).await?.ok_or_else(|| error.into()),
        }
    }

    fn registration_tokens(&self) -> RegistrationTokens {
        RegistrationTokens::new(Arc::clone(&self.store), Arc::clone(&self.parts.clock))
    }

    async fn registered(&self, id: ExecutorId, token: &Digest) -> Result<Option<Registered>> {
        let Some(item) = self.read(&Key::Executor(id).to_string()).await? else { return Ok(None) };
        let known: ExecutorRecord = decode(&item.value)?;
        let same = known.registered_with == *token;
        Ok(same.then_some(Registered { executor: id, labels: known.labels }))
    }

    fn new_executor(
        &self,
        request: &RegisterRequest,
        id: ExecutorId,
        registered_with: Digest,
        labels: Vec<String>,
    ) -> ExecutorRecord {
        ExecutorRecord {
            id,
            name: request.name.clone(),
            public_key: request.public_key,
            labels,
            slots: request.slots,
            machine: request.machine.clone(),
            version: request.version.clone(),
            registered_with,
            registered_at: self.timestamp(),
            draining: None,
            quarantined: None,
        }
    }
}

/// Returns the id of the executor with this key.
fn executor_id(public_key: &[u8; 32]) -> ExecutorId {
    let digest = Digest::of(public_key);
    let (id, _) = digest.as_bytes().split_first_chunk().expect("a digest has 32 bytes");
    ExecutorId::from_bytes(*id)
}

/// Returns the labels that are granted: all that the token has, if no others are asked for.
fn grant(asked: &[String], allowed: &[String]) -> Result<Vec<String>> {
    let own = |label: &&String| !OWN_LABELS.iter().any(|own| label.starts_with(own));
    let refused: Vec<&str> =
        asked.iter().filter(own).filter(|label| !allowed.contains(label)).map(String::as_str).collect();
    if !refused.is_empty() {
        let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
        let refused = refused.join(", ");
        return Err(Error::invalid(format!("the token does not grant {refused}; it grants {allowed}")));
    }
    Ok(allowed.to_vec())
}

fn check(request: &RegisterRequest) -> Result<()> {
    let name = &request.name;
    let is_name = (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !is_name {
        return Err(Error::invalid(format!(
            "{name:?} is no executor's name: 1 to {NAME_MAX} letters, digits, `-`, `.` or `_`"
        )));
    }
    if !(1..=SLOTS_MAX).contains(&request.slots) {
        return Err(Error::invalid(format!("{} slots; an executor has 1 to {SLOTS_MAX}", request.slots)));
    }
    if request.labels.len() > LABELS_MAX {
        return Err(Error::invalid(format!("{} labels; at most {LABELS_MAX}", request.labels.len())));
    }
    Ok(())
}

fn is_label(text: &str) -> bool {
    let text = text.strip_prefix('!').unwrap_or(text);
    let (key, value) = text.split_once('=').unwrap_or((text, "x"));
    let is_word = |word: &str| {
        (1..=NAME_MAX).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte))
    };
    is_word(key) && is_word(value) && !OWN_LABELS.iter().any(|own| text.starts_with(own))
}

impl From<auth::Error> for Error {
    fn from(error: auth::Error) -> Self {
        match error {
            auth::Error::NotValid => Self::Unauthenticated,
            auth::Error::InvalidName(_) | auth::Error::InvalidUses { .. } => Self::invalid(error),
            auth::Error::Exists(_) | auth::Error::NotFound(_) => Self::Conflict { why: error.to_string() },
            auth::Error::Busy => Self::NotNow { why: "the token is being changed by others" },
            auth::Error::Store(error) => error.into(),
        }
    }
}

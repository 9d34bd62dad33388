//! Register: a machine becomes an executor, once, with a token that an operator made.
//!
//! The executor's id is derived from its public key, so a repeat after a lost answer finds the same
//! executor although the token is used up. A token's time is a lease: no clock is compared.

use std::fmt;
use std::time::Duration;

use ocelot_core::id::ExecutorId;
use ocelot_domain::outcome::Actor;

use super::Service;
use super::error::{Error, Result, What};
use super::jobs::settled;
use crate::records::{Digest, ExecutorRecord, Machine, NameOf, RegistrationToken};
use crate::store::codec::{decode, encode};
use crate::store::keys::Key;
use crate::store::update::{Edit, UpdateError};
use crate::store::{Expected, LeaseId, Txn};

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
    /// Makes a registration token; its secret is told this once.
    pub async fn make_registration_token(&self, new: NewRegistrationToken) -> Result<String> {
        let secret = hex(&self.random::<32>());
        let digest = Digest::of(secret.as_bytes());
        let NewRegistrationToken { labels, uses, valid_for, by } = new;
        if let Some(label) = labels.iter().find(|label| !is_label(label)) {
            return Err(Error::invalid(format!("{label:?} is no label that can be granted")));
        }
        let lease = self.store.grant(valid_for).await?;
        let token = RegistrationToken { labels, uses_left: uses.max(1), by };
        let key = Key::Registration(digest.to_string()).to_string();
        let updated = self.updater.update(&key, |_: Option<RegistrationToken>| {
            Ok::<_, Error>(Edit::PutUnder(lease.id, token.clone()))
        });
        settled(updated.await)?;
        Ok(secret)
    }

    /// Makes an executor, and uses the token up by one.
    pub async fn register(&self, request: RegisterRequest) -> Result<Registered> {
        check(&request)?;
        let digest = Digest::of(request.token.as_bytes());
        let id = executor_id(&request.public_key);
        if let Some(known) = self.registered(id, &digest).await? {
            return Ok(known);
        }
        let token_key = Key::Registration(digest.to_string()).to_string();
        let item = self.read(&token_key).await?.ok_or(Error::Unauthenticated)?;
        let token: RegistrationToken = decode(&item.value)?;
        let granted = grant(&request.labels, &token.labels)?;
        let record = self.new_executor(&request, id, digest, granted);
        let token = spent(&token_key, (token, item.lease), Expected::At(item.mod_revision));
        let name_key = Key::ExecutorName(request.name.clone()).to_string();
        let beside = token.when(name_key.as_str(), Expected::Absent).put(name_key, encode(&NameOf(id), None));
        let key = Key::Executor(id).to_string();
        let updated = self.updater.update(&key, |known: Option<ExecutorRecord>| match known {
            Some(known) if known.registered_with == digest => Ok(Edit::Keep.into()),
            Some(known) => Err(Error::AlreadyExists { what: What::Executor, name: known.name }),
            None => Ok(Edit::Put(record.clone()).beside(beside.clone())),
        });
        match updated.await {
            Ok(_) => Ok(Registered { executor: id, labels: record.labels }),
            Err(UpdateError::Beside { found }) if matches!(found.get(1), Some(Some(_))) => {
                Err(Error::AlreadyExists { what: What::Executor, name: request.name })
            }
            Err(UpdateError::Beside { .. }) => {
                Err(Error::NotNow { why: "the token was used at this moment" })
            }
            Err(error) => settled(Err(error)),
        }
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

fn spent(key: &str, (token, lease): (RegistrationToken, Option<LeaseId>), expected: Expected) -> Txn {
    let txn = Txn::new().when(key, expected);
    match (token.uses_left.saturating_sub(1), lease) {
        (0, _) | (_, None) => txn.delete(key),
        (uses_left, Some(lease)) => {
            txn.put_under(lease, key, encode(&RegistrationToken { uses_left, ..token }, None))
        }
    }
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

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

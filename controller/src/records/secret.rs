//! Secrets as they are stored: values only in their envelopes, and what may be told beside them.

use serde::{Deserialize, Serialize};

use ocelot_domain::outcome::Actor;
use ocelot_domain::task::state::Timestamp;

use crate::seal::Sealed;
use crate::store::codec::Record;

/// One named secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    pub about: SecretAbout,
    pub sealed: Sealed,
}

/// What is told of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretAbout {
    pub created_at: Timestamp,
    /// When its value was last replaced.
    pub updated_at: Timestamp,
    pub updated_by: Actor,
    /// Too short to be masked in logs.
    pub short: bool,
}

/// When a secret was last given away. A record of its own: it changes far more often than the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUseRecord {
    pub at: Timestamp,
    /// The run that it was given to, as name#number.
    pub by: String,
}

/// The secret arguments of one run, all in one envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunSecretsRecord(pub Sealed);

/// The same as it was stored before there were envelopes. Only read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BareSecrets {
    pub nonce: [u8; 12],
    pub bytes: Vec<u8>,
}

/// Something that only who has the fleet's seal keys opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealRecord(pub Sealed);

impl Record for SecretRecord {
    const KIND: &'static str = "secret";
    const VERSION: u32 = 1;
}

impl Record for SecretUseRecord {
    const KIND: &'static str = "secret_use";
    const VERSION: u32 = 1;
}

impl Record for RunSecretsRecord {
    const KIND: &'static str = "sealed";
    const VERSION: u32 = 2;
}

impl Record for BareSecrets {
    const KIND: &'static str = "sealed";
    const VERSION: u32 = 1;
}

impl Record for SealRecord {
    const KIND: &'static str = "seal";
    const VERSION: u32 = 1;
}

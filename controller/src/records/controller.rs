//! A running controller as the others see it: where it is, and how they know it.

use serde::{Deserialize, Serialize};

use ocelot_domain::task::state::Timestamp;

use super::Digest;
use crate::store::codec::Record;

/// One running controller; its key lives under its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerRecord {
    pub name: String,
    /// Tells this life of it from the one before.
    pub life: u64,
    /// URL at which the others reach it.
    pub address: String,
    pub version: String,
    pub started_at: Timestamp,
    /// SHA-256 of the certificate that it shows; none in plain text on loopback.
    pub certificate: Option<[u8; 32]>,
    /// Of the token that it shows the others.
    pub token: Digest,
}

impl Record for ControllerRecord {
    const KIND: &'static str = "controller";
    const VERSION: u32 = 1;
}

//! What tasks leave behind: artifacts with their run, and states of caches with their scope.
//!
//! A record says where the bytes are, by their digest; it is put when all of them are there. Bytes
//! that no record names are taken away.

use serde::{Deserialize, Serialize};

use ocelot_domain::task::state::Timestamp;

use super::Digest;
use crate::store::codec::Record;

/// Bytes in the home of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub digest: Digest,
    pub size_bytes: u64,
}

/// What the winning attempt of a task kept under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    /// Name of the task: the run may leave before what it kept.
    pub task: String,
    pub kept: Kept,
    pub files: u64,
    pub attempt: u32,
    pub created_at: Timestamp,
    /// None: never.
    pub expires_at: Option<Timestamp>,
}

/// One state of a cache. It never changes but for its last use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// The project or job that its bytes count for.
    pub owner: String,
    /// Who sees it, in whole; in the store's key it may be shortened.
    pub scope: String,
    /// As the executor named it, in whole.
    pub key: String,
    pub kept: Kept,
    pub files: u64,
    pub created_at: Timestamp,
    /// Roughly: it is not written with every use.
    pub used_at: Timestamp,
}

impl ArtifactRecord {
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at.unix_ms <= now.unix_ms)
    }
}

impl Record for ArtifactRecord {
    const KIND: &'static str = "artifact";
    const VERSION: u32 = 1;
}

impl Record for CacheRecord {
    const KIND: &'static str = "cache";
    const VERSION: u32 = 1;
}

//! What the use cases are given from outside: time, chance, keys, logs and large plans.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use ocelot_domain::placement::Limits;
use ocelot_domain::task::state::LogEnd;
use ocelot_proto::kit::clock::Clock;

use super::AttemptRef;
use super::error::Result;
use crate::records::Digest;
use crate::store::Store;
use crate::store::update::Chance;

/// Everything that the service does not make itself.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Unique among the controllers.
    pub name: String,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<dyn Chance>,
    pub unguessable: Arc<dyn Unguessable>,
    pub verify: Arc<dyn Verify>,
    pub logs: Arc<dyn LogEnds>,
    pub plans: Arc<dyn Plans>,
    pub limits: Limits,
}

/// Makes secrets.
pub trait Unguessable: fmt::Debug + Send + Sync {
    /// Fills `bytes` with what nobody can predict.
    fn fill(&self, bytes: &mut [u8]);
}

/// Checks signatures.
pub trait Verify: fmt::Debug + Send + Sync {
    /// Returns whether `signature` is that of `message` by the holder of this Ed25519 key.
    fn is_signed(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool;
}

/// What an executor says about the end of an attempt's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedEnd {
    pub bytes: u64,
    pub sha256: [u8; 32],
}

/// What is here of an attempt's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogStanding {
    /// The log has ended: whole, or with a loss that is recorded.
    Ended(LogEnd),
    /// Bytes are missing from here on.
    Incomplete { expected: u64 },
}

/// How far an attempt's log is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOffsets {
    pub attempt: AttemptRef,
    pub received: u64,
    pub durable: u64,
}

/// The logs, as far as the end of an attempt depends on them.
#[async_trait]
pub trait LogEnds: fmt::Debug + Send + Sync {
    /// Compares what is stored with what the executor says is the whole log.
    async fn check(&self, attempt: &AttemptRef, end: &ClaimedEnd) -> Result<LogStanding>;

    /// Ends the log at what is here, with a recorded loss; an ended log stays as it is.
    async fn give_up(&self, attempt: &AttemptRef, at: u64, why: &str) -> Result<LogEnd>;

    /// Ends the log of an attempt that was taken from its executor.
    async fn lost(&self, _attempt: &AttemptRef) -> Result<()> {
        Ok(())
    }

    /// Returns how far the logs of these attempts are safe, of those that are known.
    async fn offsets(&self, attempts: &[AttemptRef]) -> Vec<LogOffsets>;
}

/// The home of plans that are too large for a run's record.
#[async_trait]
pub trait Plans: fmt::Debug + Send + Sync {
    /// Keeps the bytes durably under their digest; keeping them twice changes nothing.
    async fn keep(&self, digest: Digest, plan: Bytes) -> Result<()>;

    async fn fetch(&self, digest: Digest) -> Result<Option<Bytes>>;
}

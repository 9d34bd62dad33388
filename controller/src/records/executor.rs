//! An executor as it is stored: its registration, what counts of it now, and its session.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use ocelot_core::id::{ExecutorId, Incarnation, SessionId};
use ocelot_domain::outcome::Actor;
use ocelot_domain::task::state::{Session, Timestamp};
use ocelot_domain::task::timing::SESSION_TTL_MIN;

use super::Digest;
use crate::store::codec::Record;

/// Sessions before the current one whose tokens are still recognised, to tell a clone from noise.
const PAST_MAX: usize = 4;

/// A registered machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorRecord {
    pub id: ExecutorId,
    pub name: String,
    /// Ed25519.
    pub public_key: [u8; 32],
    /// As granted: `word`, `key=value`, or `!word` for one that takes only tasks asking for it.
    pub labels: Vec<String>,
    pub slots: u32,
    pub machine: Machine,
    pub version: String,
    /// The digest of the registration token that made it, so that a repeat finds it.
    pub registered_with: Digest,
    pub registered_at: Timestamp,
    pub draining: Option<Notice>,
    pub quarantined: Option<Notice>,
}

/// Something an executor was told, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub why: String,
    pub by: Actor,
    pub at: Timestamp,
}

/// What a machine is like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub os: String,
    pub arch: String,
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub gpus: u32,
    pub runtimes: Vec<RuntimeSupport>,
}

/// One way to run tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeSupport {
    /// `docker`, `process`.
    pub name: String,
    pub version: String,
    /// Has a kill that reaches all.
    pub whole_kill: bool,
}

/// Which incarnation and session of an executor count. Never under a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorEpoch {
    pub session: Session,
    pub token: Digest,
    /// The newest last.
    pub past: Vec<Past>,
    /// The longest time to live that the session's lease was given, where that is more than the
    /// least: as long as that allows, its heartbeats may be apart. Never shorter while it holds
    /// anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_ttl_ms: Option<u64>,
}

/// A session that no longer counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    pub session: SessionId,
    pub incarnation: Incarnation,
    pub token: Digest,
}

/// A live session: the one key on its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    pub session: Session,
    pub token: Digest,
    pub opened_at: Timestamp,
    pub condition: Condition,
}

/// What an executor says about itself, as far as placement asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Why it takes no work just now.
    pub refusing: Option<String>,
    pub warm_images: Vec<String>,
}

/// Which executor has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NameOf(pub ExecutorId);

impl Record for ExecutorRecord {
    const KIND: &'static str = "executor";
    const VERSION: u32 = 1;
}

impl Record for ExecutorEpoch {
    const KIND: &'static str = "executor_epoch";
    const VERSION: u32 = 1;
}

impl Record for SessionRecord {
    const KIND: &'static str = "session";
    const VERSION: u32 = 1;
}

impl Record for NameOf {
    const KIND: &'static str = "executor_name";
    const VERSION: u32 = 1;
}

impl ExecutorEpoch {
    pub fn new(session: Session, token: Digest) -> Self {
        Self { session, token, past: Vec::new(), session_ttl_ms: None }
    }

    /// Returns the longest time to live that the session's lease was given.
    pub fn session_ttl(&self) -> Duration {
        self.session_ttl_ms.map_or(SESSION_TTL_MIN, Duration::from_millis)
    }

    #[must_use]
    pub fn with_session_ttl(self, ttl: Duration) -> Self {
        let session_ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self { session_ttl_ms: (ttl > SESSION_TTL_MIN).then_some(session_ttl_ms), ..self }
    }

    /// Returns the epoch of a newer session, which remembers this one.
    #[must_use]
    pub fn followed_by(&self, session: Session, token: Digest) -> Self {
        let mut past = self.past.clone();
        past.push(Past {
            session: self.session.id,
            incarnation: self.session.incarnation,
            token: self.token,
        });
        if past.len() > PAST_MAX {
            past.remove(0);
        }
        Self { session, token, past, session_ttl_ms: self.session_ttl_ms }
    }
}

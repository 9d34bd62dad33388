//! The logs and the use cases joined: who holds an attempt, and how its log ends.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use ocelot_core::id::SessionId;
use ocelot_domain::task::state::{LogEnd, Task};
use tokio_util::sync::CancellationToken;

use super::error::Result;
use super::logs::{self, Claim, Digest, End, Holders, LogId, LossKind, Sealing};
use super::parts::{ClaimedEnd, LogEnds, LogOffsets, LogStanding};
use super::{AttemptRef, Error, Service};
use crate::auth::{SessionCredential, Sessions};
use crate::store::codec::decode;
use crate::store::keys::Key;

/// Asks the service, which is made after the logs because it is given them.
#[derive(Debug, Default)]
pub struct AskService(OnceLock<Weak<Service>>);

impl AskService {
    /// Tells whom to ask; the first word counts.
    pub fn set(&self, service: &Arc<Service>) {
        self.0.get_or_init(|| Arc::downgrade(service));
    }
}

#[async_trait]
impl Holders for AskService {
    async fn holds(
        &self,
        log: LogId,
        session: SessionId,
    ) -> std::result::Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let service = self.0.get().and_then(Weak::upgrade);
        let service = service.ok_or(Error::NotNow { why: "the controller is not ready" })?;
        let Some(item) = service.read(&Key::Task(log.task).to_string()).await? else { return Ok(false) };
        let task: Task = decode(&item.value)?;
        let is_it = |live: &ocelot_domain::task::state::Live| {
            live.attempt == log.attempt && live.session.id == session && task.epoch == log.epoch
        };
        Ok(task.live().is_some_and(is_it))
    }
}

#[async_trait]
impl LogEnds for logs::Logs {
    async fn check(&self, attempt: &AttemptRef, end: &ClaimedEnd) -> Result<LogStanding> {
        let claim = Claim { length: end.bytes, sha256: Digest(end.sha256) };
        let sealed = self.seal((*attempt).into(), claim).await;
        Ok(match sealed.map_err(unavailable)? {
            Sealing::Ended(end) => LogStanding::Ended(end.into()),
            Sealing::Incomplete { expected } => LogStanding::Incomplete { expected },
        })
    }

    async fn give_up(&self, attempt: &AttemptRef, _at: u64, why: &str) -> Result<LogEnd> {
        let ended = self.end_with_loss((*attempt).into(), LossKind::Bytes, why.to_owned()).await;
        Ok(ended.map_err(unavailable)?.into())
    }

    async fn offsets(&self, attempts: &[AttemptRef]) -> Vec<LogOffsets> {
        let known = attempts.iter().filter_map(|attempt| {
            let logs::Progress { received, durable, .. } = self.glance((*attempt).into())?;
            Some(LogOffsets { attempt: *attempt, received, durable })
        });
        known.collect()
    }
}

fn unavailable(error: logs::Error) -> Error {
    Error::Store(crate::store::Error::Unavailable(Box::new(error)))
}

impl From<End> for LogEnd {
    fn from(end: End) -> Self {
        match end.loss {
            None => Self::Whole { bytes: end.length, sha256: end.sha256.0 },
            Some(loss) => Self::Truncated { at: loss.at, why: loss.reason },
        }
    }
}

impl From<AttemptRef> for LogId {
    fn from(AttemptRef { task, attempt, epoch }: AttemptRef) -> Self {
        Self { task, attempt, epoch }
    }
}

#[async_trait]
impl Sessions for Service {
    async fn session(
        &self,
        _session: SessionId,
    ) -> crate::store::Result<Option<(SessionCredential, CancellationToken)>> {
        Ok(None)
    }
}

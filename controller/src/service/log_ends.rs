//! The logs and the use cases joined: who holds an attempt, and how its log ends.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;

use ocelot_domain::task::Holding;
use ocelot_domain::task::state::{LogEnd, Session};

use super::error::Result;
use super::logs::{self, Claim, Digest, End, Holders, LogId, LossKind, Sealing};
use super::parts::{ClaimedEnd, LogEnds, LogOffsets, LogStanding};
use super::{AttemptRef, Error, Service};

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
        session: Session,
    ) -> std::result::Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let service = self.0.get().and_then(Weak::upgrade);
        let service = service.ok_or(Error::NotNow { why: "the controller is not ready" })?;
        let attempt = AttemptRef::from(log);
        if service.has_just_acknowledged(session, &attempt) {
            service.note_log(session, attempt).await?;
            return Ok(true);
        }
        match service.holding_now(session, attempt).await? {
            Holding::Running { .. } | Holding::Cancelling { .. } => {
                service.note_log(session, attempt).await?;
                Ok(true)
            }
            // A log whose first holder lost its disk is sent again by who still has it.
            Holding::Recorded => Ok(true),
            Holding::Kill => Ok(false),
            Holding::Offered | Holding::Unattached => {
                Err(Error::NotNow { why: "the attempt is not attached to this session yet" }.into())
            }
        }
    }
}

#[async_trait]
impl LogEnds for logs::Logs {
    async fn check(&self, attempt: &AttemptRef, end: &ClaimedEnd) -> Result<LogStanding> {
        let claim = Claim { length: end.bytes, sha256: Digest(end.sha256) };
        Ok(match self.seal((*attempt).into(), claim).await? {
            Sealing::Ended(end) => LogStanding::Ended(end.into()),
            Sealing::Incomplete { expected } => LogStanding::Incomplete { expected },
        })
    }

    async fn give_up(&self, attempt: &AttemptRef, _at: u64, why: &str) -> Result<LogEnd> {
        Ok(self.end_with_loss((*attempt).into(), LossKind::Bytes, why.to_owned()).await?.into())
    }

    async fn lost(&self, attempt: &AttemptRef) -> Result<()> {
        let why = "the attempt was taken from its executor".to_owned();
        self.end_with_loss((*attempt).into(), LossKind::Attempt, why).await?;
        Ok(())
    }

    async fn offsets(&self, attempts: &[AttemptRef]) -> Vec<LogOffsets> {
        let known = attempts.iter().filter_map(|attempt| {
            let progress = self.progress_at_hand((*attempt).into())?;
            let logs::Progress { received, durable, .. } = progress;
            Some(LogOffsets { attempt: *attempt, received, durable })
        });
        known.collect()
    }
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

impl From<LogId> for AttemptRef {
    fn from(LogId { task, attempt, epoch }: LogId) -> Self {
        Self { task, attempt, epoch }
    }
}

//! What the winner of a task kept, recorded with the task's end and never before.

use std::collections::BTreeSet;

use ocelot_domain::task::state::{Session, Timestamp};
use ocelot_domain::task::{Holding, holding};

use super::{ARTIFACTS_MAX, AttemptRef, Error, Kept, Result, Service};
use crate::records::ArtifactRecord;
use crate::store::Txn;
use crate::store::codec::encode;
use crate::store::keys::Key;

/// An artifact as a completion names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedArtifact {
    /// As the task's plan names it.
    pub name: String,
    pub kept: Kept,
    pub files: u64,
}

impl Service {
    /// Returns the write that makes an attempt's artifacts visible, or the first that is not here.
    pub(in crate::service) async fn kept_by(
        &self,
        session: Session,
        attempt: AttemptRef,
        artifacts: &[ClaimedArtifact],
    ) -> Result<std::result::Result<Txn, String>> {
        if artifacts.is_empty() {
            return Ok(Ok(Txn::new()));
        }
        if artifacts.len() > ARTIFACTS_MAX {
            return Err(Error::invalid(format_args!("a task keeps at most {ARTIFACTS_MAX} artifacts")));
        }
        let task = self.read_task(attempt.task).await?.ok_or(Error::Fenced)?;
        match holding(&task, &attempt.claim(session)) {
            Holding::Running { .. } | Holding::Cancelling { .. } => {}
            // These never change again: the task's record knows the completion, or refuses it.
            Holding::Recorded | Holding::Kill => return Ok(Ok(Txn::new())),
            // These may be live by the next look: the end would be recorded without what was kept.
            Holding::Offered | Holding::Unattached => {
                return Err(Error::NotNow { why: "the attempt is being attached to a newer session" });
            }
        }
        let planned = self.planned(attempt).await?;
        let (plan, now) = (planned.task(), self.timestamp());
        let mut names = BTreeSet::new();
        let mut txn = Txn::new();
        for ClaimedArtifact { name, kept, files } in artifacts {
            let known = plan.environment.artifacts.iter().find(|known| known.name == *name);
            let Some(known) = known.filter(|_| names.insert(name)) else {
                let why = format!("the task's plan has no artifact {name:?}, or it is named twice");
                return Err(Error::Conflict { why });
            };
            if !self.objects()?.want(kept, self.wall()).await? {
                return Ok(Err(name.clone()));
            }
            let lasts = u64::try_from(known.expires.as_millis()).unwrap_or(u64::MAX);
            let record = ArtifactRecord {
                task: plan.name.clone(),
                kept: *kept,
                files: *files,
                attempt: attempt.attempt.number(),
                created_at: now,
                expires_at: now.unix_ms.checked_add(lasts).map(|unix_ms| Timestamp { unix_ms }),
            };
            txn = txn.put(Key::Artifact(attempt.task, name.clone()), encode(&record, None));
        }
        Ok(Ok(txn))
    }
}

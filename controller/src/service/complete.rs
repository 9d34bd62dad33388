//! Complete: the end of an attempt, with its whole log or a recorded loss.

use std::time::Duration;

use ocelot_domain::task::event::{Completion, Event, Report};
use ocelot_domain::task::state::{CompletionId, LogEnd, Session};
use ocelot_domain::task::{Holding, holding};
use ocelot_proto::kit::chaos;

use super::error::{Error, Result};
use super::memory;
use super::objects::ClaimedArtifact;
use super::parts::{ClaimedEnd, LogStanding};
use super::{AttemptRef, Service};
use crate::records::Told;

/// How long a log may stay incomplete before its loss is recorded.
const INCOMPLETE_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteRequest {
    pub attempt: AttemptRef,
    /// The same whenever this completion is repeated.
    pub completion: CompletionId,
    pub result: Report,
    pub log: ReportedLog,
    /// What was pushed, and is to be seen once this is recorded.
    pub artifacts: Vec<ClaimedArtifact>,
    /// The last word on what happened in the attempt.
    pub told: Option<Told>,
}

/// What the executor says about the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedLog {
    Whole(ClaimedEnd),
    /// Nobody has the bytes from here on any more.
    Lost {
        at: u64,
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompleteAnswer {
    Recorded,
    /// Send the log from here, then complete again.
    LogIncomplete {
        expected: u64,
    },
    /// Push it again, then complete again.
    ArtifactMissing {
        name: String,
    },
}

impl Service {
    /// Ends an attempt. Repeating it gives the same answer.
    pub async fn complete(&self, session: Session, request: CompleteRequest) -> Result<CompleteAnswer> {
        let CompleteRequest { attempt, completion, result, log, artifacts, told } = request;
        let log = match self.log_end(session, attempt, log).await? {
            Ok(end) => end,
            Err(expected) => return Ok(CompleteAnswer::LogIncomplete { expected }),
        };
        let kept = match self.kept_by(session, attempt, &artifacts).await? {
            Ok(kept) => kept,
            Err(name) => return Ok(CompleteAnswer::ArtifactMissing { name }),
        };
        let claim = if chaos::bug("complete.ignores_claim") {
            let task = self.need_task(attempt.task).await?;
            attempt.claim(task.live().map_or(session, |live| live.session))
        } else {
            attempt.claim(session)
        };
        chaos::point("complete.log_checked");
        let event = Event::Completed(Completion { claim, id: completion, result, log });
        chaos::point("complete.before_commit");
        self.transition_with(attempt.task, event, |facts, before, step| {
            let over = self.over(attempt, told.as_ref(), facts, step.next != *before)?;
            // Of an attempt after which the task is tried again nothing is seen.
            let wins = step.next != *before && step.next.outcome().is_some();
            Ok(if wins { over.and(kept.clone()) } else { over })
        })
        .await?;
        chaos::point("complete.committed");
        self.memory().incomplete_logs.remove(&attempt);
        self.bell.notify_one();
        Ok(CompleteAnswer::Recorded)
    }

    /// Returns how the attempt's log ends, or the offset from which bytes are missing.
    ///
    /// An attempt that is not the caller's has no say about a log. Its record knows the completion
    /// already or refuses it, whatever the log's end.
    pub(crate) async fn log_end(
        &self,
        session: Session,
        attempt: AttemptRef,
        log: ReportedLog,
    ) -> Result<std::result::Result<LogEnd, u64>> {
        // A run that has left the live store had ended, so this is nobody's attempt any more.
        let task = self.read_task(attempt.task).await?.ok_or(Error::Fenced)?;
        match holding(&task, &attempt.claim(session)) {
            Holding::Running { .. } | Holding::Cancelling { .. } => {}
            // These never change again, and what they are answered does not depend on the end.
            Holding::Recorded | Holding::Kill => {
                return Ok(Ok(LogEnd::Truncated { at: 0, why: "the attempt is not live".into() }));
            }
            // These may be live by the next look: an end that was made up here would be recorded then.
            Holding::Offered => {
                return Err(Error::Conflict { why: "the attempt is not acknowledged".into() });
            }
            Holding::Unattached => {
                return Err(Error::NotNow { why: "the attempt is being attached to a newer session" });
            }
        }
        if let (ReportedLog::Whole(end), true) = (&log, chaos::bug("complete.ignores_log")) {
            return Ok(Ok(LogEnd::Whole { bytes: end.bytes, sha256: end.sha256 }));
        }
        let logs = &self.parts.logs;
        let end = match log {
            ReportedLog::Lost { at, why } => logs.give_up(&attempt, at, &why).await?,
            ReportedLog::Whole(end) => match logs.check(&attempt, &end).await? {
                LogStanding::Ended(end) => end,
                LogStanding::Incomplete { expected } if self.may_go_on(attempt) => return Ok(Err(expected)),
                LogStanding::Incomplete { expected } => {
                    logs.give_up(&attempt, expected, "the rest of the log did not come in time").await?
                }
            },
        };
        Ok(Ok(end))
    }

    /// Returns whether the log may still become whole.
    fn may_go_on(&self, attempt: AttemptRef) -> bool {
        let now = self.now();
        let mut memory = self.memory();
        match memory.incomplete_logs.get(&attempt) {
            Some(since) => now.saturating_sub(*since) < INCOMPLETE_MAX,
            None => {
                memory::put(&mut memory.incomplete_logs, attempt, now);
                true
            }
        }
    }
}

//! Everything that can happen to a task.
//!
//! What an executor says carries a [`Claim`]; whether the claim counts is judged against the
//! record, first of all. What a controller measured enters as a duration, or as a proof.

use std::time::Duration;

use ocelot_core::id::{Attempt, Epoch};

use crate::outcome::{Actor, Failure, Outcome, Timeout};

use super::state::{CompletionId, JournalSequence, LogEnd, Session};
use super::timing::Served;

/// What a report says it speaks for. The session comes from the caller's credential, never from
/// the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    pub epoch: Epoch,
    pub attempt: Attempt,
    pub session: Session,
}

/// Where a list of an executor's attempts stands in the order of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldList {
    /// The number of the poll that carried it; grows within a session.
    pub poll: u64,
    /// The journal's sequence number when it was made.
    pub sequence: JournalSequence,
}

/// An executor's report that an attempt is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    pub claim: Claim,
    pub id: CompletionId,
    pub result: Report,
    /// Known before the report counts: either the log is whole or its loss is recorded.
    pub log: LogEnd,
}

/// What an executor can say about the end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    Succeeded,
    Failed {
        stage: Option<String>,
        failure: Failure,
    },
    TimedOut(Overrun),
    /// The executor could not run it, or cannot say whether it ran.
    Lost {
        why: String,
    },
}

/// A limit that an executor watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overrun {
    Run,
    Stage { stage: String },
    Quiet,
}

impl From<Report> for Outcome {
    fn from(report: Report) -> Self {
        match report {
            Report::Succeeded => Self::Succeeded,
            Report::Failed { stage, failure } => Self::Failed { stage, failure },
            Report::TimedOut(Overrun::Run) => Self::TimedOut(Timeout::Run),
            Report::TimedOut(Overrun::Stage { stage }) => Self::TimedOut(Timeout::Stage { stage }),
            Report::TimedOut(Overrun::Quiet) => Self::TimedOut(Timeout::Quiet),
            Report::Lost { why } => Self::Lost { why },
        }
    }
}

/// Everything that can happen to a task. A `waited` is how long the sender has seen the record as
/// it is, on its monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its needs are over as its gate wants them.
    GateOpened,
    /// Its needs are over and it must not run.
    GateClosed {
        why: String,
    },
    ApprovalGranted {
        by: Actor,
    },
    ApprovalDenied {
        by: Actor,
    },
    ApprovalExpired {
        waited: Duration,
    },
    /// A controller gives it to a session.
    Offer {
        session: Session,
        waited: Duration,
    },
    Acknowledged {
        claim: Claim,
        sequence: JournalSequence,
    },
    /// The executor has no place for it now.
    Declined {
        claim: Claim,
        waited: Duration,
    },
    /// The session polled again without answering the offer, or did not poll in time.
    Undelivered {
        claim: Claim,
        waited: Duration,
    },
    /// The session key is gone and the wait for its return is over.
    SessionGone(Served),
    /// Two lists of the session's attempts are without it. `served` is the wait since the first.
    Missing {
        claim: Claim,
        lists: [HeldList; 2],
        served: Option<Served>,
    },
    /// A newer session of the same executor holds the attempt.
    Reattached {
        claim: Claim,
    },
    Completed(Completion),
    CancelRequested {
        by: Actor,
    },
    /// A person ends it without the executor's consent.
    CancelForced {
        by: Actor,
    },
    QueueTimedOut {
        waited: Duration,
    },
    /// The store was restored from a backup.
    Restored {
        epoch: Epoch,
    },
}

impl Event {
    pub fn name(&self) -> &'static str {
        match self {
            Self::GateOpened => "GateOpened",
            Self::GateClosed { .. } => "GateClosed",
            Self::ApprovalGranted { .. } => "ApprovalGranted",
            Self::ApprovalDenied { .. } => "ApprovalDenied",
            Self::ApprovalExpired { .. } => "ApprovalExpired",
            Self::Offer { .. } => "Offer",
            Self::Acknowledged { .. } => "Acknowledged",
            Self::Declined { .. } => "Declined",
            Self::Undelivered { .. } => "Undelivered",
            Self::SessionGone(_) => "SessionGone",
            Self::Missing { .. } => "Missing",
            Self::Reattached { .. } => "Reattached",
            Self::Completed(_) => "Completed",
            Self::CancelRequested { .. } => "CancelRequested",
            Self::CancelForced { .. } => "CancelForced",
            Self::QueueTimedOut { .. } => "QueueTimedOut",
            Self::Restored { .. } => "Restored",
        }
    }
}

//! The record of one task.
//!
//! One record carries the task's whole state, so that one compare-and-swap moves it. It holds
//! durations and counts, never a deadline: each controller measures a duration on its own
//! monotonic clock from the moment it first sees the record. Timestamps are for people only.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use ocelot_core::id::{Attempt, Epoch, ExecutorId, Incarnation, SessionId, TaskId};
use ocelot_core::plan::{Class, Gate, TaskPlan, duration_ms};

use crate::outcome::{Actor, Outcome};

use super::event::{Claim, Completion};
use super::retry;

/// How many executors that declined a task its record remembers.
pub const AVOIDED_MAX: usize = 16;

/// A moment that people are shown; never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp {
    pub unix_ms: u64,
}

/// The number of an entry in an executor's journal; a later entry has a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JournalSequence(pub u64);

/// The number that an executor gives to the end of an attempt, the same each time it repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CompletionId(pub u128);

/// One task as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    pub id: TaskId,
    /// The store's epoch that the record belongs to; with the attempt it is the fence.
    pub epoch: Epoch,
    pub policy: Policy,
    pub state: TaskState,
    /// The newest offer's number; grows with every new offer and never falls.
    pub attempt: Option<Attempt>,
    /// How often an executor acknowledged; what the retry policy counts.
    pub tries: u32,
    /// How long it has waited for an executor since it was queued for this try.
    #[serde(rename = "waited_ms", with = "duration_ms")]
    pub waited: Duration,
    /// Deliveries that failed with nothing but failures between them.
    pub failing: Option<Failing>,
    /// Executors that declined it, the latest last; each is avoided for a while.
    pub avoided: Vec<ExecutorId>,
    /// The acknowledged attempts that are over, in order; at most as many as `tries`.
    pub ended: Vec<Ended>,
    pub changed_at: Timestamp,
}

/// What the plan says about the task's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub class: Class,
    pub retry: retry::Policy,
    #[serde(rename = "queue_timeout_ms", with = "duration_ms")]
    pub queue_timeout: Duration,
    /// How long a person's consent may take, for a task that needs it.
    #[serde(rename = "approval_expires_ms", with = "duration_ms::option")]
    pub approval_expires: Option<Duration>,
    pub group: Option<Group>,
}

/// A concurrency group: at most `limit` tasks of it live at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// As the plan names it: `/name` is shared by all projects, any other belongs to the run's.
    pub name: String,
    pub limit: u32,
}

/// Where the task stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskState {
    /// Not wanted yet.
    Waiting { needs: Needs, approval: Approval },
    /// Wanted; no executor has it. Offered no sooner than `after` from when a controller saw it.
    Queued {
        #[serde(rename = "after_ms", with = "duration_ms")]
        after: Duration,
    },
    /// One session was given it and has not answered.
    Offered { live: Live },
    /// One session acknowledged it.
    Running {
        live: Live,
        /// The journal's sequence number at the acknowledgement; an older list says nothing.
        acknowledged: JournalSequence,
    },
    /// It was running when it was cancelled; every way out is `Cancelled`.
    Cancelling { live: Live, acknowledged: JournalSequence, by: Actor },
    /// Over, for ever.
    Finished { outcome: Outcome },
}

/// Whether the tasks before it are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needs {
    Unmet,
    Met,
}

/// Whether a person has agreed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Approval {
    NotNeeded,
    Pending,
    Granted { by: Actor },
}

/// One session of one executor: one incarnation of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub id: SessionId,
    pub executor: ExecutorId,
    pub incarnation: Incarnation,
}

/// The one attempt that counts, and the one session that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    pub attempt: Attempt,
    pub session: Session,
}

/// Failed deliveries in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failing {
    pub deliveries: u32,
    /// What [`Task::waited`] was at the first of them.
    #[serde(rename = "since_waited_ms", with = "duration_ms")]
    pub since_waited: Duration,
}

/// One acknowledged attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    pub attempt: Attempt,
    pub executor: ExecutorId,
    pub outcome: Outcome,
    /// None: nobody reported the end; the attempt was taken away.
    pub completion: Option<Completed>,
    pub at: Timestamp,
}

/// What a report of an attempt's end left behind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completed {
    pub id: CompletionId,
    pub log: LogEnd,
}

/// How an attempt's log ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LogEnd {
    /// Every byte is here and the digest agrees.
    Whole { bytes: u64, sha256: [u8; 32] },
    /// Bytes from `at` on are gone, and everyone is told.
    Truncated { at: u64, why: String },
}

impl Task {
    /// Makes the record of a task as its run puts it.
    pub fn new(id: TaskId, plan: &TaskPlan, epoch: Epoch, now: Timestamp) -> Self {
        let policy = Policy::from(plan);
        let needs = if plan.needs.is_empty() { Needs::Met } else { Needs::Unmet };
        let approval = match plan.approval {
            Some(_) => Approval::Pending,
            None => Approval::NotNeeded,
        };
        let state = match &plan.gate {
            Gate::Skip { why } => TaskState::Finished { outcome: Outcome::Skipped { why: why.clone() } },
            Gate::OnSuccess | Gate::OnFailure | Gate::Always => TaskState::waiting(needs, approval),
        };
        Self {
            id,
            epoch,
            policy,
            state,
            attempt: None,
            tries: 0,
            waited: Duration::ZERO,
            failing: None,
            avoided: Vec::new(),
            ended: Vec::new(),
            changed_at: now,
        }
    }

    /// Returns the attempt that counts, if one does.
    pub fn live(&self) -> Option<&Live> {
        match &self.state {
            TaskState::Offered { live }
            | TaskState::Running { live, .. }
            | TaskState::Cancelling { live, .. } => Some(live),
            TaskState::Waiting { .. } | TaskState::Queued { .. } | TaskState::Finished { .. } => None,
        }
    }

    /// Returns how long it has waited for an executor, `seen` being how long the record has stood as it
    /// is. A delay before a retry is not such a wait.
    pub fn waited_for_executor(&self, seen: Duration) -> Duration {
        let waiting = match &self.state {
            TaskState::Queued { after } => seen.saturating_sub(*after),
            TaskState::Waiting { .. }
            | TaskState::Offered { .. }
            | TaskState::Running { .. }
            | TaskState::Cancelling { .. }
            | TaskState::Finished { .. } => seen,
        };
        self.waited.saturating_add(waiting)
    }

    /// Returns how long the record may stand as it is until a wait is over, for an executor or for a
    /// person; none if nothing is waited for that could be over.
    pub fn waits_at_most(&self) -> Option<Duration> {
        match &self.state {
            TaskState::Queued { after } => {
                let left = self.policy.queue_timeout.saturating_sub(self.waited);
                Some(if left.is_zero() { left } else { left.saturating_add(*after) })
            }
            TaskState::Waiting { needs: Needs::Met, approval: Approval::Pending } => {
                self.policy.approval_expires
            }
            TaskState::Waiting { .. }
            | TaskState::Offered { .. }
            | TaskState::Running { .. }
            | TaskState::Cancelling { .. }
            | TaskState::Finished { .. } => None,
        }
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            TaskState::Finished { outcome } => Some(outcome),
            TaskState::Waiting { .. }
            | TaskState::Queued { .. }
            | TaskState::Offered { .. }
            | TaskState::Running { .. }
            | TaskState::Cancelling { .. } => None,
        }
    }

    /// Returns whether this very completion was accepted before.
    pub(super) fn has_completed(&self, completion: &Completion) -> bool {
        completion.claim.epoch == self.epoch
            && self.ended.iter().any(|ended| {
                ended.attempt == completion.claim.attempt
                    && ended.completion.as_ref().is_some_and(|known| known.id == completion.id)
            })
    }

    pub(super) fn claim(&self, live: &Live) -> Claim {
        Claim { epoch: self.epoch, attempt: live.attempt, session: live.session }
    }
}

impl From<&TaskPlan> for Policy {
    fn from(plan: &TaskPlan) -> Self {
        let group = plan.concurrency.as_ref();
        Self {
            class: plan.class,
            retry: retry::Policy::from(&plan.retry),
            queue_timeout: plan.limits.queue_timeout,
            approval_expires: plan.approval.as_ref().map(|approval| approval.expires),
            group: group.map(|group| Group { name: group.group.clone(), limit: group.limit }),
        }
    }
}

impl TaskState {
    /// Returns `Waiting`, or `Queued` when nothing is left to wait for.
    pub(super) fn waiting(needs: Needs, approval: Approval) -> Self {
        match (needs, approval) {
            (Needs::Met, Approval::NotNeeded | Approval::Granted { .. }) => {
                Self::Queued { after: Duration::ZERO }
            }
            (needs, approval) => Self::Waiting { needs, approval },
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "Waiting",
            Self::Queued { .. } => "Queued",
            Self::Offered { .. } => "Offered",
            Self::Running { .. } => "Running",
            Self::Cancelling { .. } => "Cancelling",
            Self::Finished { .. } => "Finished",
        }
    }
}

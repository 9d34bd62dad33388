//! The transitions of a task: one function per state.
//!
//! A repeated event changes nothing and is no error. A claim that is not the live one is
//! [`Rejected::Fenced`]. `Finished` absorbs. What a transition needs to be true of other keys is
//! named in [`Step::requires`], and compared by the transaction that writes the record: a decision
//! made on a read alone is never enough.

mod ends;
mod held;
mod unheld;

use ocelot_core::id::{Attempt, Epoch, ExecutorId, RunId, SessionId};

use self::held::{on_cancelling, on_offered, on_running};
use self::unheld::{on_finished, on_queued, on_restored, on_waiting};
use super::event::Event;
use super::state::{Group, Live, Task, TaskState, Timestamp};
use super::timing::{Revision, Served};

/// A transition as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The whole record after the event; equal to the record before it if nothing changed.
    pub next: Task,
    /// What the transaction must compare beside the record itself.
    pub requires: Vec<Require>,
    /// What the transaction must write beside the record.
    pub writes: Vec<Write>,
    /// What to do after the commit. May be lost: each is derived again from the records.
    pub effects: Vec<Effect>,
}

/// A condition on another key of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Require {
    /// The store's epoch is this one.
    StoreEpoch(Epoch),
    /// The run's record is still `Active`.
    RunActive(RunId),
    /// `sessions/ID` exists.
    SessionPresent(SessionId),
    /// `sessions/ID` does not exist.
    SessionAbsent(SessionId),
    /// `executors/ID/epoch` was last written at this revision.
    ExecutorEpochAt { executor: ExecutorId, revision: Revision },
    /// The group holds the task already or has room for it.
    GroupRoom(Group),
}

/// A change of another key in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Puts the task into its group, where it stays until it is finished: a retry must not be
    /// overtaken by a newer member. Putting it twice changes nothing.
    JoinGroup(Group),
    /// Takes the task out of its group.
    LeaveGroup(Group),
}

/// What a transition asks for once it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Look at the queue. Derived again: the dispatcher's tick finds every `Queued` record.
    WakeDispatcher,
    /// Answer this session's open poll. Derived again: every poll's answer is computed from the
    /// records, so the next poll says the same.
    WakePoll(SessionId),
    /// Tell the session to stop the attempt gently. Derived again: heartbeats and polls judge what
    /// the executor holds, and find the record `Cancelling`.
    Cancel { session: SessionId, attempt: Attempt },
    /// Tell the executor to kill the attempt. Derived again: it is in the executor's list and not
    /// live in the record.
    Kill { executor: ExecutorId, attempt: Attempt },
    /// End the attempt's log with a mark `lost` and accept no byte after it. Derived again: the
    /// attempt is in [`Task::ended`] without a completion, and its log is open.
    SealLog { attempt: Attempt },
    /// Look whether the run has something due: a gate, fail-fast, its own end. Derived again: the
    /// reconciler of runs compares every active run with its tasks.
    WakeRun(RunId),
    /// Count a delivery towards the executor's quarantine. Not derived again: the count lives in
    /// a controller's memory, and losing one only makes a quarantine later.
    DeliveryFailed(ExecutorId),
    /// Forget the failed deliveries of this executor. Not derived again, for the same reason.
    DeliverySucceeded(ExecutorId),
}

/// Why an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("this attempt is not the live one: kill it and drop what it has")]
    Fenced,
    #[error("a newer session of the executor must attach the attempt again first")]
    Unattached,
    #[error("the wait that this needs is not over")]
    Early,
    #[error("{event} is impossible in {state}")]
    Illegal { state: &'static str, event: &'static str },
}

type Stepped = Result<Step, Rejected>;

/// Returns what an event makes of a task.
pub fn step(task: &Task, event: Event, now: Timestamp) -> Stepped {
    if let Event::Restored { epoch } = event {
        return on_restored(task, epoch, now);
    }
    match &task.state {
        TaskState::Waiting { needs, approval } => on_waiting(task, (*needs, approval), event, now),
        TaskState::Queued { .. } => on_queued(task, event, now),
        TaskState::Offered { live } => on_offered(task, live, event, now),
        TaskState::Running { live, acknowledged } => on_running(task, live, *acknowledged, event, now),
        TaskState::Cancelling { live, acknowledged, by } => {
            on_cancelling(task, (live, *acknowledged, by), event, now)
        }
        TaskState::Finished { outcome } => on_finished(task, outcome, event),
    }
}

fn unchanged(task: &Task) -> Stepped {
    Ok(Step::same(task))
}

fn illegal(task: &Task, event: &Event) -> Rejected {
    Rejected::Illegal { state: task.state.name(), event: event.name() }
}

impl Step {
    fn same(task: &Task) -> Self {
        let requires = vec![Require::StoreEpoch(task.epoch)];
        Self { next: task.clone(), requires, writes: Vec::new(), effects: Vec::new() }
    }

    fn to(task: &Task, state: TaskState, now: Timestamp) -> Self {
        let mut step = Self::same(task);
        step.next.state = state;
        step.next.changed_at = now;
        step
    }

    fn requiring(mut self, require: Require) -> Self {
        self.requires.push(require);
        self
    }

    fn requiring_gone(self, live: &Live, served: &Served) -> Self {
        let executor = live.session.executor;
        self.requiring(Require::SessionAbsent(live.session.id))
            .requiring(Require::ExecutorEpochAt { executor, revision: served.executor_epoch() })
    }
}

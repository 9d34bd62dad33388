//! What an executor that says it holds an attempt is told.
//!
//! Heartbeats, poll lists, log bytes and secret fetches are all judged here. A [`Holding::Kill`]
//! destroys work, so it may only be answered from a linearizable read of the record made for that
//! very call, never from a controller's view.

use super::event::Claim;
use super::state::{Live, Task, TaskState};
use super::step::{Rejected, Require};

/// The standing of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// Offered to it; its acknowledgement is not here yet. Nothing may start on it.
    Offered,
    /// It runs the task. The answer vouches for it, and lets its log grow, only if one transaction
    /// at most [`super::timing::CONFIRMED`] old compared the record and these.
    Running { requires: Vec<Require> },
    /// It runs the task, which is to end; vouched for in the same way, so that it can end well.
    Cancelling { requires: Vec<Require> },
    /// The record still names an older session of the same executor: attach again first.
    Unattached,
    /// Its end is recorded, as it reported it. Nothing is left to kill, and the rest of its log may still
    /// be on its way to where it is safe.
    Recorded,
    /// It is not the holder: kill it and drop what it has.
    Kill,
}

/// Returns the standing of a claim against a record.
pub fn holding(task: &Task, claim: &Claim) -> Holding {
    let is_recorded = task.epoch == claim.epoch
        && task.ended.iter().any(|ended| {
            ended.attempt == claim.attempt
                && ended.executor == claim.session.executor
                && ended.completion.is_some()
        });
    if is_recorded {
        return Holding::Recorded;
    }
    let Some(live) = task.live() else { return Holding::Kill };
    match check(task, live, claim) {
        Ok(()) => {}
        Err(Rejected::Unattached) => return Holding::Unattached,
        Err(Rejected::Fenced | Rejected::Early | Rejected::Illegal { .. }) => return Holding::Kill,
    }
    let requires = vec![Require::StoreEpoch(task.epoch), Require::SessionPresent(live.session.id)];
    match &task.state {
        TaskState::Running { .. } => Holding::Running { requires },
        TaskState::Cancelling { .. } => Holding::Cancelling { requires },
        TaskState::Offered { .. } => Holding::Offered,
        TaskState::Waiting { .. } | TaskState::Queued { .. } | TaskState::Finished { .. } => Holding::Kill,
    }
}

/// Refuses a claim that is not the live one.
pub(super) fn check(task: &Task, live: &Live, claim: &Claim) -> Result<(), Rejected> {
    if claim.epoch != task.epoch || claim.attempt != live.attempt {
        return Err(Rejected::Fenced);
    }
    if claim.session == live.session {
        return Ok(());
    }
    let newer = claim.session.incarnation > live.session.incarnation;
    if claim.session.executor == live.session.executor && newer {
        return Err(Rejected::Unattached);
    }
    Err(Rejected::Fenced)
}

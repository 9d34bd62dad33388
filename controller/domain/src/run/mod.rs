//! A run as the sum of its tasks: what is due in it now, and how it ended.
//!
//! A task's own transition never writes the run's record. Whatever follows for the rest of the run
//! is derived here from the plan and the tasks' lives, by any controller, as often as it likes:
//! [`due()`] is level-triggered, and a duty that has been carried out is not due any more. It must not
//! remember anything between two calls, and it decides no approval.

mod due;
mod ended;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use ocelot_core::plan::Plan;

use crate::outcome::{Actor, Outcome};

pub use due::{Duty, due};
pub use ended::{RunOutcome, ended, is_tolerated};

/// Tasks that one transaction puts; with its compares and the run's record it stays under etcd's
/// limit of 128 operations.
pub const TASKS_PER_BATCH: u32 = 100;

/// The name under which the fail-fast rule cancels; no person or token can have it.
pub const FAIL_FAST: &str = "rule:fail-fast";

/// How the tasks of a new run reach the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expansion {
    /// With the run's own record, in the transaction that accepts the run; it is `Active` at once.
    Whole,
    /// Batch by batch after the run was accepted as `Expanding`.
    Batches,
}

impl Expansion {
    pub fn of(plan: &Plan) -> Self {
        if plan.tasks.len() <= TASKS_PER_BATCH as usize { Self::Whole } else { Self::Batches }
    }
}

/// Where a run stands, as its own record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStage {
    /// Its tasks are being put; nothing of it is offered.
    Expanding,
    Active,
    Finished(RunOutcome),
}

/// What a run needs to know of the life of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskLife {
    /// For its needs.
    Waiting,
    /// For a person; its needs are met.
    Approval,
    Queued,
    /// Offered or running.
    Live,
    Cancelling,
    Finished(Outcome),
}

/// A run with its tasks, projected from their records.
#[derive(Debug, Clone)]
pub struct RunView<'a> {
    pub plan: &'a Plan,
    pub stage: RunStage,
    /// Who asked for the run's cancel, if anybody did.
    pub cancel: Option<&'a Actor>,
    /// By index in the plan; none where the store holds no record.
    pub tasks: &'a [Option<TaskLife>],
}

impl<'a> RunView<'a> {
    fn life(&self, task: usize) -> Option<&'a TaskLife> {
        self.tasks.get(task).and_then(Option::as_ref)
    }

    fn outcome(&self, task: usize) -> Option<&'a Outcome> {
        match self.life(task)? {
            TaskLife::Finished(outcome) => Some(outcome),
            TaskLife::Waiting
            | TaskLife::Approval
            | TaskLife::Queued
            | TaskLife::Live
            | TaskLife::Cancelling => None,
        }
    }
}

/// How far a run is, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub tasks: usize,
    /// For needs or a person, or not put yet.
    pub waiting: usize,
    pub queued: usize,
    pub live: usize,
    pub done: usize,
}

impl Progress {
    pub fn of(run: &RunView<'_>) -> Self {
        let mut progress = Self { tasks: run.plan.tasks.len(), ..Self::default() };
        for task in 0..progress.tasks {
            match run.life(task) {
                None | Some(TaskLife::Waiting | TaskLife::Approval) => progress.waiting += 1,
                Some(TaskLife::Queued) => progress.queued += 1,
                Some(TaskLife::Live | TaskLife::Cancelling) => progress.live += 1,
                Some(TaskLife::Finished(_)) => progress.done += 1,
            }
        }
        progress
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.tasks == 1 { "task" } else { "tasks" };
        write!(f, "{} of {} {noun} done", self.done, self.tasks)?;
        let parts = [(self.live, "running"), (self.queued, "queued"), (self.waiting, "waiting")];
        for (count, word) in parts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {word}")?;
        }
        Ok(())
    }
}

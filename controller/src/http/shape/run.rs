//! Runs, tasks and attempts.

use ocelot_core::id::{Attempt as Number, ExecutorId};
use ocelot_core::plan::{Plan, TaskPlan};
use ocelot_domain::outcome::{Failure, Outcome as End, Timeout};
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::Task as Record;
use ocelot_domain::task::state::{Needs, TaskState};
use ocelot_proto::kit::words;
use serde::Serialize;
use utoipa::ToSchema;

use super::attempt::{Attempt, Stage, attempts, stages};
use super::{stamped, text};
use crate::records::{ProgressRecord, RunRecord, SourceRecord, Stage as RunStage, Subject, Trust};
use crate::service::{AttemptRef, RunWithTasks, group_of};
use crate::shown;

/// What is known of a task beside its record.
pub(in crate::http) trait Beside {
    fn executor(&self, id: ExecutorId) -> Option<String>;
    /// Returns how far an attempt's log is here, if it is here.
    fn log_bytes(&self, attempt: &AttemptRef) -> u64;
    fn progress(&self, attempt: &AttemptRef) -> Option<ProgressRecord>;
}

/// Where a run or a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum State {
    Expanding,
    Waiting,
    Queued,
    Offered,
    Running,
    Cancelling,
    Finished,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum Result {
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
    Skipped,
    Rejected,
    Lost,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct Run {
    pub(in crate::http) id: String,
    /// `name#number`.
    name: String,
    job: Option<String>,
    project: Option<String>,
    number: u64,
    state: State,
    pub(in crate::http) outcome: Option<Outcome>,
    /// `command_line` `rest` `webhook` `poller` `schedule` `retry` `upstream`.
    trigger: &'static str,
    by: Option<String>,
    /// The schedule that it is a run of.
    schedule: Option<String>,
    group: Option<String>,
    accepted: Option<String>,
    started: Option<String>,
    finished: Option<String>,
    tasks_finished: u32,
    tasks_total: u32,
    /// What of a repository it works on.
    commit: Option<Commit>,
    /// Why it was rejected before it had tasks.
    rejected: Option<String>,
    /// Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Vec<Task>>,
}

/// The commit that a run works on, and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct Commit {
    id: String,
    branch: Option<String>,
    tag: Option<String>,
    pull_request: Option<u64>,
    /// The branch that a pull request wants to change.
    target_branch: Option<String>,
    /// First line of its message.
    subject: String,
    author: Option<String>,
    /// It comes from a fork: it is given no secrets.
    fork: bool,
}

impl From<&SourceRecord> for Commit {
    fn from(source: &SourceRecord) -> Self {
        let event = &source.event;
        Self {
            id: source.commit.clone(),
            branch: event.built_branch().map(str::to_owned),
            tag: event.tag().map(str::to_owned),
            pull_request: event.pull_request(),
            target_branch: event.source().and_then(|_| event.branch()).map(str::to_owned),
            subject: source.title().to_owned(),
            author: text(&source.author),
            fork: source.trust == Trust::Fork,
        }
    }
}

/// One page of runs, the newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct RunPage {
    pub(in crate::http) runs: Vec<Run>,
    /// There is another page.
    pub(in crate::http) more: bool,
    /// The `page_token` of the next page.
    pub(in crate::http) next_page_token: Option<String>,
}

/// How something ended; only the fields that fit it are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct Outcome {
    result: Result,
    /// In one sentence.
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    /// `exit` `signal` `out_of_memory` `image` `disk` `policy` `queue` `run` `stage` `quiet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
}

/// One task of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct Task {
    index: u32,
    name: String,
    state: State,
    outcome: Option<Outcome>,
    tries: u32,
    note: Option<String>,
    /// Names of tasks that must end before it begins.
    waits_for: Vec<String>,
    queued: Option<String>,
    log_bytes: u64,
    stages: Vec<Stage>,
    attempts: Vec<Attempt>,
}

impl Run {
    /// Returns a run as lists show it. Without its tasks, what they alone know is left out.
    pub(in crate::http) fn of(run: &RunRecord, tasks: Option<&[Record]>) -> Self {
        let tasks = tasks.unwrap_or_default();
        let (job, project) = match &run.subject {
            Subject::Job { name, .. } => (Some(name.clone()), None),
            Subject::Project { name } => (None, Some(name.clone())),
        };
        let finished = tasks.iter().filter(|task| task.outcome().is_some()).count();
        let started = tasks.iter().filter_map(shown::started_at).min_by_key(|at| at.unix_ms);
        let (outcome, ended) = match run.stage {
            RunStage::Finished { outcome, at } => (Some(run_outcome(run, outcome, tasks)), stamped(at)),
            RunStage::Expanding | RunStage::Active => (None, None),
        };
        Self {
            id: run.id.to_string(),
            name: format!("{}#{}", run.subject.name(), run.number),
            job,
            project,
            number: run.number,
            state: match run.stage {
                RunStage::Expanding => State::Expanding,
                RunStage::Active if run.cancel.is_some() => State::Cancelling,
                RunStage::Active if started.is_none() => State::Queued,
                RunStage::Active => State::Running,
                RunStage::Finished { .. } => State::Finished,
            },
            outcome,
            trigger: run.trigger.kind.name(),
            by: text(&run.trigger.by.0),
            schedule: run.trigger.schedule.clone(),
            group: group_of(run),
            accepted: stamped(run.accepted_at),
            started: started.and_then(stamped),
            finished: ended,
            tasks_finished: u32::try_from(finished).unwrap_or(u32::MAX),
            tasks_total: u32::try_from(run.plan.tasks()).unwrap_or(u32::MAX),
            commit: run.source.as_ref().map(Commit::from),
            rejected: run.rejected.clone(),
            tasks: None,
        }
    }

    pub(in crate::http) fn whole(found: &RunWithTasks, plan: &Plan, beside: &dyn Beside) -> Self {
        Self { tasks: Some(Task::all(found, plan, beside)), ..Self::of(&found.run, Some(&found.tasks)) }
    }
}

/// Returns the run's word, with the evidence of the first task that ended with the same one.
fn run_outcome(run: &RunRecord, word: RunOutcome, tasks: &[Record]) -> Outcome {
    let wanted = match word {
        RunOutcome::Rejected => Result::Rejected,
        RunOutcome::Cancelled => Result::Cancelled,
        RunOutcome::Lost => Result::Lost,
        RunOutcome::TimedOut => Result::TimedOut,
        RunOutcome::Failed => Result::Failed,
        RunOutcome::Succeeded => Result::Succeeded,
        RunOutcome::Skipped => Result::Skipped,
    };
    let ends = tasks.iter().filter_map(Record::outcome);
    if let Some(found) = ends.map(Outcome::from).find(|found| found.result == wanted) {
        return found;
    }
    let by = run.cancel.as_ref().filter(|_| word == RunOutcome::Cancelled).map(|cancel| cancel.by.0.clone());
    let says = match (&by, word) {
        (Some(by), _) => format!("cancelled by {by}"),
        (None, RunOutcome::TimedOut) => "timed out".to_owned(),
        (None, word) => words::because(&word.to_string(), run.rejected.as_deref().unwrap_or_default()),
    };
    Outcome { result: wanted, says, stage: None, exit: None, signal: None, cause: None, by }
}

impl From<&End> for Outcome {
    fn from(end: &End) -> Self {
        let outcome = |result| Self {
            result,
            says: words::outcome(&shown::outcome(end)),
            stage: None,
            exit: None,
            signal: None,
            cause: None,
            by: None,
        };
        match end {
            End::Succeeded => outcome(Result::Succeeded),
            End::Failed { stage, failure } => {
                let (exit, signal, cause) = match failure {
                    Failure::Exit(code) => (Some(*code), None, "exit"),
                    Failure::Signal(signal) => (None, Some(*signal), "signal"),
                    Failure::OutOfMemory { .. } => (None, None, "out_of_memory"),
                    Failure::Image { .. } => (None, None, "image"),
                    Failure::Disk { .. } => (None, None, "disk"),
                    Failure::Policy { .. } => (None, None, "policy"),
                    Failure::Setup { .. } => (None, None, "setup"),
                };
                let stage = stage.clone();
                Self { stage, exit, signal, cause: Some(cause), ..outcome(Result::Failed) }
            }
            End::TimedOut(timeout) => {
                let (cause, stage) = match timeout {
                    Timeout::Queue => ("queue", None),
                    Timeout::Run => ("run", None),
                    Timeout::Stage { stage } => ("stage", Some(stage.clone())),
                    Timeout::Quiet => ("quiet", None),
                };
                Self { stage, cause: Some(cause), ..outcome(Result::TimedOut) }
            }
            End::Cancelled { by, .. } => Self { by: text(&by.0), ..outcome(Result::Cancelled) },
            End::Skipped { .. } => outcome(Result::Skipped),
            End::Rejected { .. } => outcome(Result::Rejected),
            End::Lost { .. } => outcome(Result::Lost),
        }
    }
}

impl Task {
    /// Returns every task of a run.
    pub(in crate::http) fn all(found: &RunWithTasks, plan: &Plan, beside: &dyn Beside) -> Vec<Self> {
        let one = |task: &Record| {
            let planned = plan.tasks.get(task.id.index as usize)?;
            Some(Self::of(found, task, (planned, plan), beside))
        };
        found.tasks.iter().filter_map(one).collect()
    }

    fn of(
        found: &RunWithTasks,
        task: &Record,
        (planned, plan): (&TaskPlan, &Plan),
        beside: &dyn Beside,
    ) -> Self {
        let attempts = attempts(task, beside);
        let newest = attempts.last();
        let progress = newest.and_then(|newest| {
            let attempt = Number::new(newest.number)?;
            beside.progress(&AttemptRef { task: task.id, attempt, epoch: task.epoch })
        });
        Self {
            index: task.id.index,
            name: planned.name.clone(),
            state: match &task.state {
                TaskState::Waiting { .. } => State::Waiting,
                TaskState::Queued { .. } => State::Queued,
                TaskState::Offered { .. } => State::Offered,
                TaskState::Running { .. } => State::Running,
                TaskState::Cancelling { .. } => State::Cancelling,
                TaskState::Finished { .. } => State::Finished,
            },
            outcome: task.outcome().map(Outcome::from),
            tries: task.tries,
            note: shown::note(found, task),
            waits_for: match &task.state {
                TaskState::Waiting { needs: Needs::Unmet, .. } => found.open_needs(planned, plan),
                TaskState::Waiting { needs: Needs::Met, .. }
                | TaskState::Queued { .. }
                | TaskState::Offered { .. }
                | TaskState::Running { .. }
                | TaskState::Cancelling { .. }
                | TaskState::Finished { .. } => Vec::new(),
            },
            // The record keeps no earlier moment; a task that needs nothing is queued with its run.
            queued: planned.needs.is_empty().then(|| stamped(found.run.accepted_at)).flatten(),
            log_bytes: newest.map_or(0, |newest| newest.log_bytes),
            stages: stages(planned, progress.as_ref()),
            attempts,
        }
    }
}

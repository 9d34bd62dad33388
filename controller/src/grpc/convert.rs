//! From records to messages.

use ocelot_core::id::{ExecutorId, RunId, TaskId};
use ocelot_core::plan::{Plan, TaskPlan, Work};
use ocelot_domain::outcome::Outcome;
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::state::{Approval, Ended, LogEnd, Needs, Task, TaskState, Timestamp};
use ocelot_proto::wire;
use tonic::Status;

use super::phases::{self, phases};
use crate::records::{ProgressRecord, RunRecord, SourceRecord, Stage, Subject, TriggerKind, Trust};
use crate::service::{AttemptRef, RunWithTasks, group_of};
use crate::shown;

use super::invalid;

/// The longest list of attempts that a task is shown with.
const ATTEMPTS_MAX: usize = 100;

/// What is known of a task beside its record.
pub(super) trait Beside {
    /// Returns an executor's name; an empty one if it is not known any more.
    fn executor(&self, id: ExecutorId) -> String;
    /// Returns how far an attempt's log is here, if it is here.
    fn log_bytes(&self, attempt: &AttemptRef) -> u64;
    /// Returns what an attempt's executor told of it.
    fn progress(&self, attempt: &AttemptRef) -> Option<ProgressRecord>;
}

pub(super) fn run_id(bytes: &[u8]) -> Result<RunId, Status> {
    bytes.try_into().map(RunId::from_bytes).map_err(|_| invalid("the id of a run is a UUID of 16 bytes"))
}

pub(super) fn micros(at: Timestamp) -> i64 {
    i64::try_from(at.unix_ms).unwrap_or(i64::MAX).saturating_mul(1000)
}

pub(super) fn unix_us(at: u64) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

pub(super) fn task_id(id: TaskId) -> wire::TaskId {
    wire::TaskId { run: id.run.as_bytes().to_vec().into(), index: id.index }
}

pub(super) fn attempt_id(attempt: &AttemptRef) -> wire::AttemptId {
    wire::AttemptId {
        task: Some(task_id(attempt.task)),
        number: attempt.attempt.number(),
        epoch: attempt.epoch.0,
    }
}

/// Returns a run as lists show it. Without its tasks, what they alone know is left out.
pub(super) fn summary(run: &RunRecord, tasks: Option<&[Task]>) -> wire::RunSummary {
    let of = match &run.subject {
        Subject::Job { name, .. } => wire::run_summary::Of::Job(name.clone()),
        Subject::Project { name } => wire::run_summary::Of::Project(name.clone()),
    };
    let tasks = tasks.unwrap_or_default();
    let finished = tasks.iter().filter(|task| task.outcome().is_some()).count();
    let started = tasks.iter().filter_map(shown::started_at).map(micros).min();
    let total = run.plan.tasks();
    wire::RunSummary {
        id: run.id.as_bytes().to_vec().into(),
        of: Some(of),
        number: run.number,
        state: Some(run_state(run, tasks)),
        trigger: Some(wire::Trigger {
            kind: trigger(run.trigger.kind).into(),
            by: run.trigger.by.0.clone(),
            schedule: run.trigger.schedule.clone().unwrap_or_default(),
        }),
        accepted_unix_us: micros(run.accepted_at),
        started_unix_us: started.unwrap_or_default(),
        finished_unix_us: match run.stage {
            Stage::Finished { at, .. } => micros(at),
            Stage::Expanding | Stage::Active => 0,
        },
        tasks_finished: u32::try_from(finished).unwrap_or(u32::MAX),
        tasks_total: u32::try_from(total).unwrap_or(u32::MAX),
        group: group_of(run).unwrap_or_default(),
        commit: run.source.as_ref().map(commit),
        rejected: run.rejected.clone().unwrap_or_default(),
    }
}

fn commit(source: &SourceRecord) -> wire::Commit {
    let event = &source.event;
    let target = event.source().and_then(|_| event.branch());
    wire::Commit {
        id: source.commit.clone(),
        branch: event.built_branch().unwrap_or_default().to_owned(),
        tag: event.tag().unwrap_or_default().to_owned(),
        pull_request: event.pull_request().unwrap_or_default(),
        target_branch: target.unwrap_or_default().to_owned(),
        subject: source.title().to_owned(),
        author: source.author.clone(),
        fork: source.trust == Trust::Fork,
    }
}

fn trigger(kind: TriggerKind) -> wire::trigger::Kind {
    match kind {
        TriggerKind::CommandLine => wire::trigger::Kind::CommandLine,
        TriggerKind::Rest => wire::trigger::Kind::Rest,
        TriggerKind::Webhook => wire::trigger::Kind::Webhook,
        TriggerKind::Poller => wire::trigger::Kind::Poller,
        TriggerKind::Schedule => wire::trigger::Kind::Schedule,
        TriggerKind::Retry => wire::trigger::Kind::Retry,
        TriggerKind::Upstream => wire::trigger::Kind::Upstream,
    }
}

fn run_state(run: &RunRecord, tasks: &[Task]) -> wire::RunState {
    use wire::run_state::{Active, Expanding, State};
    let state = match run.stage {
        Stage::Expanding => State::Expanding(Expanding {}),
        Stage::Active => State::Active(Active { cancelling: run.cancel.is_some() }),
        Stage::Finished { outcome: word, .. } => State::Finished(run_outcome(run, word, tasks)),
    };
    wire::RunState { state: Some(state) }
}

/// Returns the run's word, with the evidence of the first task that ended with the same one.
fn run_outcome(run: &RunRecord, word: RunOutcome, tasks: &[Task]) -> wire::Outcome {
    use wire::outcome::Outcome as Shown;
    use wire::outcome::{Cancelled, Failed, Lost, Rejected, Skipped, Succeeded, TimedOut};
    let is_it = |found: &&Outcome| {
        matches!(
            (word, found),
            (RunOutcome::Rejected, Outcome::Rejected { .. })
                | (RunOutcome::Cancelled, Outcome::Cancelled { .. })
                | (RunOutcome::Lost, Outcome::Lost { .. })
                | (RunOutcome::TimedOut, Outcome::TimedOut(_))
                | (RunOutcome::Failed, Outcome::Failed { .. })
                | (RunOutcome::Skipped, Outcome::Skipped { .. })
        )
    };
    if let Some(found) = tasks.iter().filter_map(Task::outcome).find(is_it) {
        return shown::outcome(found);
    }
    let shown = match word {
        RunOutcome::Rejected => Shown::Rejected(Rejected::default()),
        RunOutcome::Cancelled => Shown::Cancelled(Box::new(Cancelled {
            by: run.cancel.as_ref().map(|cancel| cancel.by.0.clone()).unwrap_or_default(),
            result: None,
        })),
        RunOutcome::Lost => Shown::Lost(Lost::default()),
        RunOutcome::TimedOut => Shown::TimedOut(TimedOut::default()),
        RunOutcome::Failed => Shown::Failed(Failed::default()),
        RunOutcome::Succeeded => Shown::Succeeded(Succeeded {}),
        RunOutcome::Skipped => Shown::Skipped(Skipped::default()),
    };
    wire::Outcome { outcome: Some(shown) }
}

/// Returns every task of a run.
pub(super) fn tasks(found: &RunWithTasks, plan: &Plan, beside: &dyn Beside) -> Vec<wire::Task> {
    let tasks = found.tasks.iter();
    let shown =
        tasks.filter_map(|one| Some(task(found, one, plan.tasks.get(one.id.index as usize)?, plan, beside)));
    shown.collect()
}

fn task(
    found: &RunWithTasks,
    task: &Task,
    planned: &TaskPlan,
    plan: &Plan,
    beside: &dyn Beside,
) -> wire::Task {
    let attempts = attempts(task, beside);
    let newest = attempts.last();
    let progress = newest.and_then(|newest| progress_of(task, newest.number, beside));
    wire::Task {
        id: Some(task_id(task.id)),
        name: planned.name.clone(),
        state: Some(state(found, task, planned, plan)),
        tries: task.tries,
        note: shown::note(found, task).unwrap_or_default(),
        stages: stages(planned, progress.as_ref()),
        log_bytes: newest.map_or(0, |newest| newest.log_bytes),
        // The record keeps no earlier moment; a task that needs nothing is queued with its run.
        queued_unix_us: if planned.needs.is_empty() { micros(found.run.accepted_at) } else { 0 },
        attempts,
    }
}

fn state(found: &RunWithTasks, task: &Task, planned: &TaskPlan, plan: &Plan) -> wire::TaskState {
    use wire::task_state::{Cancelling, Offered, Queued, Running, State, Waiting};
    let state = match &task.state {
        TaskState::Waiting { needs, approval } => State::Waiting(Waiting {
            needs: match needs {
                Needs::Met => Vec::new(),
                Needs::Unmet => found.open_needs(planned, plan),
            },
            approval: *approval == Approval::Pending,
        }),
        TaskState::Queued { after } => {
            State::Queued(Queued { delay_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX) })
        }
        TaskState::Offered { live } => State::Offered(Offered {
            attempt: live.attempt.number(),
            executor: live.session.executor.as_bytes().to_vec().into(),
        }),
        TaskState::Running { live, .. } => State::Running(Running {
            attempt: live.attempt.number(),
            executor: live.session.executor.as_bytes().to_vec().into(),
            started_unix_us: micros(task.changed_at),
        }),
        TaskState::Cancelling { live, by, .. } => State::Cancelling(Cancelling {
            attempt: live.attempt.number(),
            executor: live.session.executor.as_bytes().to_vec().into(),
            by: by.0.clone(),
        }),
        TaskState::Finished { outcome: ended } => State::Finished(shown::outcome(ended)),
    };
    wire::TaskState { state: Some(state) }
}

fn attempts(task: &Task, beside: &dyn Beside) -> Vec<wire::Attempt> {
    let skipped = task.ended.len().saturating_sub(ATTEMPTS_MAX - 1);
    let ended = task.ended.iter().skip(skipped).map(|ended| ended_attempt(task, ended, beside));
    let mut attempts: Vec<wire::Attempt> = ended.collect();
    if let Some(live) = task.live() {
        let attempt = AttemptRef { task: task.id, attempt: live.attempt, epoch: task.epoch };
        let acknowledged = !matches!(task.state, TaskState::Offered { .. });
        let progress = beside.progress(&attempt);
        let told = phases(progress.as_ref());
        attempts.push(wire::Attempt {
            number: live.attempt.number(),
            executor: live.session.executor.as_bytes().to_vec().into(),
            executor_name: beside.executor(live.session.executor),
            log_bytes: beside.log_bytes(&attempt),
            offered_unix_us: if acknowledged { told.offered_unix_us } else { micros(task.changed_at) },
            ..told
        });
    }
    attempts
}

fn ended_attempt(task: &Task, ended: &Ended, beside: &dyn Beside) -> wire::Attempt {
    let attempt = AttemptRef { task: task.id, attempt: ended.attempt, epoch: task.epoch };
    let progress = beside.progress(&attempt);
    let (log_bytes, loss) = match ended.completion.as_ref().map(|completed| &completed.log) {
        Some(LogEnd::Whole { bytes, .. }) => (*bytes, None),
        Some(LogEnd::Truncated { at, why }) => (*at, Some(wire::LogLoss { at: *at, reason: why.clone() })),
        None => (beside.log_bytes(&attempt), None),
    };
    wire::Attempt {
        number: ended.attempt.number(),
        executor: ended.executor.as_bytes().to_vec().into(),
        executor_name: beside.executor(ended.executor),
        ended_unix_us: micros(ended.at),
        outcome: Some(shown::outcome(&ended.outcome)),
        log_bytes,
        loss,
        preparing: String::new(),
        ..phases(progress.as_ref())
    }
}

fn progress_of(task: &Task, number: u32, beside: &dyn Beside) -> Option<ProgressRecord> {
    let attempt = ocelot_core::id::Attempt::new(number)?;
    beside.progress(&AttemptRef { task: task.id, attempt, epoch: task.epoch })
}

fn stages(planned: &TaskPlan, progress: Option<&ProgressRecord>) -> Vec<wire::Stage> {
    let stages: Vec<(String, String)> = match &planned.work {
        Work::Stages { stages, .. } => {
            stages.iter().map(|stage| (stage.name.clone(), stage.skip.clone().unwrap_or_default())).collect()
        }
        Work::Command(_) => vec![("command".to_owned(), String::new())],
    };
    let shown = (0..).zip(stages).map(|(index, (name, skipped))| {
        phases::stage(progress, index, wire::Stage { name, skipped, ..wire::Stage::default() })
    });
    shown.collect()
}

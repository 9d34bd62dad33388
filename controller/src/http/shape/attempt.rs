//! Attempts of a task, and the stages of the newest.

use ocelot_core::id::ExecutorId;
use ocelot_core::plan::{TaskPlan, Work};
use ocelot_domain::task::Task as Record;
use ocelot_domain::task::state::{Ended, LogEnd as EndOfLog, TaskState};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Beside, Loss, Outcome, precise, stamped, text};
use crate::records::{ProgressRecord, StageExit};
use crate::service::AttemptRef;

/// The longest list of attempts that a task is shown with.
const ATTEMPTS_MAX: usize = 100;

/// One stage of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct Stage {
    name: String,
    began: Option<String>,
    ended: Option<String>,
    exit: Option<i32>,
    signal: Option<i32>,
    timed_out: bool,
    out_of_memory: bool,
    /// Why it is not run.
    skipped: Option<String>,
    cpu_ms: Option<u64>,
    max_rss_bytes: Option<u64>,
}

/// One attempt, and when it came to each phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct Attempt {
    pub(super) number: u32,
    executor: String,
    executor_name: Option<String>,
    offered: Option<String>,
    acknowledged: Option<String>,
    up: Option<String>,
    first_byte: Option<String>,
    ended: Option<String>,
    outcome: Option<Outcome>,
    preparing: Option<String>,
    pub(super) log_bytes: u64,
    /// What of its log is missing.
    log_loss: Option<Loss>,
}

pub(super) fn stages(planned: &TaskPlan, progress: Option<&ProgressRecord>) -> Vec<Stage> {
    let names: Vec<(&str, Option<String>)> = match &planned.work {
        Work::Stages { stages, .. } => {
            stages.iter().map(|stage| (stage.name.as_str(), stage.skip.clone())).collect()
        }
        Work::Command(_) => vec![("command", None)],
    };
    let told = |index: u32| progress?.told.stages.iter().find(|stage| stage.index == index);
    let shown = (0..).zip(names).map(|(index, (name, skipped))| {
        let told = told(index);
        let exit = told.and_then(|told| told.exit);
        let used = told.and_then(|told| told.used);
        Stage {
            name: name.to_owned(),
            began: told.and_then(|told| precise(told.began_us)),
            ended: told.and_then(|told| precise(told.ended_us?)),
            exit: if let Some(StageExit::Code(code)) = exit { Some(code) } else { None },
            signal: if let Some(StageExit::Signal(signal)) = exit { Some(signal) } else { None },
            timed_out: matches!(exit, Some(StageExit::TimedOut)),
            out_of_memory: matches!(exit, Some(StageExit::OutOfMemory { .. })),
            skipped: skipped.filter(|why| !why.is_empty()),
            cpu_ms: used.map(|used| (used.user_cpu_us + used.system_cpu_us) / 1_000),
            max_rss_bytes: used.map(|used| used.max_rss_bytes),
        }
    });
    shown.collect()
}

pub(super) fn attempts(task: &Record, beside: &dyn Beside) -> Vec<Attempt> {
    let skipped = task.ended.len().saturating_sub(ATTEMPTS_MAX - 1);
    let ended = task.ended.iter().skip(skipped).map(|ended| ended_attempt(task, ended, beside));
    let mut attempts: Vec<Attempt> = ended.collect();
    if let Some(live) = task.live() {
        let attempt = AttemptRef { task: task.id, attempt: live.attempt, epoch: task.epoch };
        let known = Attempt::of(&attempt, live.session.executor, beside);
        let is_offer = matches!(task.state, TaskState::Offered { .. });
        let offered = if is_offer { stamped(task.changed_at) } else { known.offered.clone() };
        attempts.push(Attempt { offered, ..known });
    }
    attempts
}

fn ended_attempt(task: &Record, ended: &Ended, beside: &dyn Beside) -> Attempt {
    let attempt = AttemptRef { task: task.id, attempt: ended.attempt, epoch: task.epoch };
    let known = Attempt::of(&attempt, ended.executor, beside);
    let (log_bytes, log_loss) = match ended.completion.as_ref().map(|completed| &completed.log) {
        Some(EndOfLog::Whole { bytes, .. }) => (*bytes, None),
        Some(EndOfLog::Truncated { at, why }) => (*at, Some(Loss { at: *at, reason: why.clone() })),
        None => (known.log_bytes, None),
    };
    Attempt {
        ended: known.ended.or_else(|| stamped(ended.at)),
        outcome: Some(Outcome::from(&ended.outcome)),
        preparing: None,
        log_bytes,
        log_loss,
        ..known
    }
}

impl Attempt {
    fn of(attempt: &AttemptRef, executor: ExecutorId, beside: &dyn Beside) -> Self {
        let progress = beside.progress(attempt);
        let progress = progress.as_ref();
        let told = progress.map(|progress| &progress.told);
        Self {
            number: attempt.attempt.number(),
            executor: executor.to_string(),
            executor_name: beside.executor(executor),
            offered: progress.and_then(|progress| precise(progress.offered_us)),
            acknowledged: progress.and_then(|progress| precise(progress.acknowledged_us)),
            up: told.and_then(|told| precise(told.up_us?)),
            first_byte: told.and_then(|told| precise(told.first_byte_us?)),
            ended: progress.and_then(|progress| precise(progress.ended_us?)),
            outcome: None,
            preparing: told.and_then(|told| text(&told.preparing)),
            log_bytes: beside.log_bytes(attempt),
            log_loss: None,
        }
    }
}

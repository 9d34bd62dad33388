//! What is shown of a record alike, whoever asks and by whatever protocol.

use ocelot_domain::outcome::{Failure, Outcome, Timeout};
use ocelot_domain::task::state::{Ended, Task, TaskState, Timestamp};
use ocelot_proto::kit::words::because;
use ocelot_proto::wire;

use crate::service::RunWithTasks;

/// Returns an end as messages have it.
pub(crate) fn outcome(outcome: &Outcome) -> wire::Outcome {
    use wire::outcome::Outcome as Shown;
    use wire::outcome::{Cancelled, Failed, Lost, Rejected, Skipped, Succeeded, TimedOut};
    let shown = match outcome {
        Outcome::Succeeded => Shown::Succeeded(Succeeded {}),
        Outcome::Failed { stage, failure } => {
            let stage = stage.clone().unwrap_or_default();
            Shown::Failed(Failed { stage, failure: Some(failed(failure)) })
        }
        Outcome::TimedOut(timeout) => Shown::TimedOut(TimedOut { limit: Some(limit(timeout)) }),
        Outcome::Cancelled { by, result } => {
            let result = result.as_ref().map(|result| Box::new(self::outcome(result)));
            Shown::Cancelled(Box::new(Cancelled { by: by.0.clone(), result }))
        }
        Outcome::Skipped { why } => Shown::Skipped(Skipped { why: why.clone() }),
        Outcome::Rejected { why } => Shown::Rejected(Rejected { why: why.clone() }),
        Outcome::Lost { why } => Shown::Lost(Lost { why: why.clone() }),
    };
    wire::Outcome { outcome: Some(shown) }
}

fn failed(failure: &Failure) -> wire::outcome::failed::Failure {
    use wire::outcome::failed::Failure as Shown;
    match failure {
        Failure::Exit(code) => Shown::Exit(*code),
        Failure::Signal(signal) => Shown::Signal(*signal),
        Failure::OutOfMemory { limit_bytes } => {
            Shown::OutOfMemory(wire::OutOfMemory { limit_bytes: limit_bytes.unwrap_or_default() })
        }
        Failure::Image { why } => Shown::Image(why.clone()),
        Failure::Disk { why } => Shown::Disk(why.clone()),
        Failure::Policy { why } => Shown::Policy(why.clone()),
        Failure::Setup { why } => Shown::Setup(why.clone()),
    }
}

fn limit(timeout: &Timeout) -> wire::outcome::timed_out::Limit {
    use wire::outcome::timed_out::Limit;
    match timeout {
        Timeout::Queue => Limit::Queue(true),
        Timeout::Run => Limit::Run(true),
        Timeout::Stage { stage } => Limit::Stage(stage.clone()),
        Timeout::Quiet => Limit::Quiet(true),
    }
}

/// Returns the last word on a cancel or a loss.
pub(crate) fn note(found: &RunWithTasks, task: &Task) -> Option<String> {
    if let Some(cancel) = &found.run.cancel {
        let consent = if cancel.force { " without the executor's consent" } else { "" };
        let word = format!("cancelled by {}{consent}", cancel.by.0);
        return Some(because(&word, cancel.reason.as_deref().unwrap_or_default()));
    }
    let Some(Ended { outcome: Outcome::Lost { why }, .. }) = task.ended.last() else { return None };
    Some(format!("the last attempt was lost: {why}"))
}

/// Returns when a task started.
pub(crate) fn started_at(task: &Task) -> Option<Timestamp> {
    match (&task.state, task.ended.first()) {
        // The record does not keep when an earlier attempt began; its end is the nearest that is known.
        (_, Some(first)) => Some(first.at),
        (TaskState::Running { .. } | TaskState::Cancelling { .. }, None) => Some(task.changed_at),
        (
            TaskState::Waiting { .. }
            | TaskState::Queued { .. }
            | TaskState::Offered { .. }
            | TaskState::Finished { .. },
            None,
        ) => None,
    }
}

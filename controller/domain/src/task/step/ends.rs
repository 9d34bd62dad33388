//! How a try or a task ends, whoever ended it.

use std::time::Duration;

use crate::outcome::{Actor, Outcome};

use super::{Effect, Step, Stepped, Write};
use crate::task::retry::{self, Jitter};
use crate::task::state::{Completed, Ended, Live, Task, TaskState, Timestamp};

/// Ends a try: once more if the policy wants it, else for good.
pub(super) fn over(task: &Task, live: &Live, end_of: (Outcome, Option<Completed>), now: Timestamp) -> Step {
    let policy = &task.policy;
    let jitter = Jitter::of(task.id, task.tries);
    match retry::next_try(policy.class, &policy.retry, task.tries, &end_of.0, jitter) {
        Some(after) => note_end(requeue(task, after, now), task, live, end_of, now),
        None => end(task, live, end_of, now),
    }
}

/// Ends an acknowledged attempt and with it the task.
pub(super) fn end(task: &Task, live: &Live, end_of: (Outcome, Option<Completed>), now: Timestamp) -> Step {
    let step = finished(task, end_of.0.clone(), now);
    note_end(step, task, live, end_of, now)
}

pub(super) fn note_end(
    mut step: Step,
    task: &Task,
    live: &Live,
    (outcome, completion): (Outcome, Option<Completed>),
    now: Timestamp,
) -> Step {
    if completion.is_none() {
        step.effects.push(Effect::SealLog { attempt: live.attempt });
    }
    step.effects.extend([Effect::WakePoll(live.session.id), Effect::WakeRun(task.id.run)]);
    let (attempt, executor) = (live.attempt, live.session.executor);
    step.next.ended.push(Ended { attempt, executor, outcome, completion, at: now });
    step
}

pub(super) fn force(task: &Task, live: &Live, by: Actor, now: Timestamp) -> Step {
    let mut step = end(task, live, (Outcome::Cancelled { by, result: None }, None), now);
    step.effects.push(Effect::Kill { executor: live.session.executor, attempt: live.attempt });
    step
}

/// Cancels a task that nobody has acknowledged.
pub(super) fn cancel(task: &Task, by: Actor, now: Timestamp) -> Stepped {
    finish(task, Outcome::Cancelled { by, result: None }, now)
}

pub(super) fn finish(task: &Task, outcome: Outcome, now: Timestamp) -> Stepped {
    let mut step = finished(task, outcome, now);
    if let Some(live) = task.live() {
        step.effects.push(Effect::Kill { executor: live.session.executor, attempt: live.attempt });
        step.effects.push(Effect::WakePoll(live.session.id));
    }
    step.effects.push(Effect::WakeRun(task.id.run));
    Ok(step)
}

pub(super) fn finished(task: &Task, outcome: Outcome, now: Timestamp) -> Step {
    let mut step = Step::to(task, TaskState::Finished { outcome }, now);
    if let (Some(_), Some(group)) = (task.attempt, &task.policy.group) {
        step.writes.push(Write::LeaveGroup(group.clone()));
        step.effects.push(Effect::WakeDispatcher);
    }
    step
}

pub(super) fn requeue(task: &Task, after: Duration, now: Timestamp) -> Step {
    let mut step = Step::to(task, TaskState::Queued { after }, now);
    step.effects.push(Effect::WakeDispatcher);
    step
}

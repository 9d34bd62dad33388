//! Transitions of a task that nobody holds: before an offer, after the end, and after a restore.

use std::time::Duration;

use ocelot_core::id::{Attempt, Epoch};
use ocelot_core::plan::Class;

use crate::outcome::{Outcome, Timeout};

use super::ends::{cancel, end, finish, note_end, requeue};
use super::{Effect, Rejected, Require, Step, Stepped, Write, illegal, unchanged};
use crate::task::event::Event;
use crate::task::state::{Approval, Live, Needs, Session, Task, TaskState, Timestamp};

pub(super) fn on_waiting(
    task: &Task,
    (needs, approval): (Needs, &Approval),
    event: Event,
    now: Timestamp,
) -> Stepped {
    match event {
        Event::GateOpened => advance(task, Needs::Met, approval.clone(), now),
        Event::GateClosed { why } => finish(task, Outcome::Skipped { why }, now),
        Event::ApprovalGranted { by } => match approval {
            Approval::Pending => advance(task, needs, Approval::Granted { by }, now),
            Approval::Granted { .. } => unchanged(task),
            Approval::NotNeeded => Err(illegal(task, &Event::ApprovalGranted { by })),
        },
        Event::ApprovalDenied { by } => match approval {
            Approval::Pending => finish(task, Outcome::Cancelled { by, result: None }, now),
            Approval::Granted { .. } | Approval::NotNeeded => {
                Err(illegal(task, &Event::ApprovalDenied { by }))
            }
        },
        Event::ApprovalExpired { waited } => match (needs, approval, task.policy.approval_expires) {
            (Needs::Met, Approval::Pending, Some(expires)) if waited >= expires => {
                finish(task, Outcome::Skipped { why: "nobody approved it in time".into() }, now)
            }
            (Needs::Met | Needs::Unmet, Approval::Pending, _) => Err(Rejected::Early),
            (_, Approval::Granted { .. }, _) => unchanged(task),
            (_, Approval::NotNeeded, _) => Err(illegal(task, &event)),
        },
        Event::CancelRequested { by } | Event::CancelForced { by } => cancel(task, by, now),
        event @ (Event::Acknowledged { .. }
        | Event::Declined { .. }
        | Event::Undelivered { .. }
        | Event::SessionGone(_)
        | Event::Missing { .. }
        | Event::Reattached { .. }
        | Event::Completed(_)) => without_holder(task, &event),
        event @ (Event::Offer { .. } | Event::QueueTimedOut { .. } | Event::Restored { .. }) => {
            Err(illegal(task, &event))
        }
    }
}

pub(super) fn on_queued(task: &Task, event: Event, now: Timestamp) -> Stepped {
    match event {
        Event::Offer { session, waited } => offer(task, session, waited, now),
        Event::CancelRequested { by } | Event::CancelForced { by } => cancel(task, by, now),
        Event::QueueTimedOut { waited } => {
            if task.waited_for_executor(waited) < task.policy.queue_timeout {
                return Err(Rejected::Early);
            }
            finish(task, Outcome::TimedOut(Timeout::Queue), now)
        }
        Event::GateOpened | Event::ApprovalGranted { .. } | Event::ApprovalExpired { .. } => unchanged(task),
        event @ (Event::Acknowledged { .. }
        | Event::Declined { .. }
        | Event::Undelivered { .. }
        | Event::SessionGone(_)
        | Event::Missing { .. }
        | Event::Reattached { .. }
        | Event::Completed(_)) => without_holder(task, &event),
        event @ (Event::GateClosed { .. } | Event::ApprovalDenied { .. } | Event::Restored { .. }) => {
            Err(illegal(task, &event))
        }
    }
}

pub(super) fn on_finished(task: &Task, outcome: &Outcome, event: Event) -> Stepped {
    let cancelled = matches!(outcome, Outcome::Cancelled { .. });
    let skipped = matches!(outcome, Outcome::Skipped { .. });
    let queue = matches!(outcome, Outcome::TimedOut(Timeout::Queue));
    match event {
        Event::GateOpened | Event::ApprovalGranted { .. } => unchanged(task),
        Event::GateClosed { .. } | Event::ApprovalExpired { .. } if skipped => unchanged(task),
        Event::ApprovalDenied { .. } | Event::CancelRequested { .. } | Event::CancelForced { .. }
            if cancelled =>
        {
            unchanged(task)
        }
        Event::QueueTimedOut { .. } if queue => unchanged(task),
        event @ (Event::Acknowledged { .. }
        | Event::Declined { .. }
        | Event::Undelivered { .. }
        | Event::SessionGone(_)
        | Event::Missing { .. }
        | Event::Reattached { .. }
        | Event::Completed(_)) => without_holder(task, &event),
        event @ (Event::Offer { .. }
        | Event::GateClosed { .. }
        | Event::ApprovalExpired { .. }
        | Event::ApprovalDenied { .. }
        | Event::CancelRequested { .. }
        | Event::CancelForced { .. }
        | Event::QueueTimedOut { .. }
        | Event::Restored { .. }) => Err(illegal(task, &event)),
    }
}

/// Judges a record from before a restore. Nobody knows what ran since the backup was made, so
/// nothing that may not run twice is offered again.
pub(super) fn on_restored(task: &Task, epoch: Epoch, now: Timestamp) -> Stepped {
    if epoch <= task.epoch {
        return if epoch == task.epoch { unchanged(task) } else { Err(Rejected::Fenced) };
    }
    let lost = || Outcome::Lost { why: "the store was restored from a backup while it ran".into() };
    let mut step = match (&task.state, task.policy.class) {
        (TaskState::Waiting { .. } | TaskState::Queued { .. } | TaskState::Finished { .. }, _) => {
            Step::same(task)
        }
        (TaskState::Cancelling { live, by, .. }, _) => {
            end(task, live, (Outcome::Cancelled { by: by.clone(), result: None }, None), now)
        }
        (TaskState::Offered { .. }, Class::Normal) => requeue(task, Duration::ZERO, now),
        (TaskState::Offered { .. }, Class::Exclusive | Class::Once) => finish(task, lost(), now)?,
        (TaskState::Running { live, .. }, Class::Normal) => {
            note_end(requeue(task, Duration::ZERO, now), task, live, (lost(), None), now)
        }
        (TaskState::Running { live, .. }, Class::Exclusive | Class::Once) => {
            end(task, live, (lost(), None), now)
        }
    };
    step.next.epoch = epoch;
    step.requires = vec![Require::StoreEpoch(epoch)];
    Ok(step)
}

fn advance(task: &Task, needs: Needs, approval: Approval, now: Timestamp) -> Stepped {
    let state = TaskState::waiting(needs, approval);
    if state == task.state {
        return unchanged(task);
    }
    let wake = match state {
        TaskState::Queued { .. } => Effect::WakeDispatcher,
        TaskState::Waiting { .. }
        | TaskState::Offered { .. }
        | TaskState::Running { .. }
        | TaskState::Cancelling { .. }
        | TaskState::Finished { .. } => Effect::WakeRun(task.id.run),
    };
    let mut step = Step::to(task, state, now);
    step.effects.push(wake);
    Ok(step)
}

fn offer(task: &Task, session: Session, waited: Duration, now: Timestamp) -> Stepped {
    let attempt = match task.attempt {
        None => Attempt::FIRST,
        // Four billion offers of one task: the bounds on deliveries and tries end it long before.
        Some(last) => Attempt::new(last.number().saturating_add(1)).expect("a successor is never zero"),
    };
    let mut step = Step::to(task, TaskState::Offered { live: Live { attempt, session } }, now)
        .requiring(Require::RunActive(task.id.run))
        .requiring(Require::SessionPresent(session.id));
    step.next.attempt = Some(attempt);
    step.next.waited = task.waited_for_executor(waited);
    if let Some(group) = &task.policy.group {
        step.requires.push(Require::GroupRoom(group.clone()));
        step.writes.push(Write::JoinGroup(group.clone()));
    }
    step.effects.push(Effect::WakePoll(session.id));
    Ok(step)
}

/// Answers an event about an attempt when there is no live one.
fn without_holder(task: &Task, event: &Event) -> Stepped {
    let repeated = match event {
        Event::Completed(completion) => task.has_completed(completion),
        Event::Declined { claim, .. } => {
            claim.epoch == task.epoch
                && Some(claim.attempt) == task.attempt
                && task.avoided.last() == Some(&claim.session.executor)
        }
        Event::GateOpened
        | Event::GateClosed { .. }
        | Event::ApprovalGranted { .. }
        | Event::ApprovalDenied { .. }
        | Event::ApprovalExpired { .. }
        | Event::Offer { .. }
        | Event::Acknowledged { .. }
        | Event::Undelivered { .. }
        | Event::SessionGone(_)
        | Event::Missing { .. }
        | Event::Reattached { .. }
        | Event::CancelRequested { .. }
        | Event::CancelForced { .. }
        | Event::QueueTimedOut { .. }
        | Event::Restored { .. } => false,
    };
    if repeated { unchanged(task) } else { Err(Rejected::Fenced) }
}

//! Transitions of a task that a session holds: what it reports, and how it is taken away.

use std::time::Duration;

use ocelot_core::plan::Class;

use crate::outcome::{Actor, Outcome};

use super::ends::{cancel, end, finish, force, over, requeue};
use super::{Effect, Rejected, Require, Step, Stepped, illegal, unchanged};
use crate::task::event::{Claim, Completion, Event, HeldList};
use crate::task::holding::check;
use crate::task::state::{
    AVOIDED_MAX, Completed, Failing, JournalSequence, Live, Task, TaskState, Timestamp,
};
use crate::task::timing::{DELIVERIES_MAX, FAILING_MAX, Served};

pub(super) fn on_offered(task: &Task, live: &Live, event: Event, now: Timestamp) -> Stepped {
    match event {
        Event::Acknowledged { claim, sequence } => {
            check(task, live, &claim)?;
            Ok(acknowledge(task, live, sequence, now))
        }
        Event::Declined { claim, waited } => {
            check(task, live, &claim)?;
            Ok(decline(task, live, waited, now))
        }
        Event::Undelivered { claim, waited } => {
            check(task, live, &claim)?;
            undelivered(task, live, waited, now)
        }
        Event::SessionGone(served) => {
            covered(task, &served)?;
            let step = undelivered(task, live, served.elapsed(), now)?;
            Ok(step.requiring_gone(live, &served))
        }
        // The old session's offer is answered by nobody; the same attempt goes to the new one.
        Event::Reattached { claim } => reattach(task, live, &claim, now),
        Event::CancelRequested { by } | Event::CancelForced { by } => cancel(task, by, now),
        Event::Offer { session, .. } if session == live.session => unchanged(task),
        Event::GateOpened | Event::ApprovalGranted { .. } | Event::ApprovalExpired { .. } => unchanged(task),
        Event::QueueTimedOut { .. } => Err(Rejected::Early),
        Event::Completed(completion) => late_completion(task, live, completion),
        Event::Missing { ref claim, .. } => {
            check(task, live, claim)?;
            Err(illegal(task, &event))
        }
        event @ (Event::Offer { .. }
        | Event::GateClosed { .. }
        | Event::ApprovalDenied { .. }
        | Event::Restored { .. }) => Err(illegal(task, &event)),
    }
}

pub(super) fn on_running(
    task: &Task,
    live: &Live,
    acknowledged: JournalSequence,
    event: Event,
    now: Timestamp,
) -> Stepped {
    match event {
        Event::Completed(completion) => complete(task, live, completion, now),
        Event::SessionGone(served) => {
            covered(task, &served)?;
            let step = taken_away(task, live, "its executor is gone", now)?;
            Ok(step.requiring_gone(live, &served))
        }
        Event::Missing { claim, lists, served } => {
            missing(task, live, acknowledged, (claim, lists, served))?;
            let step = taken_away(task, live, "its executor does not have it any more", now)?;
            Ok(step.requiring(Require::SessionPresent(live.session.id)))
        }
        Event::Reattached { claim } => reattach(task, live, &claim, now),
        Event::CancelRequested { by } => {
            let mut step = Step::to(task, TaskState::Cancelling { live: *live, acknowledged, by }, now);
            step.effects = vec![
                Effect::Cancel { session: live.session.id, attempt: live.attempt },
                Effect::WakePoll(live.session.id),
            ];
            Ok(step)
        }
        Event::CancelForced { by } => Ok(force(task, live, by, now)),
        Event::Acknowledged { claim, .. } => repeated(task, live, &claim),
        Event::GateOpened | Event::ApprovalGranted { .. } | Event::ApprovalExpired { .. } => unchanged(task),
        Event::Declined { ref claim, .. } | Event::Undelivered { ref claim, .. } => {
            check(task, live, claim)?;
            Err(illegal(task, &event))
        }
        event @ (Event::Offer { .. }
        | Event::GateClosed { .. }
        | Event::ApprovalDenied { .. }
        | Event::QueueTimedOut { .. }
        | Event::Restored { .. }) => Err(illegal(task, &event)),
    }
}

pub(super) fn on_cancelling(
    task: &Task,
    (live, acknowledged, by): (&Live, JournalSequence, &Actor),
    event: Event,
    now: Timestamp,
) -> Stepped {
    let cancelled = |result| Outcome::Cancelled { by: by.clone(), result };
    match event {
        Event::Completed(completion) => {
            if task.has_completed(&completion) {
                return unchanged(task);
            }
            check(task, live, &completion.claim)?;
            let Completion { id, result, log, .. } = completion;
            let outcome = cancelled(Some(Box::new(result.into())));
            Ok(end(task, live, (outcome, Some(Completed { id, log })), now))
        }
        Event::SessionGone(served) => {
            covered(task, &served)?;
            Ok(end(task, live, (cancelled(None), None), now).requiring_gone(live, &served))
        }
        Event::Missing { claim, lists, served } => {
            missing(task, live, acknowledged, (claim, lists, served))?;
            let step = end(task, live, (cancelled(None), None), now);
            Ok(step.requiring(Require::SessionPresent(live.session.id)))
        }
        Event::Reattached { claim } => reattach(task, live, &claim, now),
        Event::CancelForced { by } => Ok(force(task, live, by, now)),
        Event::Acknowledged { claim, .. } => repeated(task, live, &claim),
        Event::CancelRequested { .. }
        | Event::GateOpened
        | Event::ApprovalGranted { .. }
        | Event::ApprovalExpired { .. } => unchanged(task),
        Event::Declined { ref claim, .. } | Event::Undelivered { ref claim, .. } => {
            check(task, live, claim)?;
            Err(illegal(task, &event))
        }
        event @ (Event::Offer { .. }
        | Event::GateClosed { .. }
        | Event::ApprovalDenied { .. }
        | Event::QueueTimedOut { .. }
        | Event::Restored { .. }) => Err(illegal(task, &event)),
    }
}

fn acknowledge(task: &Task, live: &Live, acknowledged: JournalSequence, now: Timestamp) -> Step {
    let mut step = Step::to(task, TaskState::Running { live: *live, acknowledged }, now)
        .requiring(Require::SessionPresent(live.session.id));
    step.next.tries = task.tries.saturating_add(1);
    step.next.waited = Duration::ZERO;
    step.next.failing = None;
    step.next.avoided.clear();
    step.effects = vec![Effect::DeliverySucceeded(live.session.executor), Effect::WakeRun(task.id.run)];
    step
}

fn decline(task: &Task, live: &Live, waited: Duration, now: Timestamp) -> Step {
    let mut step = requeue(task, Duration::ZERO, now);
    let executor = live.session.executor;
    let avoided = &mut step.next.avoided;
    avoided.retain(|known| *known != executor);
    if avoided.len() == AVOIDED_MAX {
        avoided.remove(0);
    }
    avoided.push(executor);
    step.next.waited = task.waited.saturating_add(waited);
    step.next.failing = None;
    step
}

/// Takes back an offer that did not arrive. It costs no try, and it is bounded.
fn undelivered(task: &Task, live: &Live, waited: Duration, now: Timestamp) -> Stepped {
    let total = task.waited.saturating_add(waited);
    let before = task.failing.unwrap_or(Failing { deliveries: 0, since_waited: task.waited });
    let failing = Failing { deliveries: before.deliveries + 1, ..before };
    let over = total.saturating_sub(failing.since_waited) >= FAILING_MAX;
    let mut step = if failing.deliveries >= DELIVERIES_MAX || over {
        let why = format!("undeliverable: {} deliveries in a row failed", failing.deliveries);
        finish(task, Outcome::Lost { why }, now)?
    } else {
        requeue(task, Duration::ZERO, now)
    };
    step.next.waited = total;
    step.next.failing = Some(failing);
    step.effects.push(Effect::DeliveryFailed(live.session.executor));
    Ok(step)
}

fn complete(task: &Task, live: &Live, completion: Completion, now: Timestamp) -> Stepped {
    if task.has_completed(&completion) {
        return unchanged(task);
    }
    check(task, live, &completion.claim)?;
    let Completion { id, result, log, .. } = completion;
    Ok(over(task, live, (result.into(), Some(Completed { id, log })), now))
}

/// Answers a completion in `Offered`: one of an earlier try is a repeat, one of this try is a lie,
/// because it was never acknowledged.
fn late_completion(task: &Task, live: &Live, completion: Completion) -> Stepped {
    if task.has_completed(&completion) {
        return unchanged(task);
    }
    check(task, live, &completion.claim)?;
    Err(illegal(task, &Event::Completed(completion)))
}

fn taken_away(task: &Task, live: &Live, why: &str, now: Timestamp) -> Stepped {
    let mut step = over(task, live, (Outcome::Lost { why: why.into() }, None), now);
    step.effects.push(Effect::Kill { executor: live.session.executor, attempt: live.attempt });
    Ok(step)
}

fn reattach(task: &Task, live: &Live, claim: &Claim, now: Timestamp) -> Stepped {
    match check(task, live, claim) {
        Ok(()) => return unchanged(task),
        Err(Rejected::Unattached) => {}
        Err(rejected @ (Rejected::Fenced | Rejected::Early | Rejected::Illegal { .. })) => {
            return Err(rejected);
        }
    }
    let live = Live { session: claim.session, ..*live };
    let state = match &task.state {
        TaskState::Offered { .. } => TaskState::Offered { live },
        TaskState::Running { acknowledged, .. } => TaskState::Running { live, acknowledged: *acknowledged },
        TaskState::Cancelling { acknowledged, by, .. } => {
            TaskState::Cancelling { live, acknowledged: *acknowledged, by: by.clone() }
        }
        TaskState::Waiting { .. } | TaskState::Queued { .. } | TaskState::Finished { .. } => {
            return Err(Rejected::Fenced);
        }
    };
    Ok(Step::to(task, state, now).requiring(Require::SessionPresent(claim.session.id)))
}

/// Refuses to take a task away because lists are without it, unless they are proof of that.
fn missing(
    task: &Task,
    live: &Live,
    acknowledged: JournalSequence,
    (claim, lists, served): (Claim, [HeldList; 2], Option<Served>),
) -> Result<(), Rejected> {
    check(task, live, &claim)?;
    let [first, second] = lists;
    if first.sequence.min(second.sequence) <= acknowledged || second.poll <= first.poll {
        return Err(Rejected::Early);
    }
    match task.policy.class {
        Class::Normal => Ok(()),
        Class::Exclusive | Class::Once => match served {
            Some(served) => covered(task, &served),
            None => Err(Rejected::Early),
        },
    }
}

fn covered(task: &Task, served: &Served) -> Result<(), Rejected> {
    if served.covers(task) {
        return Ok(());
    }
    match task.live() {
        // The wait began before the acknowledgement.
        Some(live) if task.claim(live) == served.claim() => Err(Rejected::Early),
        Some(_) | None => Err(Rejected::Fenced),
    }
}

fn repeated(task: &Task, live: &Live, claim: &Claim) -> Stepped {
    check(task, live, claim)?;
    unchanged(task)
}

//! A task in every state, and every event as it would arrive.

use std::time::Duration;

use ocelot_core::id::{Attempt, Epoch, ExecutorId, Incarnation, RunId, SessionId, TaskId};
use ocelot_core::plan::{Cause, Class};
use ocelot_domain::outcome::{Actor, Failure};
use ocelot_domain::task::event::{Completion, HeldList, Report};
use ocelot_domain::task::state::{
    Approval, CompletionId, JournalSequence, LogEnd, Needs, Policy, TaskState, Timestamp,
};
use ocelot_domain::task::timing::Revision;
use ocelot_domain::task::{Claim, Event, Session, Task, Timing, Wait, retry, step};

pub(crate) const NOW: Timestamp = Timestamp { unix_ms: 1_000 };

pub(crate) fn session(executor: u8, incarnation: u8) -> Session {
    Session {
        id: SessionId::from_bytes([executor * 16 + incarnation; 16]),
        executor: ExecutorId::from_bytes([executor; 16]),
        incarnation: Incarnation(u64::from(incarnation)),
    }
}

pub(crate) fn person() -> Actor {
    Actor("ada".into())
}

/// A task that waits for its needs and for a person.
pub(crate) fn waiting(class: Class) -> Task {
    Task {
        id: TaskId { run: RunId::from_bytes([9; 16]), index: 0 },
        epoch: Epoch(1),
        policy: Policy {
            class,
            retry: retry::Policy {
                limit: 1,
                on: vec![Cause::Exit, Cause::Lost],
                exit_codes: vec![75],
                delay: Duration::from_secs(10),
            },
            queue_timeout: Duration::from_secs(3_600),
            approval_expires: Some(Duration::from_secs(3_600)),
            group: None,
        },
        state: TaskState::Waiting { needs: Needs::Unmet, approval: Approval::Pending },
        attempt: None,
        tries: 0,
        waited: Duration::ZERO,
        failing: None,
        avoided: Vec::new(),
        ended: Vec::new(),
        changed_at: NOW,
    }
}

/// Makes the events happen one after the other; each must be accepted.
pub(crate) fn after(mut task: Task, events: impl IntoIterator<Item = Event>) -> Task {
    for event in events {
        let name = event.name();
        task = match step(&task, event, NOW) {
            Ok(step) => step.next,
            Err(rejected) => panic!("{name} in {}: {rejected}", task.state.name()),
        };
    }
    task
}

pub(crate) fn queued(class: Class) -> Task {
    after(waiting(class), [Event::GateOpened, Event::ApprovalGranted { by: person() }])
}

pub(crate) fn offered(class: Class) -> Task {
    after(queued(class), [Event::Offer { session: session(1, 1), waited: Duration::ZERO }])
}

pub(crate) fn running(class: Class) -> Task {
    let sequence = JournalSequence(5);
    after(offered(class), [Event::Acknowledged { claim: first(), sequence }])
}

pub(crate) fn first() -> Claim {
    Claim { epoch: Epoch(1), attempt: Attempt::FIRST, session: session(1, 1) }
}

pub(crate) fn completed(claim: Claim, id: u128, result: Report) -> Event {
    let log = LogEnd::Whole { bytes: 10, sha256: [0; 32] };
    Event::Completed(Completion { claim, id: CompletionId(id), result, log })
}

pub(crate) fn exit(code: i32) -> Report {
    Report::Failed { stage: Some("test".into()), failure: Failure::Exit(code) }
}

/// The holder is gone and every wait for it is over.
pub(crate) fn gone(task: &Task) -> Option<Event> {
    let wait = Wait::begin(task, Revision(3))?;
    Timing::for_fleet(1).served(wait, Duration::from_secs(75)).map(Event::SessionGone)
}

pub(crate) fn missing(task: &Task, claim: Claim) -> Event {
    let list = |poll| HeldList { poll, sequence: JournalSequence(6) };
    let wait = Wait::begin(task, Revision(3));
    let served = wait.and_then(|wait| Timing::for_fleet(1).served(wait, Duration::from_secs(75)));
    Event::Missing { claim, lists: [list(1), list(2)], served }
}

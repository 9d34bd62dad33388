//! Random sequences of events, right ones, stale ones, doubled ones and lies, put to one task.
//!
//! A sequence is made from its seed alone, so that a failure is replayed by its seed.

use std::fmt::Write as _;
use std::time::Duration;

use ocelot_core::id::{Attempt, Epoch, ExecutorId, Incarnation, RunId, SessionId, TaskId};
use ocelot_core::plan::{Cause, Class};
use ocelot_domain::outcome::{Actor, Failure, Outcome};
use ocelot_domain::task::event::{Completion, HeldList, Overrun, Report};
use ocelot_domain::task::retry::{self, RETRIES_MAX};
use ocelot_domain::task::state::{
    AVOIDED_MAX, Approval, CompletionId, JournalSequence, LogEnd, Needs, Policy, Timestamp,
};
use ocelot_domain::task::timing::{DELIVERIES_MAX, Revision};
use ocelot_domain::task::{Claim, Event, Session, Task, TaskState, Timing, Wait, step};

/// The most events of one sequence.
const EVENTS_MAX: u64 = 40;

const NOW: Timestamp = Timestamp { unix_ms: 0 };

/// A sequence that broke an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub seed: u64,
    pub why: String,
    /// The events, one per line, with the state that each led to.
    pub events: String,
}

/// What went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    pub events: u64,
    pub accepted: u64,
    pub finished: u64,
}

/// Runs `count` sequences; the one with number `n` has the seed `seed + n`.
pub fn run(count: u64, seed: u64) -> Result<Passed, Failed> {
    let mut passed = Passed::default();
    for number in 0..count {
        one(seed.wrapping_add(number), &mut passed)?;
    }
    Ok(passed)
}

/// Runs the sequence of one seed.
pub fn one(seed: u64, passed: &mut Passed) -> Result<(), Failed> {
    let mut random = Random(seed);
    let mut task = task(&mut random);
    let mut events = Vec::new();
    let mut last = None;
    for _ in 0..random.below(EVENTS_MAX) {
        let repeat = last.take().filter(|_| random.below(8) == 0);
        let Some(event) = repeat.or_else(|| event(&mut random, &task)) else { continue };
        passed.events += 1;
        last = Some(event.clone());
        events.push(event.clone());
        let Ok(step) = step(&task, event.clone(), NOW) else { continue };
        passed.accepted += 1;
        if let Err(why) = holds(&task, &event, &step.next) {
            return Err(failed(seed, why, &events));
        }
        task = step.next;
    }
    match ended(task) {
        Some(_) => passed.finished += 1,
        None => return Err(failed(seed, "it does not end".into(), &events)),
    }
    Ok(())
}

fn failed(seed: u64, why: String, events: &[Event]) -> Failed {
    let mut shown = String::new();
    for event in events {
        writeln!(shown, "{event:?}").expect("writing to a string cannot fail");
    }
    Failed { seed, why, events: shown }
}

/// Holds one accepted event against the invariants.
fn holds(task: &Task, event: &Event, next: &Task) -> Result<(), String> {
    let claimed = |claim: &Claim| {
        task.live().is_some_and(|live| {
            (live.attempt, live.session) == (claim.attempt, claim.session) && task.epoch == claim.epoch
        })
    };
    let checks = [
        ("I1: the live attempt is not the newest", {
            next.live().is_none_or(|live| Some(live.attempt) == next.attempt)
        }),
        ("I2: the attempt went back", next.attempt >= task.attempt),
        ("I2: an offer without a new attempt", {
            let offered = task.live().is_none() && next.live().is_some();
            !offered || next.attempt > task.attempt
        }),
        (
            "I3: a report that is not of the live attempt changed something",
            match event {
                Event::Acknowledged { claim, .. }
                | Event::Declined { claim, .. }
                | Event::Missing { claim, .. }
                | Event::Completed(Completion { claim, .. }) => claimed(claim) || next == task,
                _ => true,
            },
        ),
        ("I5: a once task is queued again after it ran", {
            task.policy.class != Class::Once
                || task.tries == 0
                || !matches!(next.state, TaskState::Queued { .. })
        }),
        ("I9: a finished task changed", task.outcome().is_none() || next.state == task.state),
        ("I10: a cancel is not the end", {
            !matches!(task.state, TaskState::Cancelling { .. })
                || matches!(
                    next.state,
                    TaskState::Cancelling { .. } | TaskState::Finished { outcome: Outcome::Cancelled { .. } }
                )
        }),
        ("I11: a try without an acknowledgement", {
            let acknowledged = matches!(event, Event::Acknowledged { .. })
                && matches!(task.state, TaskState::Offered { .. });
            next.tries == task.tries + u32::from(acknowledged)
        }),
        ("I11: more failed deliveries than allowed", {
            next.failing.is_none_or(|failing| {
                failing.deliveries < DELIVERIES_MAX
                    || (failing.deliveries == DELIVERIES_MAX && next.outcome().is_some())
            })
        }),
        ("I22: a record without bound", {
            next.tries <= RETRIES_MAX + 1
                && next.ended.len() <= next.tries as usize
                && next.avoided.len() <= AVOIDED_MAX
        }),
    ];
    match checks.into_iter().find(|(_, holds)| !holds) {
        Some((why, _)) => Err(why.into()),
        None => match step(next, event.clone(), NOW) {
            Ok(again) if again.next != *next => Err("a repeated event changed something".into()),
            Ok(_) | Err(_) => Ok(()),
        },
    }
}

/// Lets time pass with nobody there: what holds the task is lost, what waits is over.
fn ended(mut task: Task) -> Option<Outcome> {
    for _ in 0..4 {
        let event = match &task.state {
            TaskState::Waiting { .. } => Event::GateClosed { why: String::new() },
            TaskState::Queued { after } => {
                Event::QueueTimedOut { waited: task.policy.queue_timeout + *after }
            }
            TaskState::Offered { .. } | TaskState::Running { .. } | TaskState::Cancelling { .. } => {
                gone(&task)?
            }
            TaskState::Finished { outcome } => return Some(outcome.clone()),
        };
        task = step(&task, event, NOW).ok()?.next;
    }
    None
}

fn gone(task: &Task) -> Option<Event> {
    let wait = Wait::begin(task, Revision(1))?;
    Timing::for_fleet(1).served(wait, Duration::from_secs(75)).map(Event::SessionGone)
}

fn task(random: &mut Random) -> Task {
    let class = [Class::Normal, Class::Exclusive, Class::Once][random.index(3)];
    let causes = [Cause::Exit, Cause::Lost, Cause::Oom, Cause::Timeout];
    let on = causes.into_iter().filter(|_| random.below(2) == 0).collect();
    let approval = if random.below(8) == 0 { Approval::Pending } else { Approval::NotNeeded };
    let state = match &approval {
        Approval::NotNeeded => TaskState::Queued { after: Duration::ZERO },
        Approval::Pending | Approval::Granted { .. } => TaskState::Waiting { needs: Needs::Unmet, approval },
    };
    let limit = u32::try_from(random.below(6)).expect("below six");
    Task {
        id: TaskId { run: RunId::from_bytes([1; 16]), index: 0 },
        epoch: Epoch(1),
        policy: Policy {
            class,
            retry: retry::Policy { limit, on, exit_codes: Vec::new(), delay: Duration::from_secs(1) },
            queue_timeout: Duration::from_secs(60),
            approval_expires: Some(Duration::from_secs(60)),
            group: None,
        },
        state,
        attempt: None,
        tries: 0,
        waited: Duration::ZERO,
        failing: None,
        avoided: Vec::new(),
        ended: Vec::new(),
        changed_at: NOW,
    }
}

/// Mostly what would come next, else anything by anybody.
fn event(random: &mut Random, task: &Task) -> Option<Event> {
    let live = task.live().filter(|_| random.below(4) > 0);
    let claim = match live {
        Some(live) => Claim { epoch: task.epoch, attempt: live.attempt, session: live.session },
        None => {
            let number = u32::try_from(1 + random.below(6)).expect("small");
            let attempt = Attempt::new(number)?;
            Claim { epoch: Epoch(random.below(3)), attempt, session: session(random) }
        }
    };
    let waited = Duration::from_secs(random.below(90));
    let by = Actor(String::new());
    let sequence = JournalSequence(random.below(4));
    Some(match random.below(24) {
        0..=3 => Event::Offer { session: session(random), waited },
        4..=7 => Event::Acknowledged { claim, sequence },
        8 => Event::Declined { claim, waited },
        9 | 10 => Event::Undelivered { claim, waited },
        11 => gone(task)?,
        12 => {
            let list = |poll| HeldList { poll, sequence: JournalSequence(sequence.0 + poll) };
            Event::Missing { claim, lists: [list(0), list(1)], served: None }
        }
        13 | 14 => Event::Reattached { claim: Claim { session: session(random), ..claim } },
        15..=17 => completed(random, claim),
        18 if random.below(3) == 0 => Event::CancelRequested { by },
        19 if random.below(6) == 0 => Event::CancelForced { by },
        20 => Event::GateOpened,
        21 => Event::ApprovalGranted { by },
        22 => Event::QueueTimedOut { waited },
        23 if random.below(6) == 0 => Event::Restored { epoch: Epoch(random.below(4)) },
        _ => Event::ApprovalExpired { waited },
    })
}

fn completed(random: &mut Random, claim: Claim) -> Event {
    let result = match random.below(5) {
        0 => Report::Succeeded,
        1 => Report::Failed { stage: None, failure: Failure::Exit(1) },
        2 => Report::Failed { stage: None, failure: Failure::OutOfMemory { limit_bytes: None } },
        3 => Report::TimedOut(Overrun::Run),
        _ => Report::Lost { why: String::new() },
    };
    let log = LogEnd::Whole { bytes: 0, sha256: [0; 32] };
    let id = CompletionId(u128::from(claim.attempt.number()));
    Event::Completed(Completion { claim, id, result, log })
}

fn session(random: &mut Random) -> Session {
    let number = [1, 2, 3][random.index(3)];
    let incarnation = 1 + random.below(3);
    let mut bytes = [number; 16];
    bytes[15] = incarnation.to_le_bytes()[0];
    Session {
        id: SessionId::from_bytes(bytes),
        executor: ExecutorId::from_bytes([number; 16]),
        incarnation: Incarnation(incarnation),
    }
}

/// SplitMix64: a stream from a seed, the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("below a usize")
    }
}

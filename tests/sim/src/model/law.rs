//! Where the modelled world meets the product: every change of the record is asked of `step`, and
//! every answer is held against the invariants.

use std::time::Duration;

use ocelot_core::plan::Class;
use ocelot_domain::outcome::Failure;
use ocelot_domain::task::event::{Completion, HeldList, Report};
use ocelot_domain::task::state::{CompletionId, JournalSequence};
use ocelot_domain::task::timing::Revision;
use ocelot_domain::task::{
    Claim, Event, Holding, Rejected, Require, Served, Step, Timing, Wait as TaskWait, holding, step,
};

use super::guard::Guard;
use super::world::{
    ATTEMPTS, Fate, NOW, REASSIGN_TICKS, Record, Stands, Wait, World, bit, claim, sequence, session,
    session_of, whole,
};

/// What one search covers.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    pub class: Class,
    pub cancels: bool,
    pub faults: u8,
    /// One guard off, or two that cover for each other.
    pub off: [Option<Guard>; 2],
}

/// An invariant that is broken.
pub type Violation = &'static str;

/// The record after an event, and what is wrong with that.
pub(super) struct Verdict {
    pub record: Record,
    pub broken: Option<Violation>,
}

impl Model {
    pub(super) fn on(&self, guard: Guard) -> bool {
        !self.off.contains(&Some(guard))
    }

    pub(super) fn timed(&self) -> bool {
        self.class == Class::Exclusive
    }

    /// Asks `step` what an event makes of the record, and whether the transaction would commit.
    /// None: refused. An unchanged record: a repeat.
    pub(super) fn decide(&self, world: &World, base: &Record, event: &Event) -> Option<Verdict> {
        let (asked, class, bent) = self.bend_question(base, event);
        let mut answer = step(&asked.task(class), bent, NOW);
        self.bend_answer(base, event, &mut answer);
        let answered = answer.ok()?;
        if !answered.requires.iter().all(|require| self.holds(world, event, require)) {
            return None;
        }
        let record = Record::pack(&answered.next);
        if asked != *base && record == asked {
            return Some(Verdict { record: *base, broken: None });
        }
        Some(Verdict { record, broken: self.judge(world, event, &record) })
    }

    /// With a guard of a decision off, asks as if the product had not that rule.
    fn bend_question(&self, base: &Record, event: &Event) -> (Record, Class, Event) {
        let (mut asked, mut class, mut bent) = (*base, self.class, event.clone());
        let ends = matches!(event, Event::Completed(_) | Event::SessionGone(_) | Event::Missing { .. });
        for off in self.off.into_iter().flatten() {
            match off {
                Guard::CancelWins if matches!(event, Event::Completed(_)) => asked = uncancelled(base),
                Guard::CancelNeverRequeues if matches!(event, Event::SessionGone(_)) => {
                    asked = uncancelled(base);
                }
                Guard::FinishedAbsorbs if base.stands == Stands::Finished => {
                    asked = Record { stands: Stands::Running, completed: 0, ..*base };
                }
                Guard::OnceNeverRetried if ends => class = Class::Normal,
                Guard::MissingWaitsInFull if matches!(event, Event::Missing { .. }) => {
                    class = Class::Normal;
                }
                Guard::MissingComparesSequence => {
                    if let Event::Missing { lists, .. } = &mut bent {
                        *lists = lists_after(base.attempt);
                    }
                }
                Guard::CompleteComparesAttempt if base.acknowledged() => {
                    if let Event::Completed(completion) = &mut bent {
                        completion.claim = live_claim(base);
                    }
                }
                Guard::CompleteComparesSession if base.acknowledged() => {
                    if let Event::Completed(completion) = &mut bent
                        && completion.claim.attempt == live_claim(base).attempt
                    {
                        completion.claim = live_claim(base);
                    }
                }
                _ => {}
            }
        }
        if asked.stands == Stands::Running && base.stands == Stands::Finished {
            asked.attempt = asked.attempt.max(1);
            if let Event::Completed(completion) = &event {
                let (executor, incarnation) = session_of(completion.claim.session.id);
                (asked.executor, asked.incarnation) = (executor, incarnation);
            }
        }
        (asked, class, bent)
    }

    /// With a guard of a decision off, gives the answer that a product without it would give.
    fn bend_answer(&self, base: &Record, event: &Event, answer: &mut Result<Step, Rejected>) {
        let Ok(answered) = answer else { return };
        let lost = matches!(event, Event::SessionGone(_) | Event::Missing { .. });
        let cancel = matches!(event, Event::CancelRequested { .. });
        let acknowledged = matches!(event, Event::Acknowledged { .. });
        if base.stands == Stands::Cancelling && lost && !self.on(Guard::CancelEndsWhenLost) {
            *answer = Err(Rejected::Early);
        } else if base.stands == Stands::Offered && cancel && !self.on(Guard::CancelEndsOffered) {
            answered.next = Record { stands: Stands::Cancelling, ..*base }.task(self.class);
        } else if base.stands == Stands::Running && acknowledged && !self.on(Guard::TriesOncePerAttempt) {
            answered.next.tries += 1;
        }
    }

    /// Whether the store agrees with what a transaction compares.
    fn holds(&self, world: &World, event: &Event, require: &Require) -> bool {
        match require {
            Require::SessionPresent(id) => {
                let compared = match event {
                    Event::Acknowledged { .. } => self.on(Guard::AcknowledgeComparesSession),
                    Event::Offer { .. } => self.on(Guard::OfferComparesSession),
                    _ => true,
                };
                let (executor, incarnation) = session_of(*id);
                !compared || world.has_session(executor, incarnation)
            }
            Require::SessionAbsent(id) => {
                let (executor, incarnation) = session_of(*id);
                !self.on(Guard::LostComparesSession) || !world.has_session(executor, incarnation)
            }
            Require::ExecutorEpochAt { revision, .. } => {
                !self.on(Guard::LostComparesEpoch) || *revision == revision_of(true)
            }
            // One run, active; one group of its own; no restore: nothing here can change them.
            Require::StoreEpoch(_) | Require::RunActive(_) | Require::GroupRoom(_) => true,
        }
    }

    /// Holds a change of the record against the invariants of a task.
    fn judge(&self, world: &World, event: &Event, next: &Record) -> Option<Violation> {
        let before = &world.record;
        if next == before {
            return None;
        }
        if before.stands == Stands::Finished {
            return Some("a finished task changed (I9)");
        }
        if next.attempt < before.attempt {
            return Some("the attempt went back (I2)");
        }
        let cancelled = next.stands == Stands::Finished && next.fate == Fate::Cancelled;
        if before.stands == Stands::Cancelling && next.stands != Stands::Cancelling && !cancelled {
            return Some("a cancel that was answered is not the end (I10)");
        }
        let tried = world.tried | if next.acknowledged() { bit(next.attempt) } else { 0 };
        // Cancelling before the acknowledgement is another bug than a try that was not one.
        if u32::from(next.tries) != tried.count_ones() && self.on(Guard::CancelEndsOffered) {
            return Some("tries are not the acknowledged attempts (I11)");
        }
        match event {
            Event::Completed(completion) if completion.claim != live_claim(before) => {
                Some("a report of another attempt or session counts (I3)")
            }
            Event::SessionGone(_) if !world.holder_gone() => {
                Some("the executor is back, yet its attempt is taken away (3.6)")
            }
            Event::Missing { .. } if self.has(world, before) => Some("a healthy attempt is taken away (I24)"),
            Event::Offer { session, .. } => {
                let (executor, incarnation) = session_of(session.id);
                (!world.has_session(executor, incarnation))
                    .then_some("a task is offered to a session that is gone (3.3)")
            }
            _ => None,
        }
    }

    fn has(&self, world: &World, record: &Record) -> bool {
        world.executors[usize::from(record.executor)].held == record.attempt
    }

    /// What must be true of every world.
    pub(super) fn broken(&self, world: &World) -> Option<Violation> {
        let running = world.executors.iter().filter(|executor| executor.forked).count();
        if self.class == Class::Exclusive && running > 1 {
            return Some("two containers of an exclusive task overlap (I5)");
        }
        if self.class == Class::Once && world.starts > 1 {
            return Some("a once task started twice (I5)");
        }
        for executor in [0, 1] {
            if world.sessions[executor] & !bit(world.registered[executor]) != 0 {
                return Some("an incarnation that a newer one replaced has a session (3.10)");
            }
        }
        None
    }

    pub(super) fn standing(&self, record: &Record, claim: &Claim) -> Holding {
        holding(&record.task(self.class), claim)
    }

    /// The proof that a controller's wait is over, if it is, from the record as it began with.
    pub(super) fn served(&self, record: &Record, wait: &Wait) -> Option<Served> {
        let began = match (record.stands, wait.acknowledged || !self.on(Guard::AcknowledgeRestartsWait)) {
            (Stands::Running | Stands::Cancelling, false) => Record { stands: Stands::Offered, ..*record },
            _ => *record,
        };
        let begun = TaskWait::begin(&began.task(self.class), revision_of(wait.fresh))?;
        Timing::for_fleet(2).served(begun, self.elapsed(wait.ticks)?)
    }

    /// How long a controller has measured after so many ticks.
    pub(super) fn elapsed(&self, ticks: i8) -> Option<Duration> {
        let long = Duration::from_secs(75);
        let short = Duration::from_secs(2);
        match ticks {
            ..0 => None,
            // Without modelled time a wait may last as long as it must.
            _ if !self.timed() || !self.on(Guard::LostWaitsInFull) || ticks >= REASSIGN_TICKS => Some(long),
            _ => Some(short),
        }
    }
}

pub(super) fn revision_of(fresh: bool) -> Revision {
    Revision(u64::from(fresh))
}

fn uncancelled(record: &Record) -> Record {
    match record.stands {
        Stands::Cancelling => Record { stands: Stands::Running, ..*record },
        Stands::Queued | Stands::Offered | Stands::Running | Stands::Finished => *record,
    }
}

pub(super) fn live_claim(record: &Record) -> Claim {
    claim(record.attempt.clamp(1, ATTEMPTS), record.executor, record.incarnation)
}

/// Two lists from before the attempt was journalled.
pub(super) fn lists_before(attempt: u8) -> [HeldList; 2] {
    lists(JournalSequence(sequence(attempt).0 - 1))
}

/// Two lists from after the attempt was dropped from the journal.
pub(super) fn lists_after(attempt: u8) -> [HeldList; 2] {
    lists(JournalSequence(sequence(attempt).0 + 1))
}

fn lists(sequence: JournalSequence) -> [HeldList; 2] {
    [HeldList { poll: 1, sequence }, HeldList { poll: 2, sequence }]
}

pub(super) fn offer(executor: u8, incarnation: u8) -> Event {
    Event::Offer { session: session(executor, incarnation), waited: Duration::ZERO }
}

pub(super) fn completed(claim: Claim, succeeded: bool) -> Event {
    let result = match succeeded {
        true => Report::Succeeded,
        false => Report::Failed { stage: None, failure: Failure::Exit(1) },
    };
    let id = CompletionId(u128::from(claim.attempt.number()));
    Event::Completed(Completion { claim, id, result, log: whole() })
}

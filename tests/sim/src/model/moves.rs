//! What can happen next: the names of the moves, and the hand that makes them.

use std::fmt;

use super::guard::Guard;
use super::law::{Model, Violation};
use super::world::{Executor, Pending, Record, Wait, World, bit};

/// One thing that happens. Executors are named by number and incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    Offer { executor: u8 },
    Undelivered,
    Cancel,
    SeesGone { controller: usize },
    SeesBack { controller: usize },
    SendsLost { controller: usize },
    LostApplies { controller: usize },
    OldListsArrive,
    SeesMissing,
    MissingApplies,
    Acknowledged { attempt: u8, incarnation: u8 },
    Completed { attempt: u8, incarnation: u8, succeeded: bool },
    Accepts { executor: u8, attempt: u8 },
    AcceptsLate { executor: u8, attempt: u8 },
    AcknowledgesAgain { executor: u8 },
    Answered { executor: u8 },
    JournalsStart { executor: u8 },
    Creates { executor: u8 },
    Forks { executor: u8 },
    KillsUnknown { executor: u8 },
    FindsNoContainer { executor: u8 },
    Reports { executor: u8 },
    IsFenced { executor: u8 },
    IsToldCancel { executor: u8 },
    Opens { executor: u8 },
    Attaches { executor: u8 },
    Beats { executor: u8 },
    BeatConfirmed { executor: u8 },
    BeatPutsBack { executor: u8 },
    BeatAnswered { executor: u8 },
    BeatLost { executor: u8 },
    ContainerEnds { executor: u8 },
    Pauses { executor: u8 },
    Resumes { executor: u8 },
    Crashes { executor: u8 },
    Reboots { executor: u8 },
    LosesDisk { executor: u8 },
    Forgets { executor: u8 },
    Restarts { executor: u8 },
    LeaseDropped { executor: u8 },
    LeaseExpires { executor: u8 },
    TimePasses,
}

impl Move {
    /// Whether it is one of the faults that are counted.
    pub(super) fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Pauses { .. }
                | Self::Crashes { .. }
                | Self::Reboots { .. }
                | Self::LosesDisk { .. }
                | Self::Forgets { .. }
                | Self::LeaseDropped { .. }
        )
    }

    /// Whether progress may not depend on it: a fault, or an answer that arrives although it would
    /// not be given again.
    pub(super) fn is_luck(self) -> bool {
        self.is_fault() || matches!(self, Self::AcceptsLate { .. })
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer { executor } => write!(f, "a controller offers it to E{executor}"),
            Self::Undelivered => f.write_str("the offer was not answered in time"),
            Self::Cancel => f.write_str("a client cancels"),
            Self::SeesGone { controller } => {
                write!(f, "K{controller} sees the holder's session gone and begins its wait")
            }
            Self::SeesBack { controller } => write!(f, "K{controller} sees the session back"),
            Self::SendsLost { controller } => {
                write!(f, "K{controller} sends the transaction that takes it away")
            }
            Self::LostApplies { controller } => write!(f, "the transaction of K{controller} applies"),
            Self::OldListsArrive => f.write_str("two lists arrive that were made before the offer"),
            Self::SeesMissing => f.write_str("a controller sees it missing from a list of its holder"),
            Self::MissingApplies => f.write_str("it is missing from two lists of its holder"),
            Self::Acknowledged { attempt, incarnation } => {
                write!(f, "the acknowledgement of a{attempt} by incarnation {incarnation} arrives")
            }
            Self::Completed { attempt, incarnation, succeeded } => {
                let how = if *succeeded { "succeeded" } else { "failed" };
                write!(f, "the report that a{attempt} {how}, by incarnation {incarnation}, arrives")
            }
            Self::Accepts { executor, attempt } => {
                write!(f, "E{executor} gets the offer a{attempt}, journals it and acknowledges")
            }
            Self::AcceptsLate { executor, attempt } => {
                write!(f, "E{executor} gets the offer a{attempt} late, journals it and acknowledges")
            }
            Self::AcknowledgesAgain { executor } => write!(f, "E{executor} acknowledges again"),
            Self::Answered { executor } => write!(f, "E{executor} gets the answer to its acknowledgement"),
            Self::JournalsStart { executor } => write!(f, "E{executor} journals that it is starting"),
            Self::Creates { executor } => write!(f, "E{executor} creates the container"),
            Self::Forks { executor } => write!(f, "the supervisor on E{executor} starts the first process"),
            Self::KillsUnknown { executor } => {
                write!(f, "E{executor} kills a container that its journal does not know")
            }
            Self::FindsNoContainer { executor } => write!(f, "E{executor} finds the container over"),
            Self::Reports { executor } => write!(f, "E{executor} reports the end"),
            Self::IsFenced { executor } => write!(f, "E{executor} is fenced: it kills and drops the attempt"),
            Self::IsToldCancel { executor } => write!(f, "E{executor} is told to cancel and kills"),
            Self::Opens { executor } => write!(f, "E{executor} opens a session"),
            Self::Attaches { executor } => {
                write!(f, "the attempt is attached to the new session of E{executor}")
            }
            Self::Beats { executor } => write!(f, "E{executor} sends a heartbeat"),
            Self::BeatConfirmed { executor } => {
                write!(f, "the heartbeat of E{executor} is confirmed by the store")
            }
            Self::BeatPutsBack { executor } => {
                write!(f, "the heartbeat of E{executor} puts its session back")
            }
            Self::BeatAnswered { executor } => write!(f, "E{executor} gets the answer to its heartbeat"),
            Self::BeatLost { executor } => write!(f, "the heartbeat of E{executor} is lost"),
            Self::ContainerEnds { executor } => write!(f, "the container on E{executor} ends"),
            Self::Pauses { executor } => write!(f, "E{executor} PAUSES"),
            Self::Resumes { executor } => write!(f, "E{executor} resumes"),
            Self::Crashes { executor } => write!(f, "E{executor} CRASHES"),
            Self::Reboots { executor } => write!(f, "the machine of E{executor} REBOOTS"),
            Self::LosesDisk { executor } => write!(f, "E{executor} CRASHES AND LOSES ITS JOURNAL"),
            Self::Forgets { executor } => write!(f, "E{executor} LOSES THE ATTEMPT FROM ITS JOURNAL"),
            Self::Restarts { executor } => write!(f, "E{executor} restarts"),
            Self::LeaseDropped { executor } => write!(f, "THE STORE DROPS the lease of E{executor}"),
            Self::LeaseExpires { executor } => write!(f, "the lease of E{executor} expires"),
            Self::TimePasses => f.write_str("time passes"),
        }
    }
}

/// A move made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub made: Move,
    pub world: World,
    pub broken: Option<Violation>,
}

/// Collects what can follow one world.
pub(super) struct Hand<'a> {
    pub model: &'a Model,
    pub world: &'a World,
    pub out: &'a mut Vec<Next>,
}

impl Hand<'_> {
    pub(super) fn emit(&mut self, made: Move, mut world: World, broken: Option<Violation>) {
        if made.is_fault() {
            world.faults -= 1;
        }
        if world != *self.world || broken.is_some() {
            let broken = broken.or_else(|| self.model.broken(&world));
            self.out.push(Next { made, world, broken });
        }
    }

    /// Puts an executor into a copy of the world.
    pub(super) fn with(&self, executor: u8, change: impl FnOnce(&mut Executor)) -> World {
        let mut world = *self.world;
        change(&mut world.executors[usize::from(executor)]);
        world
    }

    /// Writes the record into a copy of the world, with all that depends on it.
    pub(super) fn write(&self, record: Record) -> World {
        let mut world = *self.world;
        let before = world.record;
        if record == before {
            return world;
        }
        world.record = record;
        if !self.model.on(Guard::KillFromFreshRead) {
            world.view = before;
        }
        let holder = |record: &Record| (record.live(), record.attempt, record.executor, record.incarnation);
        if holder(&record) != holder(&before) {
            world.waits = [Wait::NONE; 2];
            world.missing = -1;
        }
        if self.model.on(Guard::LostComparesRecord) {
            world.pending = [Pending::None; 2];
        }
        if record.acknowledged() {
            world.tried |= bit(record.attempt);
        }
        world
    }

    /// What every controller noted of the executor's epoch is old after it was written.
    pub(super) fn stale_epoch(&self, world: &mut World, executor: u8) {
        if world.record.executor != executor {
            return;
        }
        for wait in &mut world.waits {
            wait.fresh &= wait.ticks < 0;
        }
        for pending in &mut world.pending {
            if let Pending::Lost { fresh, .. } = pending {
                *fresh = false;
                // It can never apply: the revision it compares is gone for good.
                if self.model.on(Guard::LostComparesEpoch) {
                    *pending = Pending::None;
                }
            }
        }
    }
}

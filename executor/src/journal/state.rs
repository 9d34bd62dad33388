//! What the journal says, folded: pure.
//!
//! Every record is checked against the state before it is written, so the file never holds a history
//! that could not have happened: nothing starts twice, and a result never changes.

use std::path::PathBuf;

use ocelot_core::id::{ExecutorId, Incarnation};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attempt::{AttemptId, Ended};

/// The most attempts held at a time; far above any number of slots.
pub const ATTEMPTS_MAX: usize = 4_096;

/// The number of a record. Counts up for the life of the data directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    Registered(Identity),
    Opened { incarnation: Incarnation },
    Attempt { id: AttemptId, entry: Entry },
}

/// Who this executor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub executor: ExecutorId,
    /// Where its private key is; never the key.
    pub key_file: PathBuf,
}

/// What happened to an attempt, in the order of its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    Accepted(Accepted),
    /// A container may exist from here on, and none will be started again.
    Starting,
    Started(Container),
    Ended(Box<Ended>),
    /// It is not ours any more: what is left is to kill, drop and confirm.
    Fenced,
    /// Nothing of it is left.
    Done,
}

/// What an offer brought, and where its things are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// SHA-256 of the plan's bytes.
    pub plan_sha256: [u8; 32],
    /// Holds the plan, the capture and the spool with its checkpoints.
    pub directory: PathBuf,
    /// The id that every `Complete` of this attempt carries.
    pub completion: [u8; 16],
}

/// How a container is found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The engine's name for it.
    pub id: String,
    /// The directory with its supervisor's socket.
    pub control: PathBuf,
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Accepted,
    Starting,
    Started(Container),
    Ended(Box<Ended>),
    Fenced,
}

/// One attempt that this executor answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub id: AttemptId,
    pub accepted: Accepted,
    /// The number of the record that accepted it.
    pub sequence: Sequence,
    pub phase: Phase,
}

/// Everything the journal says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub sequence: Sequence,
    pub identity: Option<Identity>,
    pub incarnation: Incarnation,
    /// In the order of their acceptance.
    pub attempts: Vec<Held>,
}

/// A record that cannot follow what was journalled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Illegal {
    #[error("{0} is already held")]
    AlreadyHeld(AttemptId),
    #[error("{0} is not held")]
    NotHeld(AttemptId),
    #[error("{id} is {is}, it cannot become {becomes}")]
    Order { id: AttemptId, is: &'static str, becomes: &'static str },
    #[error("incarnation {is} cannot follow {was}")]
    Incarnation { was: Incarnation, is: Incarnation },
    #[error("this data directory belongs to another executor")]
    OtherExecutor,
    #[error("{ATTEMPTS_MAX} attempts are held already")]
    Full,
}

impl State {
    /// Takes the next record; a record that is refused changes nothing.
    pub fn apply(&mut self, record: &Record) -> Result<(), Illegal> {
        match record {
            Record::Registered(identity) => self.register(identity)?,
            Record::Opened { incarnation } => {
                if *incarnation <= self.incarnation {
                    return Err(Illegal::Incarnation { was: self.incarnation, is: *incarnation });
                }
                self.incarnation = *incarnation;
            }
            Record::Attempt { id, entry } => self.enter(*id, entry)?,
        }
        self.sequence.0 += 1;
        Ok(())
    }

    /// Returns what is held of an attempt.
    pub fn attempt(&self, id: AttemptId) -> Option<&Held> {
        self.attempts.iter().find(|held| held.id == id)
    }

    fn register(&mut self, identity: &Identity) -> Result<(), Illegal> {
        let other = |known: &Identity| known.executor != identity.executor;
        if self.identity.as_ref().is_some_and(other) {
            return Err(Illegal::OtherExecutor);
        }
        self.identity = Some(identity.clone());
        Ok(())
    }

    fn enter(&mut self, id: AttemptId, entry: &Entry) -> Result<(), Illegal> {
        let place = self.attempts.iter().position(|held| held.id == id);
        if let Entry::Accepted(accepted) = entry {
            if place.is_some() {
                return Err(Illegal::AlreadyHeld(id));
            }
            if self.attempts.len() == ATTEMPTS_MAX {
                return Err(Illegal::Full);
            }
            let sequence = Sequence(self.sequence.0 + 1);
            self.attempts.push(Held { id, accepted: accepted.clone(), sequence, phase: Phase::Accepted });
            return Ok(());
        }
        let place = place.ok_or(Illegal::NotHeld(id))?;
        let held = &mut self.attempts[place];
        match held.phase.after(entry) {
            Some(Some(phase)) => held.phase = phase,
            Some(None) => drop(self.attempts.remove(place)),
            None => return Err(Illegal::Order { id, is: held.phase.word(), becomes: entry.word() }),
        }
        Ok(())
    }
}

impl Phase {
    /// Returns what the phase becomes: none if it cannot, none of any phase if nothing is left.
    #[expect(clippy::option_option, reason = "the two nones are explained and meet in one match")]
    fn after(&self, entry: &Entry) -> Option<Option<Self>> {
        match (self, entry) {
            (Self::Accepted, Entry::Starting) => Some(Some(Self::Starting)),
            (Self::Starting, Entry::Started(container)) => Some(Some(Self::Started(container.clone()))),
            (Self::Accepted | Self::Starting | Self::Started(_), Entry::Ended(ended)) => {
                Some(Some(Self::Ended(ended.clone())))
            }
            (Self::Accepted | Self::Starting | Self::Started(_) | Self::Ended(_), Entry::Fenced) => {
                Some(Some(Self::Fenced))
            }
            (Self::Ended(_) | Self::Fenced, Entry::Done) => Some(None),
            (_, Entry::Accepted(_) | Entry::Starting | Entry::Started(_)) => None,
            (_, Entry::Ended(_) | Entry::Fenced | Entry::Done) => None,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Starting => "starting",
            Self::Started(_) => "started",
            Self::Ended(_) => "ended",
            Self::Fenced => "fenced",
        }
    }
}

impl Entry {
    fn word(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Starting => "starting",
            Self::Started(_) => "started",
            Self::Ended(_) => "ended",
            Self::Fenced => "fenced",
            Self::Done => "done",
        }
    }
}

//! What somebody outside is to be told of a run: the wanted state, and a number.

use serde::{Deserialize, Serialize};

use ocelot_core::id::RunId;
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::state::Timestamp;
use ocelot_forge::Forge;

use crate::store::codec::Record;

/// One message that is owed; a newer state overwrites it under a higher number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    pub run: RunId,
    /// The job or the project of the run.
    pub subject: String,
    pub target: OutboxTarget,
    pub wanted: Wanted,
    pub number: u64,
    /// For people, and for the day after which it is not tried any more.
    pub owed_at: Timestamp,
    pub step: OutboxStep,
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxTarget {
    /// The commit's status at the project's forge.
    Status(Forge),
    /// A target of notifications that the operator has set up.
    Notify(String),
}

/// What is to be said of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    Pending,
    Ended {
        outcome: RunOutcome,
        /// It succeeded, and the one before it on that branch had not.
        is_fixed: bool,
    },
}

/// How far the telling is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxStep {
    Owed {
        /// The controller that is telling it.
        claim: Option<String>,
        /// Why it could not be told yet.
        trouble: Option<String>,
        /// It was told, looked at and not found: it is told again and not looked at again.
        is_checked: bool,
    },
    /// It was told, and is looked at once yet.
    Posted,
    GivenUp {
        why: String,
    },
}

impl OutboxTarget {
    /// Returns the part of the key that tells it from others of the run.
    pub fn key(&self) -> String {
        match self {
            Self::Status(forge) => format!("status:{forge}"),
            Self::Notify(name) => format!("notify:{name}"),
        }
    }
}

impl Wanted {
    /// The number under which a state is owed: a later one is higher.
    pub fn number(self) -> u64 {
        match self {
            Self::Pending => 1,
            Self::Ended { .. } => 2,
        }
    }
}

impl OutboxStep {
    /// Nobody has tried yet.
    pub fn owed() -> Self {
        Self::Owed { claim: None, trouble: None, is_checked: false }
    }

    /// Returns why it was not told, for people.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Owed { trouble, .. } => trouble.as_deref(),
            Self::GivenUp { why } => Some(why),
            Self::Posted => None,
        }
    }
}

impl Record for OutboxEntry {
    const KIND: &'static str = "outbox";
    const VERSION: u32 = 2;
}

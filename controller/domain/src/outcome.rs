//! How a task ended, with the evidence. Decided once, kept for ever.

use serde::{Deserialize, Serialize};

/// The end of a task. Exit code, signal and reason are always kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    Succeeded,
    Failed {
        /// The stage that failed; none when the task failed outside its stages.
        stage: Option<String>,
        failure: Failure,
    },
    TimedOut(Timeout),
    Cancelled {
        by: Actor,
        /// What the executor reported although the cancel had won; a note for people.
        result: Option<Box<Outcome>>,
    },
    Skipped {
        why: String,
    },
    /// The definition was invalid.
    Rejected {
        why: String,
    },
    /// The platform failed the task, not the task itself.
    Lost {
        why: String,
    },
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Failure {
    Exit(i32),
    Signal(i32),
    OutOfMemory {
        limit_bytes: Option<u64>,
    },
    Image {
        why: String,
    },
    Disk {
        why: String,
    },
    Policy {
        why: String,
    },
    /// What the first stage needed and was not there: a service, a commit.
    Setup {
        why: String,
    },
}

/// Which limit was over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Timeout {
    Queue,
    Run,
    Stage { stage: String },
    Quiet,
}

/// Who did it: a person, an API token, a rule of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub String);

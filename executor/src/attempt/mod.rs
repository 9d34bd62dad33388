//! One attempt: what it is called, how it ended, and the machine that decides what happens to it.

mod report;
pub mod state;

use ocelot_core::id::{Attempt, Epoch, TaskId};
use serde::{Deserialize, Serialize};

pub use report::{ArtifactDigest, Ended, Failure, LogDigest, LogLoss, Outcome, Timeout, outcome_to_wire};

/// One offer of one task: the fence that every report carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    pub task: TaskId,
    pub number: Attempt,
    pub epoch: Epoch,
}

impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} attempt {} epoch {}", self.task, self.number, self.epoch)
    }
}

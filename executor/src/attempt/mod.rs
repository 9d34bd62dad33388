//! One attempt: what it is called, how it ended, and the machine that decides what happens to it.

pub mod driver;
pub mod files;
mod link;
mod order;
pub mod ports;
mod progress;
pub mod ready;
mod report;
pub mod secrets;
mod service;
pub mod state;

use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
use ocelot_proto::wire;
use serde::{Deserialize, Serialize};

pub use report::{ArtifactDigest, Ended, Failure, LogDigest, LogLoss, Outcome, Timeout, outcome_to_wire};

/// One offer of one task: the fence that every report carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    pub task: TaskId,
    pub number: Attempt,
    pub epoch: Epoch,
}

impl AttemptId {
    pub fn to_wire(self) -> wire::AttemptId {
        let task = wire::TaskId { run: self.task.run.as_bytes().to_vec().into(), index: self.task.index };
        wire::AttemptId { task: Some(task), number: self.number.number(), epoch: self.epoch.0 }
    }

    /// Reads an id; none if it is not one.
    pub fn from_wire(wire: &wire::AttemptId) -> Option<Self> {
        let task = wire.task.as_ref()?;
        let run = RunId::from_bytes(task.run.as_ref().try_into().ok()?);
        let task = TaskId { run, index: task.index };
        Some(Self { task, number: Attempt::new(wire.number)?, epoch: Epoch(wire.epoch) })
    }
}

impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} attempt {} epoch {}", self.task, self.number, self.epoch)
    }
}

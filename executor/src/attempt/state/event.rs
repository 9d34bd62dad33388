//! What can happen to an attempt, and what can be asked for it.

use ocelot_core::frame::{Exit, Offset};

use super::BootTime;
use crate::attempt::{ArtifactDigest, Ended, Failure, LogDigest, LogLoss};
use crate::journal::{Container, Entry};

/// Which entry became durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Accepted,
    Starting,
    Started,
    Ended,
    Fenced,
    Done,
}

/// What a controller said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    Fenced,
    /// None came: it may have happened, and is asked again with the same words.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompleteAnswer {
    Recorded,
    /// Bytes of the log are missing from here on.
    LogIncomplete {
        expected: Offset,
    },
    /// The controllers have not this one of the result's artifacts.
    ArtifactMissing {
        index: u16,
    },
    Fenced,
    Unknown,
}

/// Why something could not be made ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The task's own fault, or of what it asks for.
    Failed(Failure),
    /// This machine's fault.
    Platform { why: String },
}

/// How a stage ended, as its supervisor tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageEnd {
    Exit(Exit),
    OutOfMemory { limit_bytes: Option<u64> },
    TimedOut(Limit),
}

/// Which limit was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Stage,
    Quiet,
    /// Of the whole attempt: nothing runs after it.
    Run,
}

/// Why a container ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    OutOfMemory {
        limit_bytes: Option<u64>,
    },
    GuardOver,
    Died {
        why: String,
    },
    /// The task itself stands in the way of its next stage.
    Blocked {
        why: String,
    },
}

/// A container of the attempt that was there at the start of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub container: Container,
    /// Stages that its supervisor saw end, in order.
    pub ended: Vec<(u16, StageEnd)>,
    pub running: Option<u16>,
    /// The stage that ran when its supervisor was told to cancel.
    pub cancelled: Option<u16>,
}

impl Found {
    /// Takes the end of a stage that was not over when the container was found.
    pub(super) fn stage_ended(&mut self, index: u16, end: StageEnd) {
        if self.ended.iter().all(|(known, _)| *known != index) {
            self.ended.push((index, end));
        }
        if self.running == Some(index) {
            self.running = None;
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Journalled(Written),
    /// The session that was opened after a restart keeps it.
    Kept,
    Acknowledged(Answer),
    /// The mask set is fixed and kept with them.
    SecretsFetched(Answer),
    SecretsRefused {
        why: String,
    },
    Prepared,
    NotPrepared(Cause),
    Launched(Container),
    NotLaunched(Cause),
    /// What the first stage needs beside its container is there.
    SetUp,
    NotSetUp(Cause),
    StageEnded {
        index: u16,
        end: StageEnd,
    },
    ContainerGone(Gone),
    /// A heartbeat sent at this moment named the attempt as ours.
    Vouched {
        sent: BootTime,
    },
    GuardLow,
    Cancel,
    /// Whoever said it: a kill directive, or FENCED as the answer to any call.
    Fenced,
    Collected(Result<Vec<ArtifactDigest>, Cause>),
    /// An artifact was pushed again, or cannot be for now.
    PushedAgain,
    /// The capture is at its end, masked and synced.
    Sealed {
        log: LogDigest,
        loss: Option<LogLoss>,
    },
    Durable(Offset),
    /// The controller's bytes differ, or it asks for bytes that are gone.
    LogBroken(LogLoss),
    Completed(CompleteAnswer),
    /// Nothing of it runs any more, and no start of it is under way.
    ContainerRemoved,
    SpoolDropped,
    Confirmed(Answer),
}

/// What to do. Each is carried out at once and may be lost with the process. A `repeat` counts from
/// 0 and is there for the waiting time; the words sent are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Entries reach the disk in the order of these.
    Journal(Entry),
    Acknowledge {
        sent: BootTime,
        repeat: u32,
    },
    FetchSecrets {
        repeat: u32,
    },
    Prepare,
    StopPreparing,
    /// Never past the deadline, and given up by a kill; the supervisor checks again.
    StartContainer {
        deadline: BootTime,
    },
    SetGuard {
        deadline: BootTime,
    },
    /// Services and checkout, which may have begun with the container; what is there already is left
    /// as it is. Answered by `SetUp` or `NotSetUp`.
    SetUp,
    HeartbeatNow,
    RunStage {
        index: u16,
    },
    TellSkipped {
        index: u16,
    },
    /// SIGTERM, grace, SIGKILL.
    CancelStage {
        index: u16,
    },
    /// Artifacts and caches, as they are kept after this end.
    Collect {
        success: bool,
    },
    StopCollecting,
    SealLog,
    /// SIGKILL to whatever of the attempt runs or is being started; answered by `ContainerRemoved`.
    KillContainer,
    /// The same once the result is safe; or hands it to the collector, for people to look into.
    RemoveContainer {
        keep: bool,
    },
    /// From here, or from where the controller says it has the log; until all of it is durable; a spool that is gone is answered by `LogBroken`.
    PushLog {
        from: Offset,
    },
    Complete {
        ended: Box<Ended>,
        repeat: u32,
    },
    /// Answered by `PushedAgain`.
    PushArtifact {
        artifact: Box<ArtifactDigest>,
        repeat: u32,
    },
    DropSpool,
    ConfirmFenced {
        repeat: u32,
    },
}

//! What a machine hears and what it wants done, as values.

use ocelot_core::frame::{Exit, Offset};

use crate::protocol::{MaskValue, Moment, Notice, Outcome, Refusal, Request, StageOrder, Usage};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Request(Request),
    /// An assignment, with what the identity file said when it came.
    Assign {
        identity: String,
        deadline: Moment,
        on_disk: Option<String>,
    },
    /// A timer may be over.
    Tick,
    Spawned {
        pid: i32,
    },
    NotSpawned {
        why: String,
    },
    /// The process has ended but is not reaped: its group's number is still its own.
    Dying {
        pid: i32,
    },
    /// The process is reaped.
    Exited {
        pid: i32,
        exit: Exit,
        usage: Usage,
        oom_kills: Option<u64>,
    },
    /// Nothing is left of what [`awaits`](super::Machine::awaits) named.
    Gone,
    /// The output that the stage's process had written is in the capture.
    Drained,
    /// The stage has written something.
    Heard {
        stage: u16,
    },
    /// Output is not read at the moment, or is read again.
    Held(bool),
    /// SIGTERM came.
    Terminate,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Answer(Result<(), Refusal>),
    Notify(Notice),
    /// Put the stage's beginning into the capture and start it; feed `Spawned` or `NotSpawned`.
    Spawn(Box<StageOrder>),
    Signal(Target, Signal),
    /// Read what the stage has written until now; feed `Drained`.
    Drain {
        stage: u16,
    },
    /// Put the stage's end into the capture.
    End {
        stage: u16,
        outcome: Outcome,
    },
    /// Put the value into the capture, and answer.
    AddMask {
        stage: Option<u16>,
        value: MaskValue,
    },
    /// Free what is before this place, and answer.
    Taken {
        offset: Offset,
    },
    Leave(Leave),
}

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The process group of this number.
    Group(i32),
    /// Everything that was ever started here.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Kill,
}

/// Why the supervisor ends; its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    Finished = 0,
    /// Nobody vouched any longer.
    Guard = 3,
    Terminated = 4,
}

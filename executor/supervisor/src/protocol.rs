//! What an executor and a supervisor say to each other.
//!
//! A supervisor may be older than the executor that re-adopts it. So what it is told is strict: an
//! unknown request or field is an error, never a silent half; and what it tells is lenient: a field
//! that it does not know yet has a default. Every request can be sent again after a break.

use std::collections::BTreeMap;
use std::fmt;

use ocelot_core::frame::{Exit, Offset};
use serde::{Deserialize, Serialize};

/// Raised when a request gets a new meaning; a client speaks this one and the one before.
pub const VERSION: u16 = 1;

/// Milliseconds of the machine's `CLOCK_BOOTTIME`: never set, runs on in suspend, the same inside
/// and outside a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// What an executor asks. Each is answered by [`Notice::Done`] or [`Notice::Refused`], in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Binds the supervisor to an attempt. `identity` must be what its file says. The deadline
    /// *replaces* the one that a waiting supervisor had: the attempt's own may be nearer.
    Assign { identity: String, deadline: Moment },
    /// Somebody vouches until then. A deadline only grows.
    Beat { deadline: Moment },
    /// Starts the stage, unless this very order was given before.
    RunStage(Box<StageOrder>),
    /// Ends everything that runs now, if the running stage's index is at most `through`: so a
    /// repeated cancel cannot hit an `always` stage that came after it.
    Cancel { through: u16, grace_ms: u64 },
    /// Puts a value into the capture that is masked from there on.
    AddMask { stage: Option<u16>, value: MaskValue },
    /// The capture before this place is safe elsewhere; it may be deleted.
    Taken { offset: Offset },
    /// Ends everything that still runs and then the supervisor.
    Finish { grace_ms: u64 },
}

/// One stage to run.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageOrder {
    /// Its index in the task.
    pub stage: u16,
    pub name: String,
    pub program: Program,
    /// Absolute, or relative to where the supervisor was started.
    pub directory: String,
    /// `name`, `uid`, `name:group` or `uid:gid` of the image; none is the supervisor's own.
    pub user: Option<String>,
    /// The whole environment, but for `HOME`: where it has none, that is the user's of `/etc/passwd`.
    pub env: BTreeMap<String, String>,
    /// From its start.
    pub timeout_ms: Option<u64>,
    /// The task's own end, if this stage is bound by it.
    pub task_deadline: Option<Moment>,
    pub quiet_timeout_ms: Option<u64>,
    /// Between SIGTERM and SIGKILL when one of these is over.
    pub grace_ms: u64,
    pub leftovers: Leftovers,
}

/// What a stage starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Program {
    /// Runs the script in one shell that stops at the first failure.
    Script { shell: Vec<String>, script: String },
    /// Runs an argument list without any shell.
    Command(Vec<String>),
}

/// What becomes of processes that a stage leaves behind in its process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leftovers {
    /// They are killed when the stage's own process has ended.
    Kill,
    /// They go on until the task ends: a server that later stages use. Their output is kept.
    Keep,
}

/// A secret value, which is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MaskValue(pub Vec<u8>);

/// What a supervisor tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// Everything; the first notice on each connection.
    State(Box<State>),
    /// The oldest request without an answer is carried out, or was before.
    Done,
    /// The oldest request without an answer is not carried out.
    Refused(Refusal),
    Started {
        stage: u16,
    },
    Ended(Box<StageEnd>),
    /// A cancel has ended everything, while no stage was running.
    Swept,
    /// The capture has grown, or output waits.
    Capture(CaptureState),
}

/// All that a new executor must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub version: u16,
    /// The supervisor's clock. One that differs from the executor's own by more than the call took
    /// stands in another time namespace, and its guard cannot be trusted.
    pub now: Moment,
    pub identity: Option<String>,
    pub deadline: Moment,
    pub running: Option<Running>,
    /// A cancel or the end is under way.
    pub sweeping: bool,
    pub ended: Vec<StageEnd>,
    pub capture: CaptureState,
}

/// The stage that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub stage: u16,
    pub since: Moment,
    /// Set once it is being ended.
    pub stopped: Option<Stop>,
}

/// How a stage ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageEnd {
    pub stage: u16,
    pub outcome: Outcome,
    /// Set if it did not end by itself.
    pub stopped: Option<Stop>,
    pub since: Moment,
    pub until: Moment,
    pub usage: Usage,
    /// Processes that the kernel killed in this time for want of memory; none if it does not tell.
    #[serde(default)]
    pub oom_kills: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ended(Exit),
    /// Nothing was started, for the reason given.
    NotStarted(String),
}

/// Why a stage did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    Timeout,
    TaskTimeout,
    QuietTimeout,
    Cancelled,
    /// The supervisor itself was asked to end.
    Terminated,
}

/// What a stage's process, and those it waited for, used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub user_us: u64,
    pub system_us: u64,
    pub resident_bytes_max: u64,
    pub major_faults: u64,
    /// In blocks of 512 bytes.
    pub blocks_read: u64,
    pub blocks_written: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureState {
    pub end: Offset,
    pub taken: Offset,
    /// Set while output stays in the stages' pipes.
    pub held: Option<Held>,
}

/// Why output waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// The capture is as far ahead of what was taken as it may be.
    Ahead,
    /// Writing failed with this error number; it is tried again.
    Unwritable(i32),
}

/// Why a request is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The connection is closed behind this one.
    #[error("it does not understand the message")]
    NotUnderstood,
    #[error("it belongs to no attempt yet")]
    NotAssigned,
    #[error("it belongs to another attempt")]
    OtherAttempt,
    #[error("the identity file does not say what the request says")]
    OtherIdentity,
    #[error("something is still running or being ended")]
    Busy,
    #[error("this stage was ordered before, and differently")]
    OtherOrder,
    #[error("it is about to end")]
    Ending,
    #[error("a task has at most 4096 stages")]
    TooManyStages,
    #[error("nothing was captured there yet")]
    BeyondEnd,
    #[error("a value to mask must have from 1 to 65536 bytes")]
    MaskLength,
}

impl fmt::Debug for MaskValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Shows the names of variables only: values may be secret.
impl fmt::Debug for StageOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageOrder")
            .field("stage", &self.stage)
            .field("name", &self.name)
            .field("user", &self.user)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

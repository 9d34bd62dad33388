//! Where attempts run: an environment with these mounts and limits, in which a supervisor waits.
//!
//! A runtime starts, ends, removes and lists; it decides nothing about a task. Every call can be
//! repeated: starting what is started, killing what is dead and removing what is gone is no error.

#[cfg(target_os = "linux")]
pub mod docker;
mod embedded;
#[cfg(target_os = "linux")]
mod listening;
#[cfg(target_os = "linux")]
pub mod process;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ocelot_core::plan::{Environment, Resources};

use crate::attempt::AttemptId;
use crate::attempt::state::{BootTime, Cause, Gone};
use crate::journal::Container;

pub use embedded::{InstallError, install};

/// What an attempt asks of a runtime. The directories are there already and belong to the attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    pub attempt: AttemptId,
    pub environment: Environment,
    pub resources: Resources,
    /// The supervisor's control directory, on this machine.
    pub control: PathBuf,
    /// Empty, or with the checkout in it; on this machine.
    pub workspace: PathBuf,
    /// Files that the task finds outside its workspace, such as secrets; on this machine.
    pub mounts: Vec<Mount>,
    /// Registry login for the image.
    pub login: Option<Login>,
    /// The supervisor's first deadline. Nothing is started past it.
    pub deadline: BootTime,
}

/// A path of this machine that the task sees, never writable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub source: PathBuf,
    /// Absolute, inside.
    pub target: PathBuf,
}

/// A name and a password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The status of a supervisor whose end nobody saw: its executor was not its parent any more.
pub const UNKNOWN_STATUS: i64 = -1;

/// The name of the runtime without containers.
pub const PROCESS: &str = "process";

/// What is found of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Running,
    /// With the supervisor's exit status, and what the kernel did for want of memory.
    Ended {
        status: i64,
        out_of_memory: Option<OutOfMemory>,
    },
    Absent,
}

impl Standing {
    /// Returns why it is not running, as the attempt is told; none while it runs.
    pub fn gone(&self) -> Option<Gone> {
        let died = |why: &str| Some(Gone::Died { why: why.to_owned() });
        match self {
            Self::Running => None,
            Self::Absent => died("its container was taken away, and not by us"),
            Self::Ended { out_of_memory: Some(OutOfMemory { limit_bytes }), .. } => {
                Some(Gone::OutOfMemory { limit_bytes: *limit_bytes })
            }
            Self::Ended { status: 3, .. } => Some(Gone::GuardOver),
            Self::Ended { status: 0, .. } => died("its supervisor finished before it was asked to"),
            Self::Ended { status: 1, .. } => died("its supervisor could not go on"),
            Self::Ended { status: 2, .. } => died("its supervisor was called wrongly"),
            Self::Ended { status: 4, .. } => died("its supervisor was told by a signal to end"),
            Self::Ended { status: UNKNOWN_STATUS, .. } => died("its supervisor ended unseen"),
            Self::Ended { status: 137, .. } => died("its supervisor was killed, and not by us"),
            Self::Ended { status, .. } => {
                Some(Gone::Died { why: format!("its supervisor ended with status {status}") })
            }
        }
    }
}

/// The kernel ended something for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// None: it was the machine's memory.
    pub limit_bytes: Option<u64>,
}

/// Something of this executor's that a runtime has, running or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    pub container: Container,
    pub running: bool,
}

/// What a runtime says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// Of the engine.
    pub version: String,
    /// Its kill reaches every process of a task. Exclusive tasks need that.
    pub whole_kill: bool,
}

/// What the environment itself gives each stage, below what the plan says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The image's variables.
    pub env: BTreeMap<String, String>,
    /// The image's user, as a stage's order names it; none is the supervisor's own.
    pub user: Option<String>,
}

/// The runtime itself failed; no task's fault.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct RuntimeError {
    /// For people: what was being done.
    pub doing: String,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Takes lines for the log of the attempt, such as the progress of a pull.
pub trait Tell: Send + Sync {
    fn line(&self, text: &str);
}

/// One way to run attempts.
#[async_trait]
pub trait Runtime: fmt::Debug + Send + Sync {
    /// As in the label `runtime=`.
    fn name(&self) -> &'static str;

    /// Proves that it works here: the engine answers, is new enough, and sees this machine's paths.
    async fn check(&self) -> Result<Support, RuntimeError>;

    /// Makes ready what can be made ready before the start: the image.
    async fn prepare(&self, launch: &Launch, tell: &dyn Tell) -> Result<(), Cause>;

    /// Starts a supervisor that waits, before anyone needs it; false where it takes a task to start one.
    /// The next start in this control directory takes it over. Without an attempt it ends by itself.
    async fn make_ready(&self, _control: &Path) -> Result<bool, Cause> {
        Ok(false)
    }

    /// Starts the supervisor. It listens in the control directory when this returns.
    async fn start(&self, launch: &Launch) -> Result<Container, Cause>;

    /// Returns where the workspace is for the task's own processes.
    fn workspace(&self, launch: &Launch) -> PathBuf;

    /// Returns what a stage finds there if the plan says nothing.
    async fn given(&self, container: &Container) -> Result<Given, RuntimeError>;

    async fn inspect(&self, container: &Container) -> Result<Standing, RuntimeError>;

    /// Waits until it does not run any more. Cancel-safe.
    async fn ended(&self, container: &Container) -> Result<Standing, RuntimeError>;

    /// Ends every process of it at once.
    async fn kill(&self, container: &Container) -> Result<(), RuntimeError>;

    /// Ends and takes away whatever was started for this control directory, even half: the container,
    /// its network, its volumes. For an attempt whose start was cut off, when no container is known.
    async fn remove(&self, control: &Path) -> Result<(), RuntimeError>;

    /// Lists everything that is this executor's.
    async fn list(&self) -> Result<Vec<Ours>, RuntimeError>;
}

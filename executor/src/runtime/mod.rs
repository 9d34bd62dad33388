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
mod unused;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ocelot_core::plan::{Environment, Resources, Service};
use ocelot_proto::kit::clock::UnixMicros;

use crate::attempt::state::{BootTime, Cause, Gone};
use crate::attempt::{AttemptId, Failure};
use crate::journal::Container;

pub use embedded::{InstallError, install};
pub(crate) use unused::mark as mark_waiting;

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

/// A container beside a task, as its runtime is asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceLaunch {
    /// The task's own control directory: what is removed for it takes its services away too.
    pub task: PathBuf,
    pub service: Service,
    /// The service's own control directory: it has a supervisor like a task.
    pub control: PathBuf,
    pub mounts: Vec<Mount>,
    pub login: Option<Login>,
    pub deadline: BootTime,
}

/// A command that is run beside what a container runs.
#[derive(Clone, PartialEq, Eq)]
pub struct Exec {
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    pub directory: String,
}

/// Shows the names of variables only: values may be secret.
impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec").field("command", &self.command).finish_non_exhaustive()
    }
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
    /// It was made ready, and no start has taken it over: it is nobody's.
    pub waiting: bool,
}

/// What lies about in a runtime for one control directory, and does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    pub control: PathBuf,
    pub containers: u64,
    pub networks: u64,
}

/// An image that this executor brought to a runtime, and nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnImage {
    pub id: String,
    /// For people: the name that it was asked for by.
    pub name: String,
    pub bytes: u64,
    pub last_used: UnixMicros,
    pub in_use: bool,
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
    /// What the image starts, and with which words if nobody gives others.
    pub entry: Vec<String>,
    pub command: Vec<String>,
    /// Where the image starts it; empty if it does not say.
    pub directory: String,
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

fn no_services() -> Cause {
    let why = "services need a container runtime, and this task runs without one".to_owned();
    Cause::Failed(Failure::Policy { why })
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

    /// Looks at what an offered task will need, beside its acknowledgement. Changes nothing.
    async fn look_ahead(&self, _launch: &Launch) {}

    /// Makes ready what can be made ready before the start: the image.
    async fn prepare(&self, launch: &Launch, tell: &dyn Tell) -> Result<(), Cause>;

    /// Starts a supervisor that waits, before anyone needs it; false where it takes a task to start one.
    /// The next start in this control directory takes it over. Without an attempt it ends by itself.
    async fn make_ready(&self, _control: &Path) -> Result<bool, Cause> {
        Ok(false)
    }

    /// Starts what would be started for this, before anyone needs it; false where nothing can wait. The
    /// next start in its control directory takes it over if that asks for exactly the same, and makes
    /// its own if not. Who keeps it for others marks it. Without an attempt it ends by itself.
    async fn make_ready_like(&self, _like: &Launch) -> Result<bool, Cause> {
        Ok(false)
    }

    /// Whether what waits there is made of what would be used now: names of images move. What is not
    /// known counts as yes, since the start looks again.
    async fn is_current(&self, _like: &Launch) -> bool {
        true
    }

    /// Starts the supervisor. It listens in the control directory when this returns.
    async fn start(&self, launch: &Launch) -> Result<Container, Cause>;

    /// Makes the image of a service ready.
    async fn prepare_service(&self, _service: &ServiceLaunch, _tell: &dyn Tell) -> Result<(), Cause> {
        Err(no_services())
    }

    /// Starts the supervisor of a service, in the network of its task.
    async fn start_service(&self, _service: &ServiceLaunch) -> Result<Container, Cause> {
        Err(no_services())
    }

    /// Returns the container that a service has if it was started, by which it is found again.
    fn service(&self, service: &ServiceLaunch) -> Container {
        Container { id: String::new(), control: service.control.clone() }
    }

    /// Returns where this machine reaches a container.
    async fn address(&self, _container: &Container) -> Result<IpAddr, RuntimeError> {
        Err(RuntimeError { doing: "find an address".to_owned(), source: "this runtime has none".into() })
    }

    /// Runs a command to its end and returns its exit code.
    async fn exec(&self, _container: &Container, _exec: &Exec) -> Result<i64, RuntimeError> {
        Err(RuntimeError { doing: "run a command".to_owned(), source: "this runtime cannot".into() })
    }

    /// Returns the user and group of this machine that the task's files belong to, if that is
    /// known before a container of it is up.
    fn owner(&self, _launch: &Launch) -> Option<(u32, u32)> {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        Some((user.as_raw(), group.as_raw()))
    }

    /// Returns the same, asked of a container.
    async fn owner_in(&self, launch: &Launch, _container: &Container) -> Result<(u32, u32), Cause> {
        let unknown = || Cause::Platform { why: "it is not known who owns the workspace".to_owned() };
        self.owner(launch).ok_or_else(unknown)
    }

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

    /// Returns the folder of this machine in which it keeps what is large, if it keeps anything.
    fn storage(&self) -> Option<PathBuf> {
        None
    }

    /// Lists what is this executor's and does not run. What is of use all the same, its caller knows;
    /// [`Runtime::remove`] takes it away.
    async fn idle(&self) -> Result<Vec<Idle>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Lists the images that this executor brought here, with when each was last used.
    async fn own_images(&self) -> Result<Vec<OwnImage>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Takes an own image away; returns false where somebody uses it after all.
    async fn remove_image(&self, _id: &str) -> Result<bool, RuntimeError> {
        Ok(false)
    }
}

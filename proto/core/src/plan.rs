//! The plan of a run: everything its tasks will do, with nothing left to look up.
//!
//! `proto/spec` makes it from a file and an event, the controller stores and schedules it, the
//! executor carries it out. It is stored for years, so a field is only ever added, with a default.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one run does: its tasks, in the order of the file, matrix variants expanded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub tasks: Vec<TaskPlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// One task: one container, one workspace, one executor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskPlan {
    /// Unique in the plan: `test`, or `test[node=20,os=linux]` for a variant.
    pub name: String,
    /// The matrix variant, empty for a task without a matrix. Tasks that share `base` are variants of one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variant: BTreeMap<String, String>,
    /// The name that the file gives the task; what `needs` refers to.
    pub base: String,
    /// Whether the first failed variant cancels the others of the same `base`.
    pub fail_fast: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    pub gate: Gate,
    pub class: Class,
    pub priority: i8,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    pub resources: Resources,
    pub limits: Limits,
    pub retry: Retry,
    pub allow_failure: Tolerance,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    pub keep: Keep,
    pub environment: Environment,
    pub work: Work,
}

/// Another task of the same plan that must end first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Index in [`Plan::tasks`].
    pub task: u32,
    /// Met even if that task was skipped.
    pub optional: bool,
    /// Its artifacts are unpacked first.
    pub artifacts: bool,
}

/// What is left of `when` once the event is known: what the needs' outcome must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Runs when its needs succeeded; the default.
    OnSuccess,
    /// Runs when one of its needs failed.
    OnFailure,
    /// Runs however its needs ended.
    Always,
    /// Does not run in this run, for the reason that people are shown.
    Skip { why: String },
}

/// What may happen to a task whose executor is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// May run again elsewhere while a lost attempt still winds down; only one has results.
    Normal,
    /// Never two at once.
    Exclusive,
    /// Never started a second time without a person.
    Once,
}

/// What an executor must have: `gpu` or `os=linux`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What a task asks of its executor; unset is the executor's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    #[serde(rename = "timeout_ms", with = "duration_ms")]
    pub timeout: Duration,
    #[serde(rename = "queue_timeout_ms", with = "duration_ms")]
    pub queue_timeout: Duration,
    #[serde(rename = "quiet_timeout_ms", default, with = "duration_ms::option")]
    pub quiet_timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL.
    #[serde(rename = "grace_ms", with = "duration_ms")]
    pub grace: Duration,
}

/// When a failed task is tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How often after the first try.
    pub limit: u32,
    pub on: Vec<Cause>,
    /// With [`Cause::Exit`]: only these codes; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exit_codes: Vec<i32>,
    #[serde(rename = "delay_ms", with = "duration_ms")]
    pub delay: Duration,
}

/// Why a try ended badly, as retry rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Exit,
    Signal,
    Oom,
    Timeout,
    Image,
    Disk,
    Lost,
}

/// Whether a failure counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerance {
    None,
    Any,
    ExitCodes(Vec<i32>),
}

/// At most `limit` at a time of everything that names the same group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// `/name` is shared by all projects, any other belongs to the project.
    pub group: String,
    pub limit: u32,
    pub cancel: Supersede,
}

/// Which older members of a concurrency group a newer one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supersede {
    Never,
    Waiting,
    Running,
}

/// A person's consent that the task waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(rename = "expires_ms", with = "duration_ms")]
    pub expires: Duration,
}

/// Whether the container stays for `ocelot shell` after the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    Never,
    OnFailure,
}

/// Where the task's processes live and what they find there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub runtime: Runtime,
    pub checkout: Option<Checkout>,
    /// Relative to the workspace.
    pub directory: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<Cache>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
}

/// What the task runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    Container {
        image: String,
        pull: Pull,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pull_secret: Option<String>,
        /// A private image-building engine beside the task.
        engine: bool,
    },
    /// The executor's machine itself.
    Process,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pull {
    Missing,
    Always,
    Never,
}

/// How the repository is put into the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// Commits of history; 0 is all of it.
    pub depth: u32,
    pub submodules: bool,
    pub lfs: bool,
}

/// One secret, by name, and how the task finds its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    pub name: String,
    pub delivery: SecretDelivery,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretDelivery {
    Env(String),
    File(String),
    Tool(Tool),
}

/// Tools whose login file we know how to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    Docker,
    SshKey,
    Maven,
    Npm,
    Pypi,
    Netrc,
    Kubeconfig,
}

/// A container beside the task; its name is its host name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    pub image: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<String>,
    pub resources: Resources,
    pub ready: Ready,
}

/// When a service counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    Started,
    Port {
        port: u16,
        #[serde(rename = "timeout_ms", with = "duration_ms")]
        timeout: Duration,
    },
    Command {
        command: Vec<String>,
        #[serde(rename = "timeout_ms", with = "duration_ms")]
        timeout: Duration,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    pub name: String,
    pub paths: Vec<String>,
    pub key_files: Vec<String>,
    pub key: String,
    pub fallback: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub name: String,
    pub paths: Vec<String>,
    pub when: ArtifactWhen,
    #[serde(rename = "expires_ms", with = "duration_ms")]
    pub expires: Duration,
    pub optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactWhen {
    Success,
    Failure,
    Always,
}

/// What the task's processes do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Stages {
        shell: String,
        stages: Vec<Stage>,
    },
    /// An argument list, for images without a shell.
    Command(Vec<String>),
}

/// One shell, one list of commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    pub script: Vec<String>,
    /// Set when this run leaves the stage out: the reason that people are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
    /// Runs after a failure or a cancel too.
    pub always: bool,
    pub allow_failure: Tolerance,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(
        rename = "timeout_ms",
        default,
        with = "duration_ms::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
}

/// Whom to tell about the run's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    pub to: String,
    pub on: Vec<NotifyOn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifyOn {
    Success,
    Failure,
    /// The first success after a failure.
    Fixed,
    Always,
}

/// Durations are stored as whole milliseconds: readable in a dump, exact in any language.
pub mod duration_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }

    pub mod option {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, Serializer};

        pub fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
        }
    }
}

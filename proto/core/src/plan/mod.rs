//! The plan of a run: everything its tasks will do, with nothing left to look up.
//!
//! `proto/spec` makes it from a file and an event, the controller stores and schedules it, the
//! executor carries it out. It is stored for years, so a field is only ever added, with a default.

pub mod duration_ms;
mod environment;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use environment::{
    Artifact, ArtifactWhen, Cache, Checkout, Environment, Pull, Ready, Runtime, SecretDelivery, SecretUse,
    Service, Stage, Tool, Work,
};

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

impl TaskPlan {
    /// Returns every use of a secret: of the task, of its stages, of its services.
    pub fn secret_uses(&self) -> impl Iterator<Item = &SecretUse> {
        let stages = match &self.work {
            Work::Stages { stages, .. } => stages.as_slice(),
            Work::Command(_) => &[],
        };
        let services = self.environment.services.iter().flat_map(|service| &service.secrets);
        self.environment.secrets.iter().chain(stages.iter().flat_map(|stage| &stage.secrets)).chain(services)
    }

    /// Returns the names of the secrets with the logins that its images are pulled with.
    pub fn pull_secrets(&self) -> impl Iterator<Item = &str> {
        let own = match &self.environment.runtime {
            Runtime::Container { pull_secret, .. } => pull_secret.as_deref(),
            Runtime::Process => None,
        };
        let services = self.environment.services.iter();
        own.into_iter().chain(services.filter_map(|service| service.pull_secret.as_deref()))
    }
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

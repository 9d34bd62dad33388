//! What a task's processes do, and what they find where they run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Resources, Tolerance, duration_ms};

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
    /// A secret argument of the run itself, as this variable: its value is looked up with the run, not
    /// in the stores of job, project and organization.
    Argument(String),
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

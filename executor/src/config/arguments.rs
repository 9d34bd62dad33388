//! Every argument of the program; the doc comments are its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ocelot_git::AllowedScheme;
use serde::Deserialize;

use super::units::{Size, Socket, Time};

/// Runs attempts on this machine.
#[derive(Debug, Parser)]
#[command(name = "ocelot-executor", version, about, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes this machine an executor, once.
    Register(Box<RegisterArguments>),
    /// Takes work until it is told to stop.
    Start(Box<StartArguments>),
    /// Looks at everything that this executor needs, and says what mends what is not well.
    ///
    /// It takes what `start` takes, and changes nothing. Exit status 1: something does not work.
    Doctor(Box<DoctorArguments>),
    /// Makes room on the disk, as a running executor does by itself, and says what went.
    ///
    /// It takes what `start` takes, and only what is this executor's, which must not be running.
    Collect(Box<CollectArguments>),
}

/// What both commands know.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// A file with the same settings, in YAML.
    #[arg(long, env = "OCELOT_EXECUTOR_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where everything of this executor is kept.
    #[arg(long, env = "OCELOT_EXECUTOR_DATA", value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Authorities, in PEM form, that prove the controller.
    #[arg(long, env = "OCELOT_EXECUTOR_CA", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Attempts at a time.
    #[arg(long, env = "OCELOT_EXECUTOR_SLOTS", value_name = "N")]
    pub(super) slots: Option<u32>,
    /// Which events are written, as in `info` or `ocelot_executor=debug,info`.
    #[arg(long, env = "OCELOT_EXECUTOR_LOG", value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// How events are written.
    #[arg(long, env = "OCELOT_EXECUTOR_LOG_FORMAT", value_name = "FORMAT")]
    pub(super) log_format: Option<LogFormat>,
}

#[derive(Debug, Args)]
pub(crate) struct RegisterArguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// The invitation that `ocelot executor token` printed. Other users of this machine can see what is
    /// typed here: better say OCELOT_EXECUTOR_TOKEN, or --token-file.
    #[arg(
        required_unless_present_any = ["token", "token_file"], conflicts_with_all = ["token", "token_file"],
        value_name = "INVITATION"
    )]
    pub(super) invitation: Option<String>,
    /// The same.
    #[arg(long, env = "OCELOT_EXECUTOR_TOKEN", hide_env_values = true, value_name = "INVITATION")]
    pub(super) token: Option<String>,
    /// A file that holds it.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub(super) token_file: Option<PathBuf>,
    /// Writes what the service needs to know, and starts it at each boot, where systemd runs.
    #[arg(long)]
    pub(super) install: bool,
    /// The system that is installed into, if not the one that runs: nothing is started there.
    #[arg(long, value_name = "DIR", requires = "install")]
    pub(super) root: Option<PathBuf>,
    /// What it is called; else the machine's name.
    #[arg(long, env = "OCELOT_EXECUTOR_NAME")]
    pub(super) name: Option<String>,
    /// A label that the invitation grants; several are allowed.
    #[arg(long = "label", env = "OCELOT_EXECUTOR_LABELS", value_delimiter = ',', value_name = "LABEL")]
    pub(super) labels: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// Address of a controller; several are allowed. Else those of the invitation.
    #[arg(
        long = "controller",
        env = "OCELOT_EXECUTOR_CONTROLLERS",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(super) controllers: Vec<String>,
    /// With less of the disk free, such as `2GiB`, no work is taken.
    #[arg(long, env = "OCELOT_EXECUTOR_DISK_FLOOR", value_name = "SIZE")]
    pub(super) disk_floor: Option<Size>,
    /// What all things of this executor may take together: workspaces, mirrors, images that it pulled.
    /// Over that, those not used for the longest time go. Else only the free space counts.
    #[arg(long, env = "OCELOT_EXECUTOR_DISK_BUDGET", value_name = "SIZE")]
    pub(super) disk_budget: Option<Size>,
    /// With less of the disk free, mirrors and images go that were not used for the longest time; else a
    /// tenth of the disk or twice the floor.
    #[arg(long, env = "OCELOT_EXECUTOR_COLLECT_BELOW", value_name = "SIZE")]
    pub(super) collect_below: Option<Size>,
    /// They go until so much is free; else a quarter more than that.
    #[arg(long, env = "OCELOT_EXECUTOR_COLLECT_UNTIL", value_name = "SIZE")]
    pub(super) collect_until: Option<Size>,
    /// Containers that are kept started for tasks like those that ran lately, so that these need not wait
    /// for theirs; 0 keeps none. Else one for each slot, and four at most.
    #[arg(long, env = "OCELOT_EXECUTOR_WARM", value_name = "N")]
    pub(super) warm: Option<u32>,
    /// What tasks run in.
    #[arg(long, env = "OCELOT_EXECUTOR_RUNTIME")]
    pub(super) runtime: Option<RuntimeName>,
    /// The socket of the container engine, Docker's or Podman's; else what DOCKER_HOST names, if that is
    /// a socket, or /var/run/docker.sock.
    #[arg(long, env = "OCELOT_EXECUTOR_ENGINE", value_name = "SOCKET")]
    pub(super) engine: Option<Socket>,
    /// Lets tasks run on this machine without a container.
    #[arg(
        long, env = "OCELOT_EXECUTOR_ALLOW_PROCESS", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL"
    )]
    pub(super) allow_process: Option<bool>,
    /// How long work may go on after a SIGTERM, such as `30s`; then it is left to the next start.
    #[arg(long, env = "OCELOT_EXECUTOR_DRAIN_GRACE", value_name = "TIME")]
    pub(super) drain_grace: Option<Time>,
    /// Besides https and ssh, check repositories out over these: `http` shows code and passwords to all on
    /// the way, `file` opens this machine's folders to whoever may add a project.
    #[arg(long, env = "OCELOT_EXECUTOR_GIT_ALLOW", value_name = "SCHEME", value_delimiter = ',')]
    pub(super) git_allow: Vec<AllowedScheme>,
    /// Registers first, by the invitation in this file, where that was not done yet.
    #[arg(long, env = "OCELOT_EXECUTOR_TOKEN_FILE", value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// What it is called when it registers; else the machine's name.
    #[arg(long, env = "OCELOT_EXECUTOR_NAME")]
    pub(super) name: Option<String>,
    /// A label that it registers with; several are allowed.
    #[arg(long = "label", env = "OCELOT_EXECUTOR_LABELS", value_delimiter = ',', value_name = "LABEL")]
    pub(super) labels: Vec<String>,
    /// Carries one attempt through, and ends when its result and its log are safe with a controller.
    #[arg(long)]
    pub(super) once: bool,
    /// Ends after so long without work, such as `10m`.
    #[arg(long, env = "OCELOT_EXECUTOR_IDLE_EXIT", value_name = "TIME")]
    pub(super) idle_exit: Option<Time>,
    /// When this file is there, the machine is about to be taken away: nothing new is taken, and the
    /// program ends when what it holds is done.
    #[arg(long, env = "OCELOT_EXECUTOR_PREEMPTION_FILE", value_name = "FILE")]
    pub(super) preemption_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    pub(super) start: StartArguments,
    /// Only whether the executor that runs here is well: for health checks.
    #[arg(long)]
    pub(super) running: bool,
    /// How the findings are written.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct CollectArguments {
    #[command(flatten)]
    pub(super) start: StartArguments,
    /// Only says what would go.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// How a result is written; `json` is a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RuntimeName {
    Auto,
    Docker,
    Process,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

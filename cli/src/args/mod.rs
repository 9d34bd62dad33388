//! Every argument of every command; the doc comments are the help and the reference page.
//!
//! Nothing is decided here: what an argument means is its command's business.

mod artifacts;
mod fleet;
mod jobs;
mod pipelines;
mod projects;
mod runs;
mod schedules;
mod secrets;
mod settings;
mod specs;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use artifacts::*;
pub(crate) use fleet::*;
pub(crate) use jobs::*;
pub(crate) use pipelines::*;
pub(crate) use projects::*;
pub(crate) use runs::*;
pub(crate) use schedules::*;
pub(crate) use secrets::*;
pub(crate) use settings::*;
pub(crate) use specs::*;

/// Run builds and operational jobs on machines that nobody can open a port to
#[derive(Debug, Parser)]
#[command(name = "ocelot", version, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// How results are written; json is a contract for scripts
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Text, env = "OCELOT_OUTPUT")]
    pub(crate) output: Format,

    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, env = "OCELOT_COLOR")]
    pub(crate) color: Color,

    /// The controller to talk to; several addresses of one fleet with commas
    #[arg(long, global = true, value_name = "URL", env = "OCELOT_SERVER")]
    pub(crate) server: Option<String>,

    /// The context of the configuration to use; `up` is the one that runs here
    #[arg(long, global = true, value_name = "NAME", env = "OCELOT_CONTEXT")]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: a controller, its store and one executor
    Up(Up),
    /// See all of it once: start, create a job, run it, follow its log
    Demo,
    /// Create jobs from files
    #[command(visible_alias = "add")]
    Create(Create),
    /// Change jobs that exist
    Update(Update),
    /// Delete a job; its runs and their logs stay
    #[command(alias = "rm")]
    Delete(Delete),
    /// List jobs
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a job: its arguments, how to execute it, its history
    Describe(Describe),
    /// Execute a job
    #[command(visible_alias = "exec", alias = "run")]
    Execute(Execute),
    /// Build a commit of a project on the fleet
    Build(Build),
    /// Run ocelot.yml here and now, on the files as they lie in this folder
    Local(Local),
    /// Look at this repository and write an ocelot.yml to begin with
    Init(Init),
    /// Show the log of a run
    #[command(visible_alias = "logs", alias = "log")]
    Getlogs(Getlogs),
    /// Show where a run is, and when it came to each phase
    #[command(alias = "show")]
    Status(Status),
    /// List runs, newest first
    #[command(alias = "history")]
    Runs(Runs),
    /// End a run
    #[command(visible_alias = "kill", alias = "stop")]
    Cancel(Cancel),
    /// Run the same again, as a new run
    #[command(alias = "rerun")]
    Retry(Retry),
    /// Tell why a run is where it is, executor by executor
    Why(Why),
    /// List and fetch what a run kept
    #[command(alias = "artifact", subcommand)]
    Artifacts(Artifacts),

    /// Look after the repositories that pushes are built of
    #[command(alias = "projects", subcommand)]
    Project(Project),
    /// See what executes jobs by the clock, pause it, run it now
    #[command(alias = "schedules", subcommand)]
    Schedule(Schedule),
    /// Look after the machines that run jobs
    #[command(alias = "executors", subcommand)]
    Executor(Executor),
    /// Look after the tokens that people and scripts call with
    #[command(alias = "tokens", subcommand)]
    Token(Token),
    /// Keep the values that tasks are given by name
    #[command(alias = "secrets", subcommand)]
    Secret(Secret),
    /// Say which controllers this command talks to
    #[command(subcommand)]
    Config(Config),
    /// Check ocelot.yml or job files, and show every mistake with what would be right
    Validate(Validate),
    /// Tell which tasks and stages of an ocelot.yml an event would run, and why
    Explain(Explain),
    /// Check what this command needs, and say what mends each finding
    ///
    /// Changes nothing. What a controller or an executor needs is checked on its machine, with
    /// `ocelot-controller doctor` and `ocelot-executor doctor`.
    Doctor,
    /// Print the completions of a shell, as in `source <(ocelot completion bash)`
    Completion(Completion),
    /// Show the versions of this command and of the controllers
    Version(Version),
    /// Tell a shell which names fit, for what is typed so far
    #[command(name = "__complete", hide = true)]
    Complete(Complete),
    /// The old name of `project add`
    #[command(hide = true)]
    Watch(ProjectAdd),
    /// The old name of `project poll`
    #[command(hide = true)]
    Poll(ProjectName),
    /// The old name of `project list`
    #[command(hide = true)]
    Repos(Repos),
}

/// How a run is named; the same everywhere.
#[derive(Debug, clap::Args)]
pub(crate) struct RunName {
    /// `name#42`, `#42` of this checkout's project, the name of a job or project for its last run, or any
    /// unique part of an id; nothing: the last one that was executed from here
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
}

#[cfg(test)]
mod tests;

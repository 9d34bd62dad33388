//! Arguments of what runs or writes an `ocelot.yml`.

use std::path::PathBuf;

use clap::{Args as Group, ValueEnum};

#[derive(Debug, Group)]
pub(crate) struct Build {
    /// The branch to build; otherwise the checkout's
    #[arg(long, conflicts_with = "tag")]
    pub(crate) branch: Option<String>,

    /// The commit to build: an id, its beginning, or any name that git knows here; otherwise the
    /// checkout's, or the head of --branch
    #[arg(long)]
    pub(crate) commit: Option<String>,

    /// Build a tag in place of a branch
    #[arg(long)]
    pub(crate) tag: Option<String>,

    /// A variable on top of the file's own; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,

    /// A file to use in place of the commit's ocelot.yml; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The project; otherwise the one of this checkout
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) project: Option<String>,

    /// Show where it is, then its log, then its outcome, which is the exit code too
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// Wait for its end without showing its log; the outcome is the exit code
    #[arg(long, short, conflicts_with = "follow")]
    pub(crate) wait: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Local {
    /// Only this task and what it needs: a name, or one variant as in `test[node=20]`
    pub(crate) task: Option<String>,

    /// Run as if this had happened; otherwise as if all this had been pushed
    #[arg(long, value_enum)]
    pub(crate) event: Option<LocalEvent>,

    /// Run as if on this branch; of a pull request, its target
    #[arg(long)]
    pub(crate) branch: Option<String>,

    /// The tag of `--event tag`; otherwise the one that the commit has
    #[arg(long)]
    pub(crate) tag: Option<String>,

    /// A variable on top of the file's own; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,

    /// The value of a secret that the tasks name, from a file; may be repeated. What is missing is
    /// asked for
    #[arg(long, value_name = "NAME=@FILE")]
    pub(crate) secret: Vec<String>,

    /// Without the tasks that TASK needs
    #[arg(long, requires = "task")]
    pub(crate) no_needs: bool,

    /// `process`: run tasks on this machine itself, whatever the file says
    #[arg(long, value_enum)]
    pub(crate) runtime: Option<LocalRuntime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LocalEvent {
    Push,
    #[value(alias = "pull_request")]
    PullRequest,
    Tag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LocalRuntime {
    /// On this machine itself, without a container
    Process,
}

#[derive(Debug, Group)]
pub(crate) struct Init {
    /// Write over an ocelot.yml that is there
    #[arg(long)]
    pub(crate) force: bool,

    /// Print it, and write nothing
    #[arg(long, conflicts_with = "force")]
    pub(crate) stdout: bool,
}

//! Arguments of what concerns jobs.

use std::path::PathBuf;

use clap::Args as Group;

#[derive(Debug, Group)]
pub(crate) struct Create {
    /// A job file, or a folder with job files; `-` reads standard input
    #[arg(long, short, value_name = "FILE|DIR", required_unless_present = "template")]
    pub(crate) file: Option<PathBuf>,

    /// Change jobs that exist already; with a folder this is safe to repeat
    #[arg(long)]
    pub(crate) update: bool,

    /// Print a commented job file to begin with, and create nothing
    #[arg(long, conflicts_with_all = ["file", "update"])]
    pub(crate) template: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Update {
    /// A job file, or a folder with job files; `-` reads standard input
    #[arg(long, short, value_name = "FILE|DIR")]
    pub(crate) file: PathBuf,

    /// Only if the job still has this version
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
}

#[derive(Debug, Group)]
pub(crate) struct Delete {
    /// Name of the job
    pub(crate) job: String,
}

#[derive(Debug, Group)]
pub(crate) struct List {
    /// Only names that match this pattern, as in 'restore-*'
    pub(crate) pattern: Option<String>,

    /// Only names, one on each line
    #[arg(long)]
    pub(crate) names: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Describe {
    /// Name of the job; `owner/name` shows a project, `name#42` a run
    pub(crate) job: String,

    /// As it was in this version
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u64>,

    /// The text of its file, exactly as it was sent
    #[arg(long, conflicts_with = "history")]
    pub(crate) definition: bool,

    /// Its versions, newest first
    #[arg(long, conflicts_with = "version")]
    pub(crate) history: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Execute {
    /// Name of the job
    pub(crate) job: String,

    /// Values of its arguments: all behind the first `=` is the value, whatever it holds
    #[arg(value_name = "NAME=VALUE")]
    pub(crate) values: Vec<String>,

    /// Values from a YAML file; those on the command line win; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// The value of one argument from a file, byte by byte; `-` reads standard input
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) value_file: Vec<String>,

    /// Ask for the value of this argument, and show nothing of it
    #[arg(long, value_name = "NAME")]
    pub(crate) ask: Vec<String>,

    /// A variable on top of the job's own
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,

    /// Show where it is, then its log, then its outcome, which is the exit code too
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// Wait for its end without showing its log; the outcome is the exit code
    #[arg(long, short, conflicts_with = "follow")]
    pub(crate) wait: bool,

    /// With --follow: bytes as the job wrote them, escapes and all
    #[arg(long, requires = "follow")]
    pub(crate) raw: bool,

    /// With --follow: when each line was written
    #[arg(long, requires = "follow", conflicts_with = "raw")]
    pub(crate) timestamps: bool,
}

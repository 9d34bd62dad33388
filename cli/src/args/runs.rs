//! Arguments of what concerns runs and their logs.

use clap::Args as Group;

use super::RunName;

#[derive(Debug, Group)]
pub(crate) struct Getlogs {
    #[command(flatten)]
    pub(crate) run: RunName,

    /// Go on with what it writes until it ends
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// Only this task, by name or place
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,

    /// An earlier attempt, from 1; otherwise the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,

    /// Bytes as the job wrote them, escapes and all, and nothing else
    #[arg(long)]
    pub(crate) raw: bool,

    /// When each line was written
    #[arg(long, conflicts_with = "raw")]
    pub(crate) timestamps: bool,

    /// Only so many lines from the end
    #[arg(long, value_name = "LINES", conflicts_with_all = ["follow", "raw"])]
    pub(crate) tail: Option<usize>,
}

#[derive(Debug, Group)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) run: RunName,
}

#[derive(Debug, Group)]
pub(crate) struct Runs {
    /// Only of this job, or of this project, `owner/name`
    pub(crate) job: Option<String>,

    /// Only of projects that match, as in 'acme/*'
    #[arg(long, value_name = "OWNER/NAME", conflicts_with = "job")]
    pub(crate) project: Option<String>,

    /// Only of this branch
    #[arg(long)]
    pub(crate) branch: Option<String>,

    /// Only of this person or token
    #[arg(long, value_name = "WHO")]
    pub(crate) by: Option<String>,

    /// Only of this group
    #[arg(long)]
    pub(crate) group: Option<String>,

    /// Only those that failed, timed out or were lost
    #[arg(long)]
    pub(crate) failed: bool,

    /// Only those since then: `2h`, `3d`, `today`, `yesterday`, `2026-11-20`, `2026-11-20T08:00`
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,

    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 30)]
    pub(crate) limit: usize,
}

#[derive(Debug, Group)]
pub(crate) struct Cancel {
    /// `name#42`, a job's name for its last run, or any unique part of an id
    #[arg(value_name = "RUN")]
    pub(crate) run: String,

    /// End it without the executor's consent; what it did meanwhile is dropped
    #[arg(long)]
    pub(crate) force: bool,

    /// Why, for everyone to see
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct Retry {
    #[command(flatten)]
    pub(crate) run: RunName,

    /// Only tasks that did not succeed; what succeeded keeps its results
    #[arg(long)]
    pub(crate) failed: bool,

    /// Show where it is, then its log, then its outcome, which is the exit code too
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Why {
    #[command(flatten)]
    pub(crate) run: RunName,
}

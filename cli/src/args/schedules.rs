//! Arguments of what concerns schedules; they are written in job files, not here.

use clap::{Args as Group, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// List schedules with their next moment and their last run
    #[command(visible_alias = "ls")]
    List(ScheduleList),
    /// Show a schedule: its rule, its next five moments, its last runs
    Describe(ScheduleName),
    /// Let a schedule make no runs until it is resumed
    Pause(ScheduleName),
    /// Let a schedule make runs again; what came while it was paused is not made up for
    Resume(ScheduleName),
    /// Make a run as the schedule would, now
    Run(ScheduleRun),
}

#[derive(Debug, Group)]
pub(crate) struct ScheduleName {
    /// `JOB/2` for the second of a job, `JOB` for its only one
    #[arg(value_name = "SCHEDULE")]
    pub(crate) schedule: String,
}

#[derive(Debug, Group)]
pub(crate) struct ScheduleList {
    /// Only those of this job
    pub(crate) job: Option<String>,

    /// Only names, one on each line
    #[arg(long)]
    pub(crate) names: bool,
}

#[derive(Debug, Group)]
pub(crate) struct ScheduleRun {
    #[command(flatten)]
    pub(crate) name: ScheduleName,

    /// Show its log until it ends; its fate is the exit code
    #[arg(long, short)]
    pub(crate) follow: bool,
}

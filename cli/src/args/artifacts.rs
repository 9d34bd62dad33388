//! Arguments of what concerns artifacts.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand};

use super::RunName;

#[derive(Debug, Subcommand)]
pub(crate) enum Artifacts {
    /// List what a run kept
    #[command(visible_alias = "ls")]
    List(ArtifactList),
    /// Fetch an artifact and unpack it; what was fetched before a break is not fetched again
    #[command(visible_alias = "download")]
    Get(ArtifactGet),
}

#[derive(Debug, Group)]
pub(crate) struct ArtifactList {
    #[command(flatten)]
    pub(crate) run: RunName,

    /// Only of this task
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct ArtifactGet {
    /// The run, then the artifact; the artifact alone is that of the last run executed from here
    #[arg(value_name = "[RUN] NAME", num_args = 1..=2, required = true)]
    pub(crate) names: Vec<String>,

    /// The task that kept it, where several kept one of this name
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,

    /// Unpack into this folder; otherwise into a new one with the artifact's name
    #[arg(long, value_name = "DIR", conflicts_with = "raw")]
    pub(crate) into: Option<PathBuf>,

    /// Write the packed bytes into this file, as they are kept (tar with zstd)
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: Option<PathBuf>,

    /// Also into a folder that is not empty, or over a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

//! Arguments about secrets. No value is ever one of them: other users of the machine could see it.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Write a secret, or replace its value; it is asked for, or read from standard input
    Set(SecretSet),
    /// List secrets with their age and last use, never with their values
    #[command(visible_alias = "ls")]
    List(SecretList),
    /// Remove a secret
    #[command(visible_alias = "rm", alias = "delete")]
    Remove(SecretRemove),
}

/// Whose secrets; nothing: those of the project whose checkout this is.
#[derive(Debug, Group)]
#[group(multiple = false)]
pub(crate) struct Scope {
    /// Those of this job
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,

    /// Those of this project
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) project: Option<String>,

    /// Those of this owner of projects, or organization of jobs
    #[arg(long, value_name = "NAME")]
    pub(crate) organization: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct SecretSet {
    /// Its name, as jobs and pipelines say it
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) scope: Scope,

    /// Read the value from this file, as it is; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Accept a value of fewer than 8 bytes, which logs cannot mask
    #[arg(long)]
    pub(crate) allow_short: bool,
}

#[derive(Debug, Group)]
pub(crate) struct SecretList {
    #[command(flatten)]
    pub(crate) scope: Scope,

    /// Those of every job, project and organization
    #[arg(long, conflicts_with_all = ["job", "project", "organization"])]
    pub(crate) all: bool,
}

#[derive(Debug, Group)]
pub(crate) struct SecretRemove {
    /// Its name
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) scope: Scope,
}

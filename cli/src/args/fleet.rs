//! Arguments of what an operator asks for: executors and tokens.

use clap::{Args as Group, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Executor {
    /// Make a registration token for a new machine; it is shown once
    Token(RegistrationToken),
    /// List executors
    #[command(visible_alias = "ls")]
    List(ExecutorList),
    /// Show an executor and what it is doing
    Describe(ExecutorName),
    /// Give an executor no new work
    Drain(Drain),
    /// Give a drained or quarantined executor work again
    Resume(ExecutorName),
    /// Take an executor out of service until somebody resumes it
    Quarantine(Quarantine),
    /// Forget an executor
    #[command(alias = "rm")]
    Remove(Remove),
}

#[derive(Debug, Group)]
pub(crate) struct RegistrationToken {
    /// A label it may register with, may be repeated: `word`, `key=value`, or `!word`
    #[arg(long, short, value_name = "LABEL")]
    pub(crate) label: Vec<String>,

    /// How many machines may register with it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) uses: u32,

    /// How long it is good for
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub(crate) expires: String,

    /// Put it into this file, for this user alone, and show it nowhere
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<std::path::PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct ExecutorList {
    /// Only with this label, may be repeated
    #[arg(long, short, value_name = "LABEL")]
    pub(crate) label: Vec<String>,
}

#[derive(Debug, Group)]
pub(crate) struct ExecutorName {
    /// Name of the executor, or any unique part of its id
    #[arg(value_name = "EXECUTOR")]
    pub(crate) executor: String,
}

#[derive(Debug, Group)]
pub(crate) struct Drain {
    #[command(flatten)]
    pub(crate) name: ExecutorName,

    /// Wait until it has nothing to do any more
    #[arg(long, short)]
    pub(crate) wait: bool,

    /// Why, for everyone to see
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct Quarantine {
    #[command(flatten)]
    pub(crate) name: ExecutorName,

    /// Why, for everyone to see
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Debug, Group)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) name: ExecutorName,

    /// Even while it holds attempts; they are treated as lost
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make an API token; it is shown once
    Create(TokenCreate),
    /// List API tokens, and when each was used last
    #[command(visible_alias = "ls")]
    List,
    /// Make a new value for an API token; it is shown once
    Rotate(TokenRotate),
    /// End an API token, on open calls too
    Revoke(TokenName),
}

#[derive(Debug, Group)]
pub(crate) struct TokenName {
    /// Name of the token
    pub(crate) name: String,
}

#[derive(Debug, Group)]
pub(crate) struct TokenCreate {
    /// Name of the token
    pub(crate) name: String,

    /// The person or script it is for; otherwise you
    #[arg(long = "for", value_name = "WHO")]
    pub(crate) owner: Option<String>,

    /// How long it is good for; otherwise until it is revoked
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct TokenRotate {
    /// Name of the token
    pub(crate) name: String,

    /// How long the old value goes on working; otherwise not at all
    #[arg(long, value_name = "DURATION")]
    pub(crate) overlap: Option<String>,
}

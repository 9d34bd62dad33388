//! Arguments of what concerns projects.

use clap::{Args as Group, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Project {
    /// Track a repository: what is pushed to it is built
    Add(ProjectAdd),
    /// List projects
    #[command(visible_alias = "ls")]
    List(ProjectList),
    /// Show a project: its settings, its webhook, the newest run of each branch
    Describe(ProjectName),
    /// Make runs of a project again
    Enable(ProjectName),
    /// Make no runs of a project until it is enabled
    Disable(ProjectName),
    /// Change settings of a project; what is not named stays
    Set(ProjectSet),
    /// Forget a project; its runs and their logs stay
    #[command(alias = "rm")]
    Remove(ProjectName),
    /// Look after the webhook of a project
    #[command(subcommand)]
    Hook(Hook),
    /// Look at a repository now, as the poller would
    Poll(ProjectName),
    /// List what was received for a project and what was decided, newest first
    Events(ProjectEvents),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Hook {
    /// Ask the forge to send something, to see that it arrives
    Test(ProjectName),
    /// Make a new secret for the webhook; it is shown once
    Rotate(HookRotate),
}

#[derive(Debug, Group)]
pub(crate) struct ProjectName {
    /// Name of the project, `owner/name`; otherwise the one of this checkout
    #[arg(value_name = "OWNER/NAME")]
    pub(crate) project: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct ProjectAdd {
    /// Address of the repository, https or ssh; otherwise the one that this checkout is pushed to
    pub(crate) url: Option<String>,

    /// What to call it; otherwise the last two parts of the address
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) name: Option<String>,

    /// Register the webhook at the forge; that needs --forge-secret
    #[arg(long)]
    pub(crate) hook: bool,

    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Group)]
pub(crate) struct ProjectSet {
    #[command(flatten)]
    pub(crate) name: ProjectName,

    /// Address of the repository, https or ssh
    #[arg(long)]
    pub(crate) url: Option<String>,

    /// Register the webhook at the forge; that needs --forge-secret
    #[arg(long)]
    pub(crate) hook: bool,

    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What an operator decides of a project; the same to add and to change one.
#[derive(Debug, Default, Group)]
pub(crate) struct Settings {
    /// What serves the repository; otherwise the address tells
    #[arg(long, value_enum)]
    pub(crate) forge: Option<Forge>,

    /// What is built when nothing else is said; otherwise the repository's own default
    #[arg(long)]
    pub(crate) branch: Option<String>,

    /// A word to filter lists by; '' for none
    #[arg(long)]
    pub(crate) group: Option<String>,

    /// Look at the repository this often, as in `5m`; `off`: only when asked
    #[arg(long, value_name = "EVERY")]
    pub(crate) poll: Option<String>,

    /// Keep runs, logs and artifacts so long, as in `30d`; `default`: as the fleet does
    #[arg(long, value_name = "DURATION")]
    pub(crate) retention: Option<String>,

    /// Name of the secret that opens the repository; '' for none
    #[arg(long, value_name = "NAME")]
    pub(crate) git_secret: Option<String>,

    /// Name of the secret with the token for the forge: statuses, webhooks; '' for none
    #[arg(long, value_name = "NAME")]
    pub(crate) forge_secret: Option<String>,

    /// Build pull requests from forks too; they are given no secrets
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOLEAN")]
    pub(crate) forks: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Forge {
    Github,
    Gitlab,
    #[value(alias = "forgejo")]
    Gitea,
    Bitbucket,
    /// A git host without a forge
    Plain,
}

#[derive(Debug, Group)]
pub(crate) struct ProjectList {
    /// Only names that match this pattern, as in 'acme/*'
    pub(crate) pattern: Option<String>,

    /// Only of this group
    #[arg(long)]
    pub(crate) group: Option<String>,

    /// Only names, one on each line
    #[arg(long)]
    pub(crate) names: bool,
}

#[derive(Debug, Group)]
pub(crate) struct HookRotate {
    #[command(flatten)]
    pub(crate) name: ProjectName,

    /// How long the old secret goes on working; otherwise not at all
    #[arg(long, value_name = "DURATION")]
    pub(crate) overlap: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct ProjectEvents {
    #[command(flatten)]
    pub(crate) name: ProjectName,

    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 30)]
    pub(crate) limit: usize,
}

/// `repos list`, as it was typed at a predecessor.
#[derive(Debug, Group)]
pub(crate) struct Repos {
    #[arg(hide = true)]
    pub(crate) verb: Option<String>,
}

impl Forge {
    /// Its word in the contract.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Gitea => "gitea",
            Self::Bitbucket => "bitbucket",
            Self::Plain => "",
        }
    }
}

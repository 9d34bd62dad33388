//! Arguments of what reads definitions and talks to nobody.

use std::path::PathBuf;

use clap::{Args as Group, ValueEnum};

#[derive(Debug, Group)]
pub(crate) struct Validate {
    /// Files to check; otherwise the ocelot.yml here, or in the top folder of the checkout. A job file
    /// is known by its `name`
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct Explain {
    /// The file to explain; otherwise the ocelot.yml here, or in the top folder of the checkout
    pub(crate) file: Option<PathBuf>,

    /// What would happen; `--tag` alone is a tag, `--source` a pull request, all else a push
    #[arg(long, value_enum)]
    pub(crate) event: Option<EventKind>,

    /// The branch that is pushed or, for a pull request, its target; otherwise the checkout's
    #[arg(long, required_if_eq("event", "pull-request"))]
    pub(crate) branch: Option<String>,

    /// The source branch of a pull request into `--branch`
    #[arg(long, required_if_eq("event", "pull-request"), requires = "branch", conflicts_with = "tag")]
    pub(crate) source: Option<String>,

    /// The tag that is pushed
    #[arg(long, required_if_eq("event", "tag"))]
    pub(crate) tag: Option<String>,

    /// The commit's message; otherwise the checkout's
    #[arg(long)]
    pub(crate) message: Option<String>,

    /// A path that changed, may be repeated; without it, `paths` conditions hold
    #[arg(long, value_name = "PATH")]
    pub(crate) changed: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventKind {
    Push,
    Tag,
    #[value(alias = "pull_request")]
    PullRequest,
    Schedule,
    Manual,
    Upstream,
}

impl Explain {
    pub(crate) fn event(&self) -> EventKind {
        match (self.event, &self.source, &self.tag) {
            (Some(event), _, _) => event,
            (None, Some(_), _) => EventKind::PullRequest,
            (None, None, Some(_)) => EventKind::Tag,
            (None, None, None) => EventKind::Push,
        }
    }
}

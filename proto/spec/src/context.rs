//! What a run is made for: the event, and the facts about it that conditions and `${...}` ask for.
//!
//! Whoever calls has found these facts out; nothing here looks at a repository or a clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::template::Name;

/// What started a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Push { branch: String },
    Tag { tag: String },
    PullRequest { number: u64, source: String, target: String },
    Schedule { branch: String },
    Manual { branch: Option<String>, tag: Option<String> },
    Upstream { branch: String },
}

impl Event {
    /// The word that `when: {event: ..}` has for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Push { .. } => "push",
            Self::Tag { .. } => "tag",
            Self::PullRequest { .. } => "pull_request",
            Self::Schedule { .. } => "schedule",
            Self::Manual { .. } => "manual",
            Self::Upstream { .. } => "upstream",
        }
    }

    /// The branch that conditions speak of: of a pull request its target.
    pub fn branch(&self) -> Option<&str> {
        match self {
            Self::Push { branch } | Self::Schedule { branch } | Self::Upstream { branch } => Some(branch),
            Self::PullRequest { target, .. } => Some(target),
            Self::Manual { branch, .. } => branch.as_deref(),
            Self::Tag { .. } => None,
        }
    }

    /// The source branch of a pull request.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::PullRequest { source, .. } => Some(source),
            Self::Push { .. }
            | Self::Tag { .. }
            | Self::Schedule { .. }
            | Self::Manual { .. }
            | Self::Upstream { .. } => None,
        }
    }

    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Tag { tag } => Some(tag),
            Self::Manual { tag, .. } => tag.as_deref(),
            Self::Push { .. } | Self::PullRequest { .. } | Self::Schedule { .. } | Self::Upstream { .. } => {
                None
            }
        }
    }

    /// The branch whose commit is built, which `${branch}` stands for: of a pull request its source.
    pub fn built_branch(&self) -> Option<&str> {
        self.source().or_else(|| self.branch())
    }

    /// The number of the pull request.
    pub fn pull_request(&self) -> Option<u64> {
        match self {
            Self::PullRequest { number, .. } => Some(*number),
            Self::Push { .. }
            | Self::Tag { .. }
            | Self::Schedule { .. }
            | Self::Manual { .. }
            | Self::Upstream { .. } => None,
        }
    }
}

/// Everything a pipeline is resolved against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    pub event: Event,
    pub commit: String,
    pub message: String,
    /// Paths that changed; `None` where nothing can be compared.
    pub changed: Option<Vec<String>>,
    pub project: String,
    pub run_number: u64,
    /// Variables given with the run, which win over all others.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

impl Context {
    /// The value of a name of the run; names of a matrix and of arguments have none here.
    pub(crate) fn value(&self, name: &Name<'_>) -> String {
        match name {
            Name::Branch => self.event.built_branch().unwrap_or_default().to_owned(),
            Name::Tag => self.event.tag().unwrap_or_default().to_owned(),
            Name::Commit => self.commit.clone(),
            Name::Pr => self.event.pull_request().map(|number| number.to_string()).unwrap_or_default(),
            Name::Event => self.event.word().to_owned(),
            Name::Project => self.project.clone(),
            Name::RunNumber => self.run_number.to_string(),
            Name::Matrix(_) | Name::Args(_) => String::new(),
        }
    }

    /// The same within a concurrency group. A pull request's branch may have the name of one of the
    /// project's own; `:` can be in no branch, so the two never share a group and cancel each other.
    /// An event without a branch has a group of its tag or commit, for a group needs a name.
    pub(crate) fn value_in_group(&self, name: &Name<'_>) -> String {
        if *name != Name::Branch {
            return self.value(name);
        }
        match (&self.event, self.event.branch()) {
            (Event::PullRequest { number, .. }, _) => format!("pull_request:{number}"),
            (_, Some(branch)) => branch.to_owned(),
            (_, None) => match self.event.tag() {
                Some(tag) => format!("tag:{tag}"),
                None => format!("commit:{}", self.commit),
            },
        }
    }
}

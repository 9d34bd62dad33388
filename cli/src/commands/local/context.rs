//! What a run of the working tree is said to have been made for.

use std::collections::BTreeMap;

use ocelot_spec::{Context, Event};

use super::execute::split;
use crate::args::{Local, LocalEvent};
use crate::checkout::{Checkout, Snapshot};
use crate::error::{Error, Result};

/// What else the branch is called when nothing says it.
const BRANCH: &str = "main";

/// The event, by its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    Push {
        branch: String,
    },
    PullRequest {
        source: String,
        target: String,
    },
    /// The branch is the one that the workspace comes from.
    Tag {
        tag: String,
        branch: String,
    },
}

impl Names {
    pub(super) fn of(local: &Local, checkout: &Checkout) -> Result<Self> {
        let default = || checkout.default_branch().unwrap_or_else(|| BRANCH.to_owned());
        let own = checkout.branch.clone();
        let event = match (local.event, &local.tag) {
            (Some(event), _) => event,
            (None, Some(_)) => LocalEvent::Tag,
            (None, None) => LocalEvent::Push,
        };
        Ok(match event {
            LocalEvent::Push => Self::Push { branch: local.branch.clone().or(own).unwrap_or_else(default) },
            LocalEvent::PullRequest => Self::PullRequest {
                source: own.unwrap_or_else(default),
                target: local.branch.clone().unwrap_or_else(default),
            },
            LocalEvent::Tag => {
                let tag = local.tag.clone().or_else(|| checkout.tag());
                let tag = tag.ok_or_else(|| {
                    Error::usage("the commit has no tag", "say which: --event tag --tag NAME")
                })?;
                Self::Tag { tag, branch: own.unwrap_or_else(default) }
            }
        })
    }

    /// The branch that the workspace is on.
    pub(super) fn built(&self) -> &str {
        match self {
            Self::Push { branch } | Self::Tag { branch, .. } => branch,
            Self::PullRequest { source, .. } => source,
        }
    }

    fn event(&self) -> Event {
        match self.clone() {
            Self::Push { branch } => Event::Push { branch },
            // Nobody has numbered it.
            Self::PullRequest { source, target } => Event::PullRequest { number: 0, source, target },
            Self::Tag { tag, .. } => Event::Tag { tag },
        }
    }
}

pub(super) fn of(local: &Local, checkout: &Checkout, names: &Names, snapshot: &Snapshot) -> Result<Context> {
    let changed = match names {
        Names::Push { .. } => {
            checkout.default_branch().and_then(|default| checkout.changed(&default, snapshot))
        }
        Names::PullRequest { target, .. } => checkout.changed(target, snapshot),
        Names::Tag { .. } => None,
    };
    let env = local.env.iter().map(|pair| split(pair, "--env")).collect::<Result<BTreeMap<_, _>>>()?;
    Ok(Context {
        event: names.event(),
        commit: snapshot.commit.clone(),
        message: checkout.message.clone().unwrap_or_default(),
        changed,
        project: checkout.project.clone().unwrap_or_else(|| named_by_folder(checkout)),
        run_number: 1,
        env,
    })
}

/// A checkout that is pushed nowhere is called after its folder.
fn named_by_folder(checkout: &Checkout) -> String {
    let folder = checkout.root.as_ref().and_then(|root| root.file_name());
    let name: String = folder
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' })
        .collect();
    let name = name.trim_start_matches(['.', '-']);
    format!("local/{}", if name.is_empty() { "tree" } else { name })
}

//! `ocelot project`: the repositories whose pushes are built.

mod add;
mod change;
mod describe;
mod events;
mod hook;
mod list;

use ocelot_proto::wire;

use super::Session;
use crate::args::{Project, ProjectAdd, ProjectList, ProjectName, Repos, Settings};
use crate::commands::token::milliseconds;
use crate::error::Result;
use crate::show::{Output, plain};

pub(crate) async fn run(project: &Project, session: &Session) -> Result<()> {
    match project {
        Project::Add(add) => self::add(add, session).await,
        Project::List(list) => list::run(list, session).await,
        Project::Describe(name) => self::describe(name, session).await,
        Project::Enable(name) => change::enable(name, true, session).await,
        Project::Disable(name) => change::enable(name, false, session).await,
        Project::Set(set) => change::set(set, session).await,
        Project::Remove(name) => change::remove(name, session).await,
        Project::Hook(hook) => hook::run(hook, session).await,
        Project::Poll(name) => poll(name, session).await,
        Project::Events(events) => events::run(events, session).await,
    }
}

pub(crate) async fn add(add: &ProjectAdd, session: &Session) -> Result<()> {
    add::run(add, session).await
}

pub(crate) async fn describe(name: &ProjectName, session: &Session) -> Result<()> {
    describe::run(name, session).await
}

pub(crate) async fn poll(name: &ProjectName, session: &Session) -> Result<()> {
    events::poll(name, session).await
}

/// `repos list` of a predecessor; anything else that follows is a pattern.
pub(crate) async fn repos(repos: &Repos, session: &Session) -> Result<()> {
    let pattern = repos.verb.clone().filter(|verb| verb != "list");
    list::run(&ProjectList { pattern, group: None, names: false }, session).await
}

/// Makes of what was typed what is sent; what was not typed is left out.
fn settings(typed: &Settings) -> Result<wire::ProjectSettings> {
    let period = |text: &Option<String>, nothing: &str| match text.as_deref() {
        None => Ok(None),
        Some(text) if text == nothing || text == "0" => Ok(Some(0)),
        Some(text) => milliseconds(Some(text)).map(Some),
    };
    Ok(wire::ProjectSettings {
        url: None,
        forge: typed.forge.map(|forge| forge.word().to_owned()),
        default_branch: typed.branch.clone(),
        group: typed.group.clone(),
        enabled: None,
        retention_ms: period(&typed.retention, "default")?,
        poll_every_ms: period(&typed.poll, "off")?,
        git_secret: typed.git_secret.clone(),
        forge_secret: typed.forge_secret.clone(),
        builds_forks: typed.forks,
    })
}

/// Tells what is left for a person to do.
fn tell_left(left_to_do: &[String], output: &Output) {
    if left_to_do.is_empty() || output.is_json() {
        return;
    }
    output.note("left to do by hand:");
    for sentence in left_to_do {
        output.note(format_args!("  {}", plain(sentence)));
    }
}

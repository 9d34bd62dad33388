//! `ocelot __complete`: names that live on the fleet, for a shell that completes what is typed.
//!
//! A person waits for it with a finger on a key: it answers soon or not at all, and never complains.

use std::time::Duration;

use clap::{Arg, Command, CommandFactory};
use ocelot_proto::wire;

use super::Session;
use crate::args::{Args, Complete};
use crate::client::{Api, Client, Repeat};
use crate::error::Result;
use crate::show::plain;
use crate::words;

/// More than this is no help to anybody.
const NAMES_MAX: u32 = 200;

/// What is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Job,
    Run,
    Executor,
    Project,
    Schedule,
    /// What runs are listed of.
    JobOrProject,
}

pub(crate) async fn run(complete: &Complete, session: &Session) -> Result<()> {
    let Some((begun, before)) = complete.words.split_last() else { return Ok(()) };
    let Some(kind) = wanted(&Args::command(), before, begun) else { return Ok(()) };
    let found = async {
        let client = session.client().ok()?;
        names(kind, &client).await.ok()
    };
    let Ok(Some(names)) = tokio::time::timeout(Duration::from_millis(complete.within), found).await else {
        return Ok(());
    };
    let fitting = names.iter().filter(|name| name.starts_with(begun.as_str()));
    let text: String = fitting.map(|name| format!("{}\n", plain(name))).collect();
    session.output.bytes(text.as_bytes())
}

/// Tells what is named by the word that comes after these.
fn wanted(command: &Command, before: &[String], begun: &str) -> Option<Kind> {
    let (mut command, mut at) = (command, 0);
    let mut value_of: Option<&Arg> = None;
    let mut path = Vec::new();
    for word in before {
        if value_of.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            value_of = option(command, word).filter(|_| !word.contains('='));
        } else if let Some(below) = command.find_subcommand(word) {
            command = below;
            path.push(below.get_name());
            at = 0;
        } else {
            at += 1;
        }
    }
    if let Some(arg) = value_of {
        return kind(&path, arg);
    }
    if begun.starts_with('-') || command.has_subcommands() {
        return None;
    }
    kind(&path, command.get_positionals().nth(at)?)
}

/// Returns the option of a word, if a value follows it.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let (long, short) = (word.strip_prefix("--"), word.strip_prefix('-'));
    command.get_arguments().find(|arg| {
        let named = match (long, short) {
            (Some(long), _) => arg.get_long() == Some(long),
            (None, Some(short)) => arg.get_short().is_some_and(|own| short.chars().eq([own])),
            (None, None) => false,
        };
        named
            && arg.get_action().takes_values()
            && arg.get_num_args().is_none_or(|many| many.min_values() > 0)
    })
}

fn kind(path: &[&str], arg: &Arg) -> Option<Kind> {
    let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    match (path, arg.get_id().as_str(), value) {
        (_, _, Some("RUN" | "[RUN] NAME")) => Some(Kind::Run),
        (_, _, Some("EXECUTOR")) => Some(Kind::Executor),
        (_, _, Some("SCHEDULE")) => Some(Kind::Schedule),
        // A new one has no name yet.
        (["project", "add"] | ["watch"], _, _) => None,
        (_, _, Some("OWNER/NAME")) => Some(Kind::Project),
        (["runs"], "job", _) => Some(Kind::JobOrProject),
        (_, "job", _) => Some(Kind::Job),
        (_, _, _) => None,
    }
}

async fn names(kind: Kind, client: &Client) -> Result<Vec<String>> {
    Ok(match kind {
        Kind::Job => jobs(client).await?,
        Kind::Project => projects(client).await?,
        Kind::JobOrProject => {
            let (jobs, projects) = tokio::join!(jobs(client), projects(client));
            [jobs.unwrap_or_default(), projects.unwrap_or_default()].concat()
        }
        Kind::Executor => {
            let request = wire::ListExecutorsRequest { page_size: NAMES_MAX, ..Default::default() };
            let call = async |api: Api, request| api.admin().list_executors(request).await;
            let found = client.call("list executors", Repeat::Safe, request, call).await?;
            found.executors.into_iter().map(|executor| executor.name).collect()
        }
        Kind::Schedule => {
            let request = wire::ListSchedulesRequest { page_size: NAMES_MAX, ..Default::default() };
            let call = async |api: Api, request| api.schedules().list_schedules(request).await;
            let found = client.call("list schedules", Repeat::Safe, request, call).await?;
            found.schedules.into_iter().map(|schedule| schedule.name).collect()
        }
        Kind::Run => {
            let request = wire::ListRunsRequest { page_size: NAMES_MAX, ..Default::default() };
            let call = async |api: Api, request| api.runs().list_runs(request).await;
            let found = client.call("list runs", Repeat::Safe, request, call).await?;
            found.runs.iter().map(words::run_name).collect()
        }
    })
}

async fn jobs(client: &Client) -> Result<Vec<String>> {
    let request = wire::ListJobsRequest { page_size: NAMES_MAX, ..Default::default() };
    let call = async |api: Api, request| api.jobs().list_jobs(request).await;
    let found = client.call("list jobs", Repeat::Safe, request, call).await?;
    Ok(found.jobs.into_iter().map(|job| job.name).collect())
}

async fn projects(client: &Client) -> Result<Vec<String>> {
    let request = wire::ListProjectsRequest { page_size: NAMES_MAX, ..Default::default() };
    let call = async |api: Api, request| api.projects().list_projects(request).await;
    let found = client.call("list projects", Repeat::Safe, request, call).await?;
    Ok(found.projects.into_iter().map(|project| project.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<Kind> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (begun, before) = words.split_last().unwrap();
        wanted(&Args::command(), before, begun)
    }

    #[test]
    fn what_is_typed_so_far_says_what_is_named_next() {
        assert_eq!(of("execute h"), Some(Kind::Job));
        assert_eq!(of("exec --follow h"), Some(Kind::Job));
        assert_eq!(of("getlogs "), Some(Kind::Run));
        assert_eq!(of("logs --task a b"), Some(Kind::Run));
        assert_eq!(of("--server x cancel "), Some(Kind::Run));
        assert_eq!(of("executor drain b"), Some(Kind::Executor));
        assert_eq!(of("project describe a"), Some(Kind::Project));
        assert_eq!(of("build --project a"), Some(Kind::Project));
        assert_eq!(of("schedule pause r"), Some(Kind::Schedule));
        assert_eq!(of("schedule list r"), Some(Kind::Job));
        assert_eq!(of("runs a"), Some(Kind::JobOrProject));
    }

    #[test]
    fn where_nothing_lives_nothing_is_asked() {
        for line in [
            "",
            "exec",
            "--server ",
            "execute --",
            "execute hello NAME",
            "project add a",
            "list a",
            "getlogs --task ",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}

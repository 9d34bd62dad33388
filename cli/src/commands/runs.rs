//! `ocelot runs`: what ran, newest first.

use ocelot_proto::wire;
use serde::Serialize;

use super::Session;
use crate::args::Runs;
use crate::client::{Api, Client, Repeat};
use crate::error::{Error, Result};
use crate::shape;
use crate::show::{Output, Table, Tone, duration};
use crate::words::{self, commit};

/// The most that one page holds.
const PAGE: usize = 500;

#[derive(Debug, Serialize)]
struct Listed {
    runs: Vec<shape::Run>,
    /// There are older ones that were not asked for.
    more: bool,
}

pub(crate) async fn run(runs: &Runs, session: &Session) -> Result<()> {
    let output = &session.output;
    let since = match &runs.since {
        None => 0,
        Some(text) => output.times.since(text).ok_or_else(|| {
            Error::usage(
                format!("{text:?} is no moment"),
                "say 2h, 3d, today, yesterday, 2026-11-20 or 2026-11-20T08:00",
            )
        })?,
    };
    // A job's name has no `/`, a project's always has.
    let (project, job) = match &runs.job {
        Some(name) if name.contains('/') => (Some(name.clone()), None),
        job => (runs.project.clone(), job.clone()),
    };
    let request = wire::ListRunsRequest {
        job: job.unwrap_or_default(),
        project: project.unwrap_or_default(),
        branch: runs.branch.clone().unwrap_or_default(),
        by: runs.by.clone().unwrap_or_default(),
        group: runs.group.clone().unwrap_or_default(),
        failed: runs.failed,
        since_unix_us: since,
        page_size: 0,
        page_token: String::new(),
    };
    let client = session.client()?;
    let (found, more) = pages(&client, request, runs.limit).await?;
    if found.is_empty() && !output.is_json() {
        output.note("no runs fit; execute a job: ocelot execute NAME; or build this commit: ocelot build");
        return Ok(());
    }
    let table = match found.iter().any(|run| run.commit.is_some()) {
        true => of_commits(&found, output),
        false => of_jobs(&found, output),
    };
    let shapes = found.iter().map(shape::Run::from).collect();
    output.result(table, &Listed { runs: shapes, more })?;
    if more && !output.is_json() {
        output.note(format_args!(
            "(there are older ones; see more of them: -n {})",
            runs.limit.saturating_mul(10)
        ));
    }
    Ok(())
}

/// What every list of runs says of one: name, state, when, how long, by whom.
fn cells(run: &wire::RunSummary, output: &Output) -> [(Tone, String); 5] {
    let (tone, word) = words::run_word(run);
    let end = if run.finished_unix_us > 0 { run.finished_unix_us } else { output.times.now_us };
    [
        (Tone::Strong, words::run_name(run)),
        (tone, word.to_owned()),
        (Tone::Plain, output.times.ago(run.accepted_unix_us)),
        (Tone::Plain, duration(end - run.accepted_unix_us)),
        (Tone::Plain, run.trigger.as_ref().map(words::who).unwrap_or_default()),
    ]
}

fn of_jobs(runs: &[wire::RunSummary], output: &Output) -> Table {
    let mut table = Table::new(["RUN", "STATE", "ACCEPTED", "TOOK", "BY"], output.style, output.width);
    runs.iter().for_each(|run| table.row(cells(run, output)));
    table
}

/// With what they were built of, as soon as one of them was.
fn of_commits(runs: &[wire::RunSummary], output: &Output) -> Table {
    let head = ["RUN", "STATE", "ACCEPTED", "TOOK", "BY", "BRANCH", "COMMIT", "SUBJECT"];
    let mut table = Table::new(head, output.style, output.width);
    for run in runs {
        let [name, state, accepted, took, by] = cells(run, output);
        let of = |say: fn(&wire::Commit) -> String| run.commit.as_ref().map_or_else(|| "-".to_owned(), say);
        let place = (Tone::Plain, of(commit::place));
        let id = (Tone::Dim, of(|commit| commit::short(&commit.id)));
        table.row([
            name,
            state,
            accepted,
            took,
            by,
            place,
            id,
            (Tone::Plain, of(|commit| commit.subject.clone())),
        ]);
    }
    table
}

/// The newest runs up to a limit, and whether there are older ones.
async fn pages(
    client: &Client,
    mut request: wire::ListRunsRequest,
    limit: usize,
) -> Result<(Vec<wire::RunSummary>, bool)> {
    let mut found = Vec::new();
    loop {
        let wanted = (limit - found.len()).min(PAGE);
        if wanted == 0 {
            return Ok((found, !request.page_token.is_empty()));
        }
        request.page_size = u32::try_from(wanted).unwrap_or(u32::MAX);
        let list = async |api: Api, request| api.runs().list_runs(request).await;
        let page = client.call("list runs", Repeat::Safe, request.clone(), list).await?;
        found.extend(page.runs);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            return Ok((found, false));
        }
        request.page_token = page.next_page_token;
        found.truncate(limit);
    }
}

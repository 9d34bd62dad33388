//! `ocelot describe`: what a job is, what it wants to be given, and what it was before.

use std::fmt::Write;

use ocelot_proto::wire;
use serde::Serialize;

use super::Session;
use crate::args::{Describe, ProjectName, RunName, Status};
use crate::client::{Api, Client, Repeat};
use crate::error::Result;
use crate::shape;
use crate::show::{Output, Table, Tone, plain};

#[derive(Debug, Serialize)]
struct History {
    versions: Vec<shape::Job>,
}

pub(crate) async fn run(describe: &Describe, session: &Session) -> Result<()> {
    // A job's name has neither `#` nor `/`: what has one is a run, or a project.
    if describe.job.contains('#') {
        let run = RunName { run: Some(describe.job.clone()) };
        return super::status::run(&Status { run }, session).await;
    }
    if describe.job.contains('/') {
        return super::project::describe(&ProjectName { project: Some(describe.job.clone()) }, session).await;
    }
    let client = session.client()?;
    let output = &session.output;
    if describe.history {
        return history(&describe.job, &client, output).await;
    }
    let job = job(&client, &describe.job, describe.version.unwrap_or(0)).await?;
    let shape = shape::Job { definition: Some(job.definition.clone()), ..shape::Job::from(&job) };
    if describe.definition && !output.is_json() {
        // Exactly as it was sent; it is a file, not a message.
        return output.bytes(job.definition.as_bytes());
    }
    output.result(text(&job, output), &shape)
}

/// Returns a job; version 0 is the newest.
pub(crate) async fn job(client: &Client, name: &str, version: u64) -> Result<wire::Job> {
    let request = wire::GetJobRequest { name: name.to_owned(), version };
    let get = async |api: Api, request| api.jobs().get_job(request).await;
    let doing = format!("describe the job {}", plain(name));
    let answer = client.call(&doing, Repeat::Safe, request, get).await;
    let answer = answer.map_err(|error| error.with_hint("see what there is: ocelot list"))?;
    Ok(answer.job.unwrap_or_default())
}

async fn history(name: &str, client: &Client, output: &Output) -> Result<()> {
    let mut request =
        wire::ListJobVersionsRequest { name: name.to_owned(), page_size: 100, page_token: String::new() };
    let mut versions = Vec::new();
    loop {
        let list = async |api: Api, request| api.jobs().list_job_versions(request).await;
        let doing = format!("list the versions of {}", plain(name));
        let page = client.call(&doing, Repeat::Safe, request.clone(), list).await;
        let page = page.map_err(|error| error.with_hint("see what there is: ocelot list"))?;
        versions.extend(page.versions);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let mut table = Table::new(["VERSION", "WHEN", "BY", "DESCRIPTION"], output.style, output.width);
    for job in &versions {
        table.row([
            (Tone::Strong, job.version.to_string()),
            (Tone::Plain, output.times.ago(job.updated_unix_us)),
            (Tone::Plain, job.updated_by.clone()),
            (Tone::Plain, job.description.lines().next().unwrap_or_default().to_owned()),
        ]);
    }
    let shapes = versions.iter().map(shape::Job::from).collect();
    output.result(table, &History { versions: shapes })
}

fn text(job: &wire::Job, output: &Output) -> String {
    let mut text = String::new();
    let name = plain(&job.name);
    let mut field = |title: &str, value: String| {
        let title = output.style.paint(Tone::Dim, format!("{title:<13}"));
        // Writing to a string cannot fail.
        let _always = writeln!(text, "{title}{value}");
    };
    field("Job", output.style.paint(Tone::Strong, &name).to_string());
    if !job.description.is_empty() {
        field("Description", plain(job.description.trim_end()));
    }
    let by =
        if job.updated_by.is_empty() { String::new() } else { format!(" by {}", plain(&job.updated_by)) };
    field("Version", format!("{}, {}{by}", job.version, output.times.ago(job.updated_unix_us)));
    if !job.authorized_groups.is_empty() {
        field("For", plain(&job.authorized_groups.join(", ")));
    }
    field("Execute", usage(job));
    if job.arguments.is_empty() {
        return text;
    }
    let head = ["ARGUMENT", "REQUIRED", "DEFAULT", "TAKES", "DESCRIPTION"];
    let mut table = Table::new(head, output.style, output.width);
    for argument in &job.arguments {
        let takes = match (&argument.choices[..], argument.secret) {
            (_, true) => "a secret".to_owned(),
            ([], false) if argument.pattern.is_empty() => "any text".to_owned(),
            ([], false) => argument.pattern.clone(),
            (choices, false) => choices.join(" or "),
        };
        let required = if argument.required { (Tone::Warn, "yes") } else { (Tone::Dim, "no") };
        table.row([
            (Tone::Strong, argument.name.clone()),
            (required.0, required.1.to_owned()),
            (Tone::Plain, argument.default.clone().unwrap_or_else(|| "-".to_owned())),
            (Tone::Plain, takes),
            (Tone::Plain, argument.description.clone()),
        ]);
    }
    text.push_str(&format!("\n{table}"));
    text
}

/// How the job is executed: what must be given, with its secrets asked for.
fn usage(job: &wire::Job) -> String {
    let mut usage = format!("ocelot execute {}", plain(&job.name));
    for argument in job.arguments.iter().filter(|argument| argument.required) {
        let name = plain(&argument.name);
        usage.push_str(&if argument.secret { format!(" --ask {name}") } else { format!(" {name}=...") });
    }
    usage.push_str(" --follow");
    usage
}

//! `ocelot list`: the jobs there are.

use ocelot_proto::wire;
use serde::Serialize;

use super::Session;
use crate::args::List;
use crate::client::{Api, Client, Repeat};
use crate::error::Result;
use crate::shape;
use crate::show::{Table, Tone, plain};

#[derive(Debug, Serialize)]
struct Jobs {
    jobs: Vec<shape::Job>,
}

pub(crate) async fn run(list: &List, session: &Session) -> Result<()> {
    let client = session.client()?;
    let jobs = jobs(&client, list.pattern.clone().unwrap_or_default()).await?;
    let output = &session.output;
    let shapes = Jobs { jobs: jobs.iter().map(shape::Job::from).collect() };
    if list.names {
        let names: String = jobs.iter().map(|job| format!("{}\n", plain(&job.name))).collect();
        return output.result(names, &shapes);
    }
    if jobs.is_empty() && !output.is_json() {
        match &list.pattern {
            Some(pattern) => output.note(format_args!("no job matches {pattern}; see all: ocelot list")),
            None => output.note(
                "no jobs yet; write one: ocelot create --template > hello.job.yml; ocelot create -f hello.job.yml",
            ),
        }
        return Ok(());
    }
    let mut table = Table::new(["JOB", "ARGUMENTS", "UPDATED", "DESCRIPTION"], output.style, output.width);
    for job in &jobs {
        let arguments = job.arguments.iter().map(|argument| argument.name.as_str()).collect::<Vec<_>>();
        table.row([
            (Tone::Strong, job.name.clone()),
            (Tone::Plain, if arguments.is_empty() { "-".to_owned() } else { arguments.join(" ") }),
            (Tone::Dim, output.times.ago(job.updated_unix_us)),
            (Tone::Plain, job.description.lines().next().unwrap_or_default().to_owned()),
        ]);
    }
    output.result(table, &shapes)
}

/// Every job that matches, page by page, sorted by name.
async fn jobs(client: &Client, name: String) -> Result<Vec<wire::Job>> {
    let mut request = wire::ListJobsRequest { name, page_size: 100, page_token: String::new() };
    let mut jobs = Vec::new();
    loop {
        let list = async |api: Api, request| api.jobs().list_jobs(request).await;
        let page = client.call("list jobs", Repeat::Safe, request.clone(), list).await?;
        jobs.extend(page.jobs);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break;
        }
        request.page_token = page.next_page_token;
    }
    jobs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(jobs)
}

//! `ocelot project events` and `poll`: what happened to a repository, and what was decided for it.

use ocelot_proto::wire;
use ocelot_proto::wire::project_event::Decision;
use serde::Serialize;

use super::Session;
use crate::args::{ProjectEvents, ProjectName};
use crate::client::{Api, Repeat};
use crate::error::Result;
use crate::find_project::named;
use crate::shape;
use crate::show::{Output, Table, Tone, plain};
use crate::words::{self, commit};

/// The most that one page holds.
const PAGE: usize = 500;

#[derive(Debug, Serialize)]
struct Events {
    events: Vec<shape::Event>,
    /// There are older ones that were not asked for.
    more: bool,
}

pub(super) async fn run(events: &ProjectEvents, session: &Session) -> Result<()> {
    let client = session.client()?;
    let project = named(&client, events.name.project.as_deref()).await?;
    let mut request = wire::ListEventsRequest { project, page_size: 0, page_token: String::new() };
    let mut found = Vec::new();
    let more = loop {
        let wanted = events.limit.saturating_sub(found.len()).min(PAGE);
        if wanted == 0 {
            break !request.page_token.is_empty();
        }
        request.page_size = u32::try_from(wanted).unwrap_or(u32::MAX);
        let call = async |api: Api, request| api.projects().list_events(request).await;
        let doing = format!("list the events of {}", plain(&request.project));
        let page = client.call(&doing, Repeat::Safe, request.clone(), call).await;
        let page = page.map_err(|error| error.with_hint("see what there is: ocelot project list"))?;
        found.extend(page.events);
        found.truncate(events.limit);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break false;
        }
        request.page_token = page.next_page_token;
    };
    let nothing = "nothing was received yet; is the webhook set up? ocelot project describe";
    show(&found, more, nothing, &session.output)
}

pub(super) async fn poll(name: &ProjectName, session: &Session) -> Result<()> {
    let client = session.client()?;
    let name = named(&client, name.project.as_deref()).await?;
    let request = wire::PollProjectRequest { name: name.clone() };
    let call = async |api: Api, request| api.projects().poll_project(request).await;
    let doing = format!("look at the repository of {}", plain(&name));
    let answer = client.call(&doing, Repeat::Safe, request, call).await;
    let answer = answer.map_err(|error| error.with_hint("see what there is: ocelot project list"))?;
    show(&answer.events, false, "nothing is new there", &session.output)
}

fn show(events: &[wire::ProjectEvent], more: bool, nothing: &str, output: &Output) -> Result<()> {
    if events.is_empty() && !output.is_json() {
        output.note(nothing);
        return Ok(());
    }
    let head = ["RECEIVED", "EVENT", "COMMIT", "DECISION"];
    let mut table = Table::new(head, output.style, output.width);
    for event in events {
        table.row([
            (Tone::Plain, output.times.ago(event.received_unix_us)),
            (Tone::Plain, event.summary.clone()),
            (Tone::Dim, commit::short(&event.commit)),
            decision(event),
        ]);
    }
    let shapes = events.iter().map(shape::Event::from).collect();
    output.result(table, &Events { events: shapes, more })?;
    if more && !output.is_json() {
        output.note("(there are older ones; see more of them: -n 300)");
    }
    Ok(())
}

fn decision(event: &wire::ProjectEvent) -> (Tone, String) {
    match &event.decision {
        Some(Decision::Run(run)) => {
            let (tone, word) = words::run_word(run);
            (tone, format!("{} {word}", words::run_name(run)))
        }
        Some(Decision::Ignored(why)) => (Tone::Dim, format!("ignored: {why}")),
        Some(Decision::Rejected(why)) => {
            (Tone::Bad, format!("rejected: {}", why.lines().next().unwrap_or_default()))
        }
        Some(Decision::Pending(pending)) if pending.trouble.is_empty() => {
            (Tone::Busy, "is on its way".to_owned())
        }
        Some(Decision::Pending(pending)) => (Tone::Warn, format!("waits: {}", pending.trouble)),
        None => (Tone::Dim, "unknown".to_owned()),
    }
}

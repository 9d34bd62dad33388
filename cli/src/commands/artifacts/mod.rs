//! `ocelot artifacts`: what a run kept, listed and fetched.

mod download;
mod get;

use ocelot_proto::wire;
use serde::Serialize;

use super::Session;
use crate::args::{ArtifactList, Artifacts};
use crate::client::{Api, Client, Repeat};
use crate::error::Result;
use crate::shape;
use crate::show::{Table, Tone, plain};
use crate::words;

pub(crate) async fn run(artifacts: &Artifacts, session: &Session) -> Result<()> {
    match artifacts {
        Artifacts::List(list) => self::list(list, session).await,
        Artifacts::Get(get) => get::run(get, session).await,
    }
}

#[derive(Debug, Serialize)]
struct Kept {
    run: String,
    artifacts: Vec<shape::Artifact>,
}

async fn list(list: &ArtifactList, session: &Session) -> Result<()> {
    let client = session.client()?;
    let output = &session.output;
    let run = session.find(&client, list.run.run.as_deref()).await?.run.unwrap_or_default();
    let name = plain(&words::run_name(&run));
    let kept = of(&client, &run, list.task.clone().unwrap_or_default()).await?;
    let shapes = Kept { run: name.clone(), artifacts: kept.iter().map(shape::Artifact::from).collect() };
    if kept.is_empty() && !output.is_json() {
        let goes_on = words::run_outcome(&run).is_none();
        let yet = if goes_on {
            " yet; it goes on, and what a task keeps is here when the task has ended"
        } else {
            ""
        };
        output.note(format_args!("{name} has no artifacts{yet}"));
        return Ok(());
    }
    let columns = ["TASK", "ARTIFACT", "FILES", "SIZE", "KEPT", "EXPIRES"];
    let mut table = Table::new(columns, output.style, output.width);
    for artifact in &kept {
        let expires = match artifact.expires_unix_us {
            0 => "never".to_owned(),
            at => output.times.ago(at),
        };
        table.row([
            (Tone::Plain, artifact.task.clone()),
            (Tone::Strong, artifact.name.clone()),
            (Tone::Plain, artifact.files.to_string()),
            (Tone::Plain, words::bytes(artifact.size_bytes)),
            (Tone::Dim, output.times.ago(artifact.created_unix_us)),
            (Tone::Dim, expires),
        ]);
    }
    output.result(table, &shapes)
}

/// Asks what a run kept.
async fn of(client: &Client, run: &wire::RunSummary, task: String) -> Result<Vec<wire::Artifact>> {
    let reference = Some(wire::run_reference::Reference::Id(run.id.clone()));
    let request = wire::ListArtifactsRequest { run: Some(wire::RunReference { reference }), task };
    let list = async |api: Api, request| api.artifacts().list_artifacts(request).await;
    Ok(client.call("list artifacts", Repeat::Safe, request, list).await?.artifacts)
}

//! Finding the run that a person means, and remembering the last one that this user executed.

use std::fs;
use std::path::PathBuf;

use ocelot_core::id::RunId;
use ocelot_proto::wire;
use serde::{Deserialize, Serialize};

use crate::client::{Client, Repeat};
use crate::commands::Session;
use crate::error::{Error, Result, Whose};
use crate::words;

/// The last run that was executed from here, and on which fleet.
#[derive(Debug, Serialize, Deserialize)]
struct Last {
    server: String,
    run: RunId,
}

/// How many of the newest runs are looked through for those that a text fits.
const LOOKED_THROUGH: u32 = 500;

impl Session {
    fn last_file(&self) -> Option<PathBuf> {
        Some(self.environment.state_folder()?.join("last-run.json"))
    }

    /// Notes the run that the next command means when it names none.
    pub(crate) fn remember(&self, client: &Client, run: &wire::RunSummary) {
        let Ok(id) = <[u8; 16]>::try_from(&run.id[..]) else { return };
        let Some(file) = self.last_file() else { return };
        let last = Last { server: server(client), run: RunId::from_bytes(id) };
        // A convenience: without it a name must be typed. It is written without waiting for the disk.
        if let (Some(folder), Ok(json)) = (file.parent(), serde_json::to_vec(&last))
            && fs::create_dir_all(folder).is_ok()
        {
            let new = file.with_extension(format!("new-{}", std::process::id()));
            drop(fs::write(&new, json).and_then(|()| fs::rename(&new, &file)));
        }
    }

    fn last(&self, client: &Client) -> Option<RunId> {
        let last: Last = serde_json::from_slice(&fs::read(self.last_file()?).ok()?).ok()?;
        (last.server == server(client)).then_some(last.run)
    }

    /// Finds a run with its tasks. Without a name it is the last one that was executed from here, or
    /// else the newest of all.
    pub(crate) async fn find(&self, client: &Client, name: Option<&str>) -> Result<wire::GetRunResponse> {
        let name = match name {
            Some(name) => Some(spelled_out(client, name).await?),
            None => None,
        };
        let name = name.as_deref();
        let reference = match name {
            Some(name) => by_text(name),
            None => self.unnamed(client).await?,
        };
        let doing = match name {
            Some(name) => format!("find the run {name}"),
            None => "find the last run".to_owned(),
        };
        let request = wire::GetRunRequest { run: Some(reference) };
        let found = client
            .call(&doing, Repeat::Safe, request, async |api, request| api.runs().get_run(request).await)
            .await;
        match (found, name) {
            (Err(error @ Error::Refused { .. }), Some(name)) => match by_last_part(client, name).await {
                Some(found) => Ok(found),
                None => Err(several(client, name, error).await),
            },
            (found, _) => found.map_err(|error| error.with_hint("see the newest: ocelot runs")),
        }
    }

    async fn unnamed(&self, client: &Client) -> Result<wire::RunReference> {
        if let Some(id) = self.last(client) {
            return Ok(crate::follow::by_id(id));
        }
        let request = wire::ListRunsRequest { page_size: 1, ..wire::ListRunsRequest::default() };
        let list = async |api: crate::client::Api, request| api.runs().list_runs(request).await;
        let answer = client.call("find the last run", Repeat::Safe, request, list).await?;
        let Some(run) = answer.runs.into_iter().next() else {
            return Err(Error::Refused {
                what: "there is no run yet".to_owned(),
                hint: Some(
                    "execute a job: ocelot execute NAME; or build this commit: ocelot build".to_owned(),
                ),
                whose: Whose::State,
            });
        };
        self.output.note(format_args!("(the newest run of all: {})", words::run_name(&run)));
        Ok(wire::RunReference { reference: Some(wire::run_reference::Reference::Id(run.id)) })
    }
}

/// Returns `acme/shop#7` for `#7`, in a checkout of that project; any other name as it is.
pub(crate) async fn spelled_out(client: &Client, name: &str) -> Result<String> {
    match name.starts_with('#') {
        true => Ok(format!("{}{name}", crate::find_project::named(client, None).await?)),
        false => Ok(name.to_owned()),
    }
}

/// Finds `acme/shop#7` by `shop#7`, if there is one such project only.
async fn by_last_part(client: &Client, name: &str) -> Option<wire::GetRunResponse> {
    let (project, number) = name.split_once('#').filter(|(project, _)| !project.contains('/'))?;
    // A pattern in it would fit many.
    let plain = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    if project.is_empty() || !project.chars().all(plain) {
        return None;
    }
    let found = crate::find_project::listed(client, &format!("*/{project}"), "").await.ok()?;
    let [project] = &found[..] else { return None };
    let request = wire::GetRunRequest { run: Some(by_text(&format!("{}#{number}", project.name))) };
    let get = async |api: crate::client::Api, request| api.runs().get_run(request).await;
    client.call("find the run", Repeat::Safe, request, get).await.ok()
}

/// Says which runs a text fits, if it fits several.
async fn several(client: &Client, name: &str, error: Error) -> Error {
    let request = wire::ListRunsRequest { page_size: LOOKED_THROUGH, ..wire::ListRunsRequest::default() };
    let list = async |api: crate::client::Api, request| api.runs().list_runs(request).await;
    let Ok(answer) = client.call("list runs", Repeat::Safe, request, list).await else { return error };
    let shapes = answer.runs.iter().map(crate::shape::Run::from);
    let fits: Vec<_> = shapes.filter(|run| run.id.contains(name)).take(10).collect();
    if fits.len() < 2 {
        return error.with_hint("see the newest: ocelot runs");
    }
    let lines: String = fits.iter().map(|run| format!("\n  {}  {}", run.id, run.name)).collect();
    Error::usage(format!("{name} fits more than one run:{lines}"), "name it like this: NAME#NUMBER")
}

pub(crate) fn by_text(text: &str) -> wire::RunReference {
    wire::RunReference { reference: Some(wire::run_reference::Reference::Text(text.to_owned())) }
}

fn server(client: &Client) -> String {
    client.target().urls.first().map(ToString::to_string).unwrap_or_default()
}

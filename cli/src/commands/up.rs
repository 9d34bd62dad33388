//! `ocelot up`: everything on this machine, until it is told to end.

use std::path::PathBuf;

use ocelot_git::Allowed;
use ocelot_proto::wire;

use super::Session;
use super::executor::register;
use crate::args::Up;
use crate::client::{Api, Client, Repeat};
use crate::config::UP;
use crate::error::{Error, Result};
use crate::local::{Beyond, Engine, Local, invitation, put_job};
use crate::up::{Started, hello};
use crate::up_file::{self, UpFile};

pub(crate) async fn run(up: &Up, session: &Session) -> Result<()> {
    let data = folder(up, session)?;
    let git = Allowed::from(&up.git_allow[..]);
    let beyond = Beyond { egress: up.allow_egress.clone(), git };
    let engine = Engine::look(&session.environment).await;
    let local = Local::start(&data, up.listen, &beyond, engine).await?;
    let requests = local.signals()?;
    let own = local.session(session.output.clone(), &session.environment);
    let file = UpFile {
        url: local.url.clone(),
        token: local.token.clone(),
        pid: std::process::id(),
        fingerprint: local.fingerprint.clone(),
    };
    let place = session.environment.state_folder().map(|state| up_file::path(&state));
    if let Some(place) = &place {
        file.write(place).map_err(|source| Error::Unwritable { file: place.clone(), source })?;
    }
    let client = own.client()?;
    local.add_executor(&client, data.join("executor"), git).await?;
    if is_empty(&client).await? {
        put_job(&client, begin_with(&local.engine)).await?;
    }
    let second = match up.listen.ip().is_loopback() {
        true => None,
        false => Some(register(&invitation(&client).await?)),
    };
    let text = Started {
        url: &local.url,
        folder: &data.display().to_string(),
        runtime: local.engine.for_people(),
        elsewhere: session.wanted.context.as_deref().is_some_and(|context| context != UP),
        second_machine: second.as_deref(),
    };
    session.output.note(text.text(session.output.notes).trim_end());
    local.until(requests).await;
    if let Some(place) = &place {
        file.remove(place).map_err(|source| Error::Unwritable { file: place.clone(), source })?;
    }
    Ok(())
}

/// The job that is there to begin with: in an image of this machine, if it has a small one.
fn begin_with(engine: &Engine) -> String {
    match engine {
        Engine::None => hello(false),
        Engine::There { small: None, .. } => hello(true),
        Engine::There { small: Some(image), .. } => hello(true).replace("busybox:1", image),
    }
}

async fn is_empty(client: &Client) -> Result<bool> {
    let call = async |api: Api, request| api.jobs().list_jobs(request).await;
    let request = wire::ListJobsRequest { page_size: 1, ..wire::ListJobsRequest::default() };
    Ok(client.call("list jobs", Repeat::Safe, request, call).await?.jobs.is_empty())
}

fn folder(up: &Up, session: &Session) -> Result<PathBuf> {
    let folder = up.data.clone().or_else(|| session.environment.data_folder());
    let folder =
        folder.ok_or_else(|| Error::usage("there is no home directory", "say where: --data DIRECTORY"))?;
    std::path::absolute(&folder).map_err(|source| Error::Unwritable { file: folder, source })
}

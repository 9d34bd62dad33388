//! `ocelot demo`: all of it once, by itself, in a folder that is gone afterwards.

use std::net::{Ipv4Addr, SocketAddr};

use ocelot_executor::runtime::docker::remove_shared_network;
use ocelot_git::Allowed;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;

use super::{Session, execute};
use crate::client::{Api, Client, Repeat, new_run_id};
use crate::error::{Error, Result};
use crate::follow::{PenKind, Show};
use crate::local::{Beyond, Engine, Local, put_job};

const STAGES: &str = include_str!("demo.job.yml");

pub(crate) async fn run(session: &Session) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("ocelot-demo-").tempdir().map_err(Error::Output)?;
    let output = &session.output;
    output.note("starting a controller and an executor in one process, in a temporary folder");
    let engine = Engine::look(&session.environment).await;
    let nearby = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let local = Local::start(folder.path(), nearby, &Beyond::default(), engine).await?;
    let requests = local.signals()?;
    let own = local.session(output.clone(), &session.environment);
    let client = own.client()?;
    let executor = local.add_executor(&client, folder.path().join("executor"), Allowed::default()).await?;
    let (place, why) = match &local.engine {
        Engine::None => ("runtime: process".to_owned(), "as a process: no container engine answers here"),
        Engine::There { small: None, .. } => {
            ("runtime: process".to_owned(), "as a process: the engine has no small image such as busybox yet")
        }
        Engine::There { small: Some(image), .. } => {
            (format!("image: {image}\npull: never"), "in a container")
        }
    };
    put_job(&client, STAGES.replace("runtime: process", &place)).await?;
    output.note(format_args!("created the job demo; it runs {why}\n"));
    let ended = execute_demo(&own, &client).await;
    output.note("\nthat was a controller, an executor and a run of a job; now yours: ocelot up");
    drop(requests);
    let (request, requests) = tokio::sync::mpsc::channel(1);
    request.try_send(()).ok();
    let engine = local.engine.clone();
    local.until(requests).await;
    if let Engine::There { socket, small: Some(_) } = engine
        && let Err(error) = remove_shared_network(&socket, &executor).await
    {
        output.note(format_args!("the network of the demo's containers is left: {}", chain(&error)));
    }
    ended
}

async fn execute_demo(session: &Session, client: &Client) -> Result<()> {
    let id = new_run_id(SystemClock.wall())?;
    let id = id.as_bytes().to_vec().into();
    let request = wire::ExecuteRequest { id, job: "demo".into(), ..wire::ExecuteRequest::default() };
    let call = async |api: Api, request| api.runs().execute(request).await;
    let run = client.call("execute demo", Repeat::Safe, request, call).await?.run.unwrap_or_default();
    let show = match session.output.is_json() {
        true => PenKind::Json,
        false => PenKind::Lines { timestamps: false },
    };
    execute::to_its_end(session, client, run, Show::Log(show)).await
}

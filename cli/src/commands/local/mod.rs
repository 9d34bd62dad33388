//! `ocelot local`: the working tree, uncommitted changes included, run by a fleet in this process.
//!
//! The tree is never written to: a commit of it is made beside it, and that is what the executor checks
//! out. All else is as on any fleet. The fleet's folder stays, so that caches are warm the next time.

mod context;
mod place;
mod plan;
mod secrets;

use std::net::{Ipv4Addr, SocketAddr};

use ocelot_controller::records::{SourceRecord, Trust};
use ocelot_controller::service::LocalRun;
use ocelot_core::plan::{Plan, Runtime};
use ocelot_executor::runtime::docker::remove_shared_network;
use ocelot_git::Allowed;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;
use ocelot_spec::{Context, FileKind, Pipeline, Resolution};
use tokio::sync::mpsc;

use super::{DEFINITION, Session, execute, read};
use crate::args::{self, LocalRuntime};
use crate::checkout::{Checkout, Snapshot, SnapshotError};
use crate::client::{Api, Client, Repeat, new_run_id};
use crate::error::{Error, Result, Whose};
use crate::follow::{Followed, Interrupt, PenKind, Show, by_id, follow};
use crate::local::{Beyond, Engine, Local};
use crate::show::{Output, plain};
use crate::words::{self, commit};

use place::Place;
use plan::Wish;
use secrets::Secrets;

/// Who runs it; there is nobody else here.
const WHO: &str = "local";

pub(crate) async fn run(local: &args::Local, session: &Session) -> Result<()> {
    let output = &session.output;
    let checkout = Checkout::here();
    let root = checkout.root.clone().ok_or_else(|| {
        Error::usage(
            "this is no git repository",
            "make it one: git init; what git ignores stays out of the run",
        )
    })?;
    let pipeline = pipeline(&root.join(DEFINITION))?;
    let place = Place::open(&session.environment, &root)?;
    if place.is_temporary() {
        output.note("another `ocelot local` runs in this checkout: this one begins with empty caches");
    }
    let names = context::Names::of(local, &checkout)?;
    let message = checkout.message.clone().unwrap_or_default();
    let snapshot = Snapshot::take(&root, &place.tree(), names.built(), &message).map_err(untaken)?;
    let context = context::of(local, &checkout, &names, &snapshot)?;
    let wish = Wish {
        task: local.task.clone(),
        needs: !local.no_needs,
        process: local.runtime == Some(LocalRuntime::Process),
    };
    let (plan, notes) = chosen(&pipeline, &context, &wish, 1)?;
    let secrets = Secrets::collect(&plan, &local.secret)?;
    let engine = if wish.process { Engine::None } else { Engine::look(&session.environment).await };
    check_engine(&plan, &engine)?;
    output.note(begins(&checkout, &snapshot, &context));
    notes.iter().for_each(|note| output.note(plain(note)));
    let source = SourceRecord {
        url: snapshot.url(),
        commit: snapshot.commit.clone(),
        reference: snapshot.reference.clone(),
        event: context.event.clone(),
        message: context.message.clone(),
        author: checkout.author().unwrap_or_default(),
        previous_success: None,
        trust: Trust::Own,
    };
    let asked = Asked { pipeline, context, wish, source, secrets };
    on_a_fleet(asked, engine, &place, session).await
}

/// Everything that is run.
struct Asked {
    pipeline: Pipeline,
    context: Context,
    wish: Wish,
    source: SourceRecord,
    secrets: Secrets,
}

/// Starts a fleet in this process, has it run what is asked, and ends it, whatever came of that.
async fn on_a_fleet(asked: Asked, engine: Engine, place: &Place, session: &Session) -> Result<()> {
    let output = &session.output;
    let nearby = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let fleet = Local::start(place.folder(), nearby, &Beyond::default(), engine).await?;
    let mut requests = fleet.signals()?;
    let own = fleet.session(output.clone(), &session.environment);
    let client = own.client()?;
    let project = asked.context.project.clone();
    let given = asked.secrets.names();
    let ended = begin_and_follow(asked, &fleet, &client, place, &mut requests, output).await;
    let forgotten = secrets::forget(&client, &project, &given).await;
    drop(requests);
    let engine = fleet.engine.clone();
    let (request, requests) = mpsc::channel(1);
    request.try_send(()).ok();
    fleet.until(requests).await;
    let (executor, followed) = ended?;
    if let Engine::There { socket, .. } = engine
        && let Err(error) = remove_shared_network(&socket, &executor).await
    {
        output.note(format_args!("the network of the containers is left: {}", chain(&error)));
    }
    forgotten?;
    let next = "  the same again: ocelot local    what runs, and why: ocelot explain";
    execute::ended(output, followed?, Show::Log(pen(output)), next)
}

/// Returns the executor, and what became of the run.
async fn begin_and_follow(
    asked: Asked,
    fleet: &Local,
    client: &Client,
    place: &Place,
    requests: &mut mpsc::Receiver<()>,
    output: &Output,
) -> Result<(String, Result<Followed>)> {
    end_leftovers(client).await?;
    asked.secrets.give(client, &asked.context.project).await?;
    let folders = Allowed { file: true, http: false };
    let executor = fleet.add_executor(client, place.folder().join("executor"), folders).await?;
    let run = match accept(asked, fleet, client).await {
        Ok(run) => run,
        Err(error) => return Ok((executor, Err(error))),
    };
    let interrupt = Interrupt::Cancels(requests);
    let followed = follow(client, output, run, Show::Log(pen(output)), None, interrupt).await;
    Ok((executor, followed))
}

async fn accept(asked: Asked, fleet: &Local, client: &Client) -> Result<wire::RunSummary> {
    let Asked { pipeline, context, wish, source, secrets: _ } = asked;
    let id = new_run_id(SystemClock.wall())?;
    let run = LocalRun { id, project: context.project.clone(), source, by: WHO.to_owned() };
    let plan_for = move |number| {
        let context = Context { run_number: number, ..context.clone() };
        match pipeline.resolve(&context)? {
            Resolution::Run(plan) => Ok(plan::select(plan, &wish)
                .expect("it could be chosen from before, and only a number differs")
                .0),
            Resolution::NoRun { .. } => unreachable!("it made a run before, and only its number differs"),
        }
    };
    let accepted = fleet.service().run_local(run, plan_for).await;
    accepted.map_err(|error| Error::Refused {
        what: format!("the run is not accepted: {}", chain(&error)),
        hint: None,
        whose: Whose::State,
    })?;
    let request = wire::GetRunRequest { run: Some(by_id(id)) };
    let get = async |api: Api, request| api.runs().get_run(request).await;
    let found = client.call("find the run", Repeat::Safe, request, get).await?;
    Ok(found.run.unwrap_or_default())
}

/// Ends what an earlier process of this command left when it was killed: nobody waits for it any more.
async fn end_leftovers(client: &Client) -> Result<()> {
    let request = wire::ListRunsRequest { page_size: 50, ..wire::ListRunsRequest::default() };
    let list = async |api: Api, request| api.runs().list_runs(request).await;
    let found = client.call("list runs", Repeat::Safe, request, list).await?;
    for run in found.runs.iter().filter(|run| words::run_outcome(run).is_none()) {
        let reference = wire::run_reference::Reference::Id(run.id.clone());
        let request = wire::CancelRunRequest {
            run: Some(wire::RunReference { reference: Some(reference) }),
            force: true,
            reason: "its `ocelot local` is gone".to_owned(),
        };
        let cancel = async |api: Api, request| api.runs().cancel_run(request).await;
        client.call("end what is left of an earlier run", Repeat::Safe, request, cancel).await?;
    }
    Ok(())
}

fn pen(output: &Output) -> PenKind {
    if output.is_json() { PenKind::Json } else { PenKind::Lines { timestamps: false } }
}

fn pipeline(file: &std::path::Path) -> Result<Pipeline> {
    let bytes = match read(file) {
        Err(Error::Unreadable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::usage(
                format!("there is no {}", file.display()),
                "write one to begin with: ocelot init",
            ));
        }
        read => read?,
    };
    if FileKind::of(&bytes) == FileKind::Job {
        return Err(Error::NotAPipeline { file: file.to_owned() });
    }
    Pipeline::parse(DEFINITION, &bytes).map_err(Error::Mistakes)
}

/// Resolves the file and takes what is wished for. A task that is named runs, whatever the event.
fn chosen(pipeline: &Pipeline, context: &Context, wish: &Wish, number: u64) -> Result<(Plan, Vec<String>)> {
    let context = Context { run_number: number, ..context.clone() };
    match pipeline.resolve(&context).map_err(Error::Mistakes)? {
        Resolution::Run(plan) => plan::select(plan, wish),
        Resolution::NoRun { why } => Err(Error::usage(
            format!("nothing would run: {why}"),
            "as on another branch: --branch NAME; as a pull request: --event pull-request; why: ocelot explain",
        )),
    }
}

fn check_engine(plan: &Plan, engine: &Engine) -> Result<()> {
    let container = plan.tasks.iter().find(|task| match task.environment.runtime {
        Runtime::Container { .. } => true,
        Runtime::Process => false,
    });
    match (engine, container) {
        (Engine::None, Some(task)) => Err(Error::usage(
            format!("the task {} runs in a container, and no container engine answers here", task.name),
            "start one, such as docker; or run on this machine itself: --runtime process",
        )),
        (Engine::None, None) | (Engine::There { .. }, _) => Ok(()),
    }
}

/// What is run, before anything starts.
fn begins(checkout: &Checkout, snapshot: &Snapshot, context: &Context) -> String {
    let event = &context.event;
    let head = checkout.commit.as_deref().map(commit::short);
    let at = match (head, snapshot.changed) {
        (Some(head), true) => format!("{head} and what is not committed"),
        (Some(head), false) => head,
        (None, _) => "what is not committed".to_owned(),
    };
    let on = match (event.source(), event.branch(), event.tag()) {
        (Some(source), Some(target), _) => format!("{source} into {target}"),
        (_, _, Some(tag)) => tag.to_owned(),
        (_, branch, None) => branch.unwrap_or_default().to_owned(),
    };
    plain(&format!("running {} as a {} of {on}: {at}", context.project, event.word().replace('_', " ")))
}

fn untaken(error: SnapshotError) -> Error {
    match error {
        SnapshotError::Folder { folder, source } => Error::Unwritable { file: folder, source },
        SnapshotError::Git(failed) => Error::Refused {
            what: format!(
                "the working tree cannot be taken: git {} said: {}",
                failed.verb,
                plain(&failed.says)
            ),
            hint: None,
            whose: Whose::State,
        },
    }
}

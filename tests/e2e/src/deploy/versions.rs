//! Programs of other versions than the controller's: the oldest that is served works, and what is older is
//! told what to install. Whether it understands what they say, the files of `tests/compat` show.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::fleet::{Build, Fleet, Light, Program};
use ocelot_e2e::runner::trial;
use ocelot_proto::kit::invitation::Invitation;
use ocelot_proto::wire;
use ocelot_proto::wire::job_service_client::JobServiceClient;
use ocelot_proto::wire::outcome::Outcome;
use tokio::sync::mpsc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

/// There was never one so old.
const TOO_OLD: &str = "0.0.9";

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("deploy::versions::what_is_too_old_is_told_what_to_install_and_that_works", told)]
}

async fn told() -> Result<()> {
    let fleet = Fleet::embedded(Build::Plain).await?;
    let words = || fleet.controllers.iter().map(Program::last_words).collect::<Vec<_>>().join("\n");
    let oldest = executor(&fleet).await.with_context(words)?;
    command(&fleet, &oldest).await.with_context(words)?;
    Ok(())
}

/// Returns the version that an executor is told to install, once one of that version has worked.
async fn executor(fleet: &Fleet) -> Result<String> {
    let invitation: Invitation = fleet.registration(&[]).await?.parse()?;
    let (url, token) = (fleet.url(0), invitation.token);
    let refused = Light::register_version(TOO_OLD, &url, &token, "one").await;
    let oldest = install(refused.map(drop), "executor")?;
    // The word took nothing of the token: it still lets one in.
    let mut light = Light::register_version(&oldest, &url, &token, "one").await?;
    light.version = TOO_OLD.to_owned();
    ensure!(install(light.open().await.map(drop), "executor")? == oldest, "a session asks for another");
    light.version.clone_from(&oldest);
    let session = light.open().await?;
    let (ended, mut hear) = mpsc::channel(1);
    let caller = fleet.caller(0)?;
    caller.put_job("name: old\nruntime: process\nstages:\n  - {name: work, script: 'true'}\n").await?;
    let run = caller.execute("old", &[]).await?;
    tokio::select! {
        worked = session.work(ended) => worked?,
        done = async { tokio::join!(hear.recv(), caller.outcome(run)).1 } => {
            let outcome = done?;
            ensure!(matches!(outcome, Outcome::Succeeded(_)), "it ended {outcome:?}");
        }
    }
    Ok(oldest)
}

/// The same of the command: by what it calls itself in each call.
async fn command(fleet: &Fleet, oldest: &str) -> Result<()> {
    let asked = async |version: &str| {
        let endpoint = Endpoint::from_shared(fleet.url(0))?.user_agent(format!("ocelot/{version}"))?;
        let mut jobs = JobServiceClient::new(endpoint.connect_lazy());
        let mut request = Request::new(wire::ListJobsRequest::default());
        let token: MetadataValue<Ascii> = format!("Bearer {}", fleet.token()).parse()?;
        request.metadata_mut().insert("authorization", token);
        Ok(jobs.list_jobs(request).await?.into_inner().jobs.len())
    };
    ensure!(install(asked(TOO_OLD).await.map(drop), "ocelot")? == oldest, "the command is told another");
    ensure!(asked(oldest).await? == 1, "the job is not listed");
    Ok(())
}

/// Reads from a refusal what is to be installed.
fn install(refused: Result<()>, program: &str) -> Result<String> {
    let error = refused.err().context("it was served")?;
    let status: &Status = error.downcast_ref().context("it is no answer")?;
    let said = status.message();
    ensure!(status.code() == Code::FailedPrecondition, "{status:?}");
    ensure!(said.starts_with(&format!("{program} {TOO_OLD} is too old")), "{said}");
    let oldest = said.split_once("install ").and_then(|(_, rest)| rest.split(' ').next());
    oldest.map(str::to_owned).with_context(|| said.to_owned())
}

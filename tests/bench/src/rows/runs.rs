//! How many runs a fleet can do, with executors that end whatever they are given at once.

use std::time::Duration;

use anyhow::{Context, Result};
use etcd_client::Client;
use ocelot_e2e::etcd::{Cluster, Settings as EtcdSettings};
use ocelot_e2e::fleet::{Build, Caller, Fleet, Light, Settings, new_run_id};
use ocelot_proto::wire;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::fleet::PROCESS;
use super::{Measuring, Row};
use crate::measure::{Effort, Figure, Round, in_turns};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "fleet.runs.embedded",
        about: "runs from execute to their end with 16 executors that end them at once; beside etcd's bare put",
        measure: |effort| throughput(effort, 0, EXECUTORS),
    },
    Row {
        name: "fleet.runs.etcd",
        about: "the same with etcd",
        measure: |effort| throughput(effort, 1, EXECUTORS),
    },
    Row {
        name: "fleet.runs_64.embedded",
        about: "the same with 64 executors, embedded store",
        measure: |effort| throughput(effort, 0, 64),
    },
    Row {
        name: "fleet.runs_64.etcd",
        about: "the same with 64 executors and etcd",
        measure: |effort| throughput(effort, 1, 64),
    },
];

const EXECUTORS: usize = 16;
const CLIENTS: usize = 64;

fn throughput(effort: Effort, etcd: usize, executors: usize) -> Measuring {
    Box::pin(async move {
        let fleet = Fleet::start(Settings { etcd, ..Settings::embedded(Build::Plain) }).await?;
        let caller = fleet.caller(0)?;
        caller.put_job(PROCESS).await?;
        let (ended, ends) = mpsc::channel(1024);
        let ends = Mutex::new(ends);
        let mut workers = tokio::task::JoinSet::new();
        for index in 0..executors {
            let invitation: ocelot_proto::kit::invitation::Invitation =
                fleet.registration(&[]).await?.parse()?;
            let name = format!("light-{index}");
            let light = Light::register(&fleet.url(0), &invitation.token, &name, 8).await?;
            workers.spawn(light.open().await?.work(ended.clone()));
        }
        let bare = Cluster::start(EtcdSettings::members(1)).await?;
        let client = Client::connect(bare.endpoints(), None).await?;
        let figure: Figure = in_turns(
            &effort,
            "run/s",
            "puts of 64 writers by the bare client, etcd of its own",
            async || runs_round(&caller, &mut *ends.lock().await, effort.round).await,
            async || puts_round(&client, effort.round).await,
        )
        .await?;
        Ok(figure)
    })
}

/// Executes from many clients for the time of a round, and waits until all that was accepted has ended.
async fn runs_round(
    caller: &Caller,
    ends: &mut mpsc::Receiver<wire::AttemptId>,
    round: Duration,
) -> Result<Round> {
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let caller = caller.clone();
        clients.spawn(async move {
            let mut accepted = 0_usize;
            let mut latencies = Vec::new();
            while began.elapsed() < round {
                let at = Instant::now();
                caller.execute_as(new_run_id(), "speak", &[]).await?;
                latencies.push(at.elapsed().as_secs_f64() * 1000.0);
                accepted += 1;
            }
            anyhow::Ok((accepted, latencies))
        });
    }
    let mut result = Round::default();
    let (mut accepted, mut ended) = (0, 0);
    let mut open = CLIENTS;
    while open > 0 || ended < accepted {
        tokio::select! {
            Some(client) = clients.join_next() => {
                let (count, latencies) = client??;
                accepted += count;
                result.latencies_ms.extend(latencies);
                open -= 1;
            }
            end = ends.recv() => {
                end.context("the executors are gone")?;
                ended += 1;
            }
        }
    }
    result.rate = accepted as f64 / began.elapsed().as_secs_f64();
    Ok(result)
}

async fn puts_round(client: &Client, round: Duration) -> Result<Round> {
    let began = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..CLIENTS {
        let mut client = client.clone();
        writers.spawn(async move {
            let mut latencies = Vec::new();
            let value = vec![b'x'; 200];
            while began.elapsed() < round {
                let at = Instant::now();
                client.put(format!("/bare/{writer}"), value.clone(), None).await?;
                latencies.push(at.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(latencies)
        });
    }
    let mut result = Round::default();
    while let Some(writer) = writers.join_next().await {
        result.latencies_ms.extend(writer??);
    }
    result.rate = result.latencies_ms.len() as f64 / began.elapsed().as_secs_f64();
    Ok(result)
}

//! A long queue: what a task costs that is dispatched past it, and out of it.

use std::time::Duration;

use anyhow::{Context, Result};
use ocelot_e2e::fleet::{Caller, new_run_id};
use ocelot_proto::wire;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::usage::{Process, kib_each};
use super::{ANYWHERE, Cell, middle_and_tail};
use crate::measure::{Effort, Figure, Round};
use crate::rows::Measuring;

const SHORT: usize = 100;
/// Runs that the executor works off one after the other.
const STREAM: usize = 500;
/// Tasks that are taken out of the queue itself.
const DRAINED: usize = 2_000;
const CLIENTS: usize = 64;
/// Labels that nobody has: so many different demands.
const LABELS: usize = 10;

pub(super) fn backlog(effort: Effort) -> Measuring {
    Box::pin(async move {
        let count = effort.count.unwrap_or(100_000);
        let mut cell = Cell::start(false, false, 1).await?;
        let caller = cell.fleet.caller(0)?;
        for label in 0..LABELS {
            let name = format!("stuck-{label}\nlabels: [nobody-{label}]\n");
            caller.put_job(&ANYWHERE.replace("anywhere\n", &name)).await?;
        }
        cell.add(1, 8).await?;
        cell.dispatched(&caller, 20).await?;
        let process = Process::of(&cell.fleet)?;
        fill_all(&caller, SHORT).await?;
        let (short, short_cost) = stream(&mut cell, &caller).await?;
        let before = process.used()?;
        let began = Instant::now();
        fill_all(&caller, count - SHORT).await?;
        let after = process.used()?;
        eprintln!(
            "  {count} queued: accepted in {:.0} s, {:.1} KiB of memory each",
            began.elapsed().as_secs_f64(),
            kib_each(&before, &after, count - SHORT)
        );
        let (long, long_cost) = stream(&mut cell, &caller).await?;
        eprintln!(
            "  a dispatched run beside {SHORT} queued: {}, {short_cost:.2?} of the controller's processor time",
            middle_and_tail(&short)
        );
        eprintln!("  beside {count} queued: {}, {long_cost:.2?}", middle_and_tail(&long));
        let before = process.used()?;
        tokio::time::sleep(Duration::from_secs(30)).await;
        eprintln!(
            "  at rest with {count} queued: {:.1} % of a core",
            process.used()?.share_since(&before) * 100.0
        );
        drain(&mut cell, &caller, count).await?;
        list_runs(&caller).await?;
        Ok(Figure::beside("run/s", vec![long], "beside 100 queued", vec![short]))
    })
}

/// Works off a stream of runs; returns their latencies, and the controller's time for each.
async fn stream(cell: &mut Cell, caller: &Caller) -> Result<(Round, Duration)> {
    let process = Process::of(&cell.fleet)?;
    // What came before is settled.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = process.used()?;
    let round = cell.dispatched(caller, STREAM).await?;
    let each = process.used()?.processor_since(&before) / STREAM as u32;
    Ok((round, each))
}

/// Queues what one executor can take in one go, and lets it.
async fn drain(cell: &mut Cell, caller: &Caller, count: usize) -> Result<()> {
    let process = Process::of(&cell.fleet)?;
    let before = process.used()?;
    let began = Instant::now();
    let filled = fill(caller, "anywhere", DRAINED);
    let drained = async {
        for _ in 0..DRAINED {
            cell.offers.recv().await.context("the executor is gone")?;
        }
        anyhow::Ok(())
    };
    let (filled, drained) = tokio::join!(filled, drained);
    filled.and(drained)?;
    let each = process.used()?.processor_since(&before) / DRAINED as u32;
    eprintln!(
        "  {DRAINED} runs at once beside {count} queued: {:.0} runs/s, {each:.2?} each",
        DRAINED as f64 / began.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn fill_all(caller: &Caller, count: usize) -> Result<()> {
    let mut jobs = JoinSet::new();
    for label in 0..LABELS {
        let caller = caller.clone();
        let share = (count + label) / LABELS;
        jobs.spawn(async move { fill(&caller, &format!("stuck-{label}"), share).await });
    }
    while let Some(job) = jobs.join_next().await {
        job??;
    }
    Ok(())
}

/// Executes a job so many times, from many clients.
pub(super) async fn fill(caller: &Caller, job: &str, count: usize) -> Result<()> {
    let mut clients = JoinSet::new();
    let together = CLIENTS.min(count.max(1));
    for client in 0..together {
        let (caller, job) = (caller.clone(), job.to_owned());
        let share = (count + client) / together;
        clients.spawn(async move {
            for _ in 0..share {
                caller.execute_as(new_run_id(), &job, &[]).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

async fn list_runs(caller: &Caller) -> Result<()> {
    let (mut round, mut token) = (Round::default(), String::new());
    let mut count = 0;
    for _ in 0..50 {
        let request = wire::ListRunsRequest { page_size: 50, page_token: token, ..Default::default() };
        let began = Instant::now();
        let page = caller.runs().list_runs(request).await?.into_inner();
        round.latencies_ms.push(began.elapsed().as_secs_f64() * 1000.0);
        count += page.runs.len();
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    eprintln!("  runs: {count} in {} pages, each {}", round.latencies_ms.len(), middle_and_tail(&round));
    Ok(())
}

//! The controller killed under a whole fleet: how soon every executor is back, and at what cost.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use ocelot_e2e::fleet::{Caller, RunId, new_run_id};
use ocelot_proto::wire::outcome;
use tokio::time::Instant;

use super::usage::{Process, Used, mib};
use super::{Cell, PATIENCE, middle_and_tail};
use crate::measure::{Effort, Figure, Round};
use crate::rows::Measuring;

const RUNNING: usize = 100;
const STEP: Duration = Duration::from_millis(250);

pub(super) fn back(effort: Effort) -> Measuring {
    Box::pin(async move {
        let count = effort.count.unwrap_or(10_000);
        let mut cell = Cell::start(false, false, count).await?;
        let caller = cell.fleet.caller(0)?;
        let (_, there) = cell.add(count, 1).await?;
        eprintln!("  {count} executors there after {:.1} s", there.as_secs_f64());
        let alone = cell.dispatched(&caller, 50).await?;
        let runs = run_some(&mut cell, &caller).await?;
        tokio::time::sleep(Duration::from_secs(12)).await;
        drop(cell.crowd.failures());
        let mut returns = Vec::new();
        for _ in 0..effort.rounds.min(3) {
            cell.fleet.controllers[0].kill()?;
            cell.crowd.begin_life();
            let began = Instant::now();
            cell.fleet.controllers[0].start()?;
            returns.push(watch(&cell, count, began).await?);
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        let crowd = &cell.crowd;
        let reopened = crowd.reopened.load(Ordering::Relaxed);
        eprintln!("  calls that failed: {}; sessions opened anew: {reopened}", crowd.failures());
        crowd.end_all();
        let requeued = requeued(&caller, &runs).await?;
        eprintln!("  {} tasks ran through it: {requeued} requeued", runs.len());
        ensure!(requeued == 0, "{requeued} tasks were given away");
        let after = cell.dispatched(&caller, 50).await?;
        eprintln!("  execute to offer before {}, after {}", middle_and_tail(&alone), middle_and_tail(&after));
        let rate = |round: &Round| round.latencies_ms.iter().map(|ms| 1000.0 / ms).sum::<f64>();
        let returns = returns.into_iter().map(|round| Round { rate: rate(&round), ..round });
        Ok(Figure::beside("back/s", returns.collect(), "execute to offer, before", vec![alone]))
    })
}

/// Starts runs, and leaves them running.
async fn run_some(cell: &mut Cell, caller: &Caller) -> Result<Vec<RunId>> {
    cell.crowd.hold();
    let mut runs = Vec::new();
    for _ in 0..RUNNING {
        let run = new_run_id();
        caller.execute_as(run, "anywhere", &[]).await?;
        cell.offer_of(run).await?;
        runs.push(run);
    }
    for run in &runs {
        caller.running(*run).await?;
    }
    Ok(runs)
}

/// Waits until all are back; returns when the last one was.
async fn watch(cell: &Cell, count: usize, began: Instant) -> Result<Round> {
    let process = Process::of(&cell.fleet)?;
    let (mut busiest, mut before): (f64, Option<Used>) = (0.0, None);
    let (mut half, mut most) = (None, None);
    loop {
        let back = cell.crowd.back();
        let now = began.elapsed();
        half = half.or((back * 2 >= count).then_some(now));
        most = most.or((back * 100 >= count * 99).then_some(now));
        if back >= count {
            break;
        }
        ensure!(now < PATIENCE, "only {back} of {count} are back");
        let used = process.used()?;
        busiest = busiest.max(before.map_or(0.0, |before| used.share_since(&before)));
        before = Some(used);
        tokio::time::sleep(STEP).await;
    }
    let all = began.elapsed();
    let used = process.used()?;
    eprintln!(
        "  killed: half back after {:.1} s, 99 % after {:.1} s, all after {:.1} s; processor at most {:.0} % of a core, \
         {:.1} s in all; memory at most {} MiB",
        half.unwrap_or(all).as_secs_f64(),
        most.unwrap_or(all).as_secs_f64(),
        all.as_secs_f64(),
        busiest * 100.0,
        used.processor_s(),
        mib(process.peak()?)
    );
    Ok(Round { rate: 0.0, latencies_ms: vec![all.as_secs_f64() * 1000.0] })
}

/// Returns how many of the runs needed more than one attempt, or did not end well.
async fn requeued(caller: &Caller, runs: &[RunId]) -> Result<usize> {
    let mut requeued = 0;
    for run in runs {
        let ended = caller.outcome(*run).await?;
        let found = caller.run(*run).await?;
        let once = found.tasks.iter().all(|task| task.attempts.len() == 1);
        requeued += usize::from(!once || !matches!(ended, outcome::Outcome::Succeeded(_)));
    }
    Ok(requeued)
}

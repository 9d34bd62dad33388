//! Bugs that are planted in the executor's own code, which the simulation does not run: the judgement
//! of a trial must see each.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Caller, Fleet, RunId};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;

use super::pauses::fenced_falls_silent;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("chaos::bugs::a_fenced_container_that_is_kept_is_seen", fenced_is_kept),
        trial("chaos::bugs::a_guard_that_never_ends_is_seen", guard_never_ends),
    ]
}

/// Starts a fleet with one run on an executor that has a bug, and another executor that waits.
async fn fleet_with(bug: &str, beats: u32, class: &str) -> Result<(Fleet, Caller, RunId)> {
    let mut fleet = Fleet::embedded(Build::Chaos).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("watched", beats, &format!("class: {class}"))).await?;
    fleet.add_executor("one", 1, &[]).await?;
    caller.online(1).await?;
    fleet.executors[0].kill()?;
    fleet.executors[0].start_with(Build::Chaos, &format!("bug:{bug}"))?;
    let run = caller.execute("watched", &[]).await?;
    caller.running(run).await?;
    began(&fleet, run, 1).await?;
    fleet.add_executor("two", 1, &[]).await?;
    Ok((fleet, caller, run))
}

/// Waits until so many attempts of the run have told the witness that they began.
async fn began(fleet: &Fleet, run: RunId, count: usize) -> Result<()> {
    let run = Id::from_bytes(run).to_string();
    wait_until("builds to begin", || async {
        let lives = fleet.witness.lives()?;
        let own = lives.iter().filter(|life| life.run == run).count();
        ensure!(own >= count, "{own} of {count}: {lives:?}");
        Ok(())
    })
    .await
    .with_context(|| fleet.last_words())
}

/// The executor that had the bug comes again without it, and sweeps what it left.
async fn swept(fleet: &mut Fleet, caller: &Caller) -> Result<()> {
    fleet.executors[0].start()?;
    caller.online(2).await
}

async fn fenced_is_kept() -> Result<()> {
    let (mut fleet, caller, run) = fleet_with("fenced.keeps_container", 200, "normal").await?;
    fleet.executors[0].stop()?;
    began(&fleet, run, 2).await?;
    fleet.executors[0].go_on()?;
    let run = Id::from_bytes(run).to_string();
    wait_until("the first build to end", || async {
        let lives = fleet.witness.lives()?;
        let first = lives.iter().find(|life| life.run == run).context("it began")?;
        ensure!(first.ended, "{first:?}");
        Ok(())
    })
    .await?;
    let judged = fenced_falls_silent(&fleet, &run).await;
    let why = judged.err().context("a container that was kept was not seen")?;
    ensure!(format!("{why:#}").contains("ran to its end"), "another reason: {why:#}");
    fleet.executors[0].kill()?;
    swept(&mut fleet, &caller).await
}

async fn guard_never_ends() -> Result<()> {
    let (mut fleet, caller, run) = fleet_with("guard.never_ends", 700, "exclusive").await?;
    fleet.executors[0].kill()?;
    // The full wait of an exclusive task, which outlasts a guard that ends.
    for _ in 0..3 {
        if began(&fleet, run, 2).await.is_ok() {
            break;
        }
    }
    began(&fleet, run, 2).await?;
    let run = Id::from_bytes(run).to_string();
    let judged = wait_until("two builds at once", || async {
        let overlaps = fleet.witness.overlaps()?;
        overlaps.into_iter().find(|(one, _)| one.run == run).context("none overlaps")
    });
    judged.await.context("a guard that never ended was not seen")?;
    swept(&mut fleet, &caller).await?;
    fenced_falls_silent(&fleet, &run).await
}

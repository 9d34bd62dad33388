//! A process that is held for a while and goes on: late, and sure of what is no longer so.

use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Fleet, Life};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use ocelot_proto::wire::outcome::Outcome;

use super::oracle::Accepted;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("chaos::pauses::an_executor_held_for_3_s_goes_on", || executor_held(3, "normal")),
        trial("chaos::pauses::an_executor_held_for_30_s_is_fenced", || executor_held(30, "normal")),
        trial("chaos::pauses::an_exclusive_task_outlives_a_pause_of_30_s", || executor_held(30, "exclusive")),
        trial("chaos::pauses::a_controller_held_for_3_s_ends_nothing", || controller_held(3)),
        trial("chaos::pauses::a_controller_held_for_30_s_ends_nothing", || controller_held(30)),
    ]
}

/// Holds for real time: a pause is what is tested.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn executor_held(seconds: u64, class: &'static str) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    let class_key = format!("class: {class}");
    caller.put_job(&fleet.witness.job(class, u32::try_from(seconds)? * 5 + 75, &class_key)).await?;
    fleet.add_executor("one", 1, &[]).await?;
    caller.online(1).await?;
    let run = caller.execute(class, &[]).await?;
    let mut accepted = Accepted::default();
    accepted.add(run, class);
    let attempt = caller.running(run).await?;
    let second = (seconds > 10).then_some(());
    if second.is_some() {
        fleet.add_executor("two", 1, &[]).await?;
        caller.online(2).await?;
    }
    fleet.executors[0].stop()?;
    pass(seconds).await;
    fleet.executors[0].go_on()?;
    let outcomes = accepted.judge(&fleet).await?;
    ensure!(matches!(outcomes[&run], Outcome::Succeeded(_)));
    let now = caller.run(run).await?.tasks[0].attempts.last().map(|attempt| attempt.number);
    let moves = seconds > 10 && class == "normal";
    ensure!(
        moves == (now != Some(attempt)),
        "it was attempt {attempt} and is {now:?}\n{}",
        fleet.last_words()
    );
    if moves {
        fenced_falls_silent(&fleet, &Id::from_bytes(run).to_string()).await?;
    }
    Ok(())
}

/// The fenced attempt is gone soon after its executor goes on: its last word stays its last, and is
/// not its own end.
pub(super) async fn fenced_falls_silent(fleet: &Fleet, run: &str) -> Result<()> {
    let first = || -> Result<Option<Life>> {
        let lives = fleet.witness.lives()?;
        Ok(lives.into_iter().find(|life| life.run == run))
    };
    wait_until("the fenced attempt to fall silent", || async {
        let before = first()?;
        pass(1).await;
        ensure!(first()? == before, "it still speaks");
        anyhow::Ok(())
    })
    .await?;
    let life = first()?;
    ensure!(life.as_ref().is_some_and(|life| !life.ended), "it ran to its end: {life:?}");
    Ok(())
}

async fn controller_held(seconds: u64) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", u32::try_from(seconds)? * 5 + 25, "")).await?;
    fleet.add_executor("one", 2, &[]).await?;
    caller.online(1).await?;
    let mut accepted = Accepted::default();
    let run = caller.execute("normal", &[]).await?;
    accepted.add(run, "normal");
    let attempt = caller.running(run).await?;
    fleet.controllers[0].stop()?;
    pass(seconds).await;
    fleet.controllers[0].go_on()?;
    accepted.judge(&fleet).await?;
    let now = caller.run(run).await?.tasks[0].attempts.last().map(|attempt| attempt.number);
    ensure!(now == Some(attempt), "it was attempt {attempt} and is {now:?}\n{}", fleet.last_words());
    Ok(())
}

//! Programs that are killed, upgraded and lied to while builds run.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Fleet, Settings};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use ocelot_proto::wire::outcome::Outcome;

use super::oracle::Accepted;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("chaos::restarts::a_killed_executor_goes_on_with_the_same_attempt", executor_comes_back),
        trial("chaos::restarts::an_upgraded_executor_goes_on_with_the_same_attempt", executor_is_upgraded),
        trial("chaos::restarts::an_executor_that_stays_away_is_replaced", executor_stays_away),
        trial("chaos::restarts::controllers_race_and_every_run_runs_once", controllers_race),
        trial("chaos::restarts::execute_repeated_with_the_same_id_is_one_run", execute_is_repeated),
        trial("chaos::restarts::a_run_lives_through_the_death_of_its_controller", controller_dies),
    ]
}

async fn executor_comes_back() -> Result<()> {
    restarted(Build::Plain).await
}

async fn executor_is_upgraded() -> Result<()> {
    restarted(Build::Chaos).await
}

async fn restarted(second: Build) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", 25, "")).await?;
    fleet.add_executor("one", 1, &[]).await?;
    caller.online(1).await?;
    let version = caller.executors().await?[0].version.clone();
    place_is_ready(&fleet, "one").await?;
    let mut accepted = Accepted::default();
    let run = caller.execute("normal", &[]).await?;
    accepted.add(run, "normal");
    let attempt = caller.running(run).await?;
    // A start that is cut off is another attempt's affair.
    wait_until("its first word", || async {
        ensure!(!fleet.witness.lives()?.is_empty(), "silence");
        Ok(())
    })
    .await?;
    fleet.executors[0].kill()?;
    fleet.executors[0].start_with(second, "")?;
    accepted.judge(&fleet).await?;
    let tasks = caller.run(run).await?.tasks;
    let now = tasks[0].attempts.last().map(|attempt| attempt.number);
    ensure!(now == Some(attempt), "it was attempt {attempt} and is {now:?}\n{}", fleet.last_words());
    let lives = fleet.witness.lives()?;
    ensure!(lives.len() == 1, "the witness saw {lives:?}");
    let after = caller.executors().await?[0].version.clone();
    ensure!((second == Build::Chaos) == (after != version), "{version} became {after}");
    Ok(())
}

/// Waits until the executor has made the place of its next attempt.
async fn place_is_ready(fleet: &Fleet, executor: &str) -> Result<()> {
    let attempts = fleet.path(executor).join("attempts");
    wait_until("a place to be ready", || async {
        let places = std::fs::read_dir(&attempts)?;
        let ready = places.filter_map(|place| place.ok()?.file_name().into_string().ok());
        let socket = |name: &String| attempts.join(name).join("control").join("supervisor.sock").exists();
        ensure!(ready.filter(|name| name.starts_with("ready-")).any(|name| socket(&name)), "none");
        Ok(())
    })
    .await
}

async fn executor_stays_away() -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", 50, "")).await?;
    caller.put_job(&fleet.witness.job("once", 50, "class: once")).await?;
    fleet.add_executor("one", 2, &[]).await?;
    caller.online(1).await?;
    let mut accepted = Accepted::default();
    let (normal, once) = (caller.execute("normal", &[]).await?, caller.execute("once", &[]).await?);
    caller.running(normal).await?;
    caller.running(once).await?;
    accepted.add(normal, "normal");
    accepted.add(once, "once");
    fleet.executors[0].kill()?;
    fleet.add_executor("two", 2, &[]).await?;
    wait_until("the normal task to run again", || async {
        let run = caller.run(normal).await?;
        ensure!(run.tasks[0].attempts.len() > 1, "{:?}", run.tasks[0].state);
        Ok(())
    })
    .await
    .with_context(|| fleet.last_words())?;
    fleet.executors[0].start()?;
    let outcomes = accepted.judge(&fleet).await?;
    ensure!(matches!(outcomes[&normal], Outcome::Succeeded(_)));
    Ok(())
}

async fn controllers_race() -> Result<()> {
    let mut fleet = Fleet::start(Settings::etcd(Build::Plain, 3, 1)).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", 0, "")).await?;
    for name in ["one", "two", "three"] {
        fleet.add_executor(name, 3, &[]).await?;
    }
    caller.online(3).await?;
    let mut accepted = Accepted::default();
    for index in 0..60 {
        let run = fleet.caller(index % 3)?.execute("normal", &[]).await?;
        accepted.add(run, "normal");
    }
    accepted.judge(&fleet).await?;
    let lives = fleet.witness.lives()?;
    ensure!(lives.len() == 60, "60 runs had {} attempts", lives.len());
    Ok(())
}

async fn execute_is_repeated() -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let proxy = ocelot_e2e::proxy::Proxy::start(fleet.port(0)).await?;
    let through = ocelot_e2e::fleet::Caller::new(&proxy.endpoint(), fleet.token())?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", 0, "")).await?;
    fleet.add_executor("one", 4, &[]).await?;
    caller.online(1).await?;
    let mut accepted = Accepted::default();
    for bytes in (0..400).step_by(20) {
        let id = ocelot_e2e::fleet::new_run_id();
        proxy.cut_after(ocelot_e2e::proxy::Way::Answers, bytes);
        through.execute_as(id, "normal", &[]).await?;
        caller.execute_as(id, "normal", &[]).await?;
        accepted.add(id, "normal");
    }
    ensure!(proxy.cuts() > 5, "only {} answers were cut", proxy.cuts());
    accepted.judge(&fleet).await?;
    let lives = fleet.witness.lives()?;
    ensure!(lives.len() == 20, "20 runs had {} attempts", lives.len());
    Ok(())
}

async fn controller_dies() -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", 20, "")).await?;
    fleet.add_executor("one", 1, &[]).await?;
    caller.online(1).await?;
    let mut accepted = Accepted::default();
    let run = caller.execute("normal", &[]).await?;
    accepted.add(run, "normal");
    let attempt = caller.running(run).await?;
    for _ in 0..3 {
        fleet.controllers[0].kill_and_start()?;
        fleet.ready().await?;
    }
    accepted.judge(&fleet).await?;
    let run_now = caller.run(run).await?;
    let now = run_now.tasks[0].attempts.last().map(|attempt| attempt.number);
    ensure!(now == Some(attempt), "{} was attempt {attempt} and is {now:?}", Id::from_bytes(run));
    Ok(())
}

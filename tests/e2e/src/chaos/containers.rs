//! Containers that somebody else ends, and one that wants more memory than it may have.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::engine::{IMAGE, docker};
use ocelot_e2e::fleet::{Build, Caller, Fleet, RunId};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use ocelot_proto::wire::outcome::{self, Outcome};
use ocelot_proto::wire::{Attempt, OutOfMemory};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("chaos::containers::one_that_is_killed_is_lost_and_tried_again", || killed("normal", "kill")),
        trial("chaos::containers::one_that_is_removed_is_lost_and_tried_again", || killed("exclusive", "rm")),
        trial("chaos::containers::one_that_is_killed_is_never_tried_again_if_once", || {
            killed("once", "kill")
        }),
        // The first container that comes up is the executor's own probe of its engine.
        trial("chaos::containers::a_killed_probe_is_made_again", || killed_at("start.container_up:1", 1)),
        trial("chaos::containers::a_kill_as_it_comes_up_is_a_loss", || killed_at("start.container_up:2", 2)),
        trial("chaos::containers::a_kill_as_a_stage_is_ordered_is_a_loss", || {
            killed_at("stage.ordered:1", 2)
        }),
        trial("chaos::containers::a_kill_after_the_result_changes_nothing", || {
            killed_at("end.journalled:1", 1)
        }),
        trial("chaos::containers::want_of_memory_is_the_tasks_own_failure", out_of_memory),
    ]
}

fn job(name: &str, more: &str, script: &str) -> String {
    format!(
        "name: {name}\nimage: {IMAGE}\npull: never\n{more}\nstages:\n  - name: work\n    script: |\n      {script}\n"
    )
}

/// The first attempt waits to be killed, the second one ends.
async fn killed(class: &'static str, how: &'static str) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    let script = "echo begun; [ $OCELOT_ATTEMPT -gt 1 ] || sleep 600";
    caller.put_job(&job("wait", &format!("class: {class}"), script)).await?;
    fleet.add_docker_executor("one", 1).await?;
    let run = caller.execute("wait", &[]).await?;
    wait_until("its first word", || async {
        let log = caller.log(run, 1).await?;
        ensure!(log.windows(5).any(|word| word == b"begun"), "{} bytes so far", log.len());
        Ok(())
    })
    .await
    .with_context(|| fleet.last_words())?;
    end(&fleet, how)?;
    let outcome = caller.outcome(run).await.with_context(|| fleet.last_words())?;
    let attempts = attempts(&caller, run).await?;
    let why = match attempts.first().map(result) {
        Some(Some(Outcome::Lost(outcome::Lost { why }))) => why,
        other => anyhow::bail!("the first attempt ended {other:?}"),
    };
    ensure!(why.contains("not by us"), "{why:?}");
    if class == "once" {
        ensure!(outcome == Outcome::Lost(outcome::Lost { why }), "it ended {outcome:?}");
        ensure!(attempts.len() == 1, "{attempts:?}");
    } else {
        ensure!(matches!(outcome, Outcome::Succeeded(_)), "it ended {outcome:?}");
        ensure!(attempts.len() == 2, "{attempts:?}");
    }
    nothing_is_left(&fleet).await
}

/// The container dies while its executor stands at the point; then the run takes so many attempts.
async fn killed_at(point: &'static str, wanted: usize) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Chaos).await?;
    let caller = fleet.caller(0)?;
    // Where its container dies too early it would wait for ever, and the second attempt ends.
    let waits = if wanted > 1 { "[ $OCELOT_ATTEMPT -gt 1 ] || sleep 600; " } else { "" };
    caller.put_job(&job("short", "", &format!("{waits}echo done"))).await?;
    let index = fleet.add_docker_executor("one", 1).await?;
    fleet.executors[index].kill()?;
    fleet.executors[index].start_with(Build::Chaos, &format!("stop:{point}"))?;
    let run = caller.execute("short", &[]).await?;
    let executor = &fleet.executors[index];
    executor.held().await.with_context(|| format!("nothing passed {point}: {}", executor.last_words()))?;
    end(&fleet, "kill")?;
    executor.go_on()?;
    let outcome = caller.outcome(run).await.with_context(|| fleet.last_words())?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "it ended {outcome:?}");
    let attempts = attempts(&caller, run).await?;
    ensure!(attempts.len() == wanted, "{attempts:?}\n{}", fleet.last_words());
    let (last, earlier) = attempts.split_last().context("an attempt")?;
    ensure!(matches!(result(last), Some(Outcome::Succeeded(_))), "{last:?}");
    ensure!(earlier.iter().all(|one| matches!(result(one), Some(Outcome::Lost(_)))), "{earlier:?}");
    nothing_is_left(&fleet).await
}

async fn out_of_memory() -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&job("greedy", "resources: {memory: 32MiB}", "tail /dev/zero")).await?;
    caller.put_job(&job("modest", "resources: {memory: 32MiB}", "echo done")).await?;
    fleet.add_docker_executor("one", 1).await?;
    let run = caller.execute("greedy", &[]).await?;
    let outcome = caller.outcome(run).await.with_context(|| fleet.last_words())?;
    let memory = outcome::failed::Failure::OutOfMemory(OutOfMemory { limit_bytes: 32 << 20 });
    let wanted = Outcome::Failed(outcome::Failed { stage: "work".to_owned(), failure: Some(memory) });
    ensure!(outcome == wanted, "it ended {outcome:?}");
    let attempts = attempts(&caller, run).await?;
    ensure!(attempts.len() == 1, "more memory does not come by trying again: {attempts:?}");
    let next = caller.execute("modest", &[]).await?;
    let outcome = caller.outcome(next).await.with_context(|| fleet.last_words())?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "the next one ended {outcome:?}");
    nothing_is_left(&fleet).await
}

/// Ends the only container, as somebody else on its machine may.
fn end(fleet: &Fleet, how: &str) -> Result<()> {
    let all = fleet.traces.containers(true)?;
    let [container] = all.as_slice() else { anyhow::bail!("its containers are {all:?}") };
    match how {
        "rm" => docker(&["rm", "-f", container]).map(drop),
        other => docker(&[other, container]).map(drop),
    }
}

async fn attempts(caller: &Caller, run: RunId) -> Result<Vec<Attempt>> {
    Ok(caller.run(run).await?.tasks.into_iter().next().context("a task")?.attempts)
}

fn result(attempt: &Attempt) -> Option<Outcome> {
    attempt.outcome.clone()?.outcome
}

async fn nothing_is_left(fleet: &Fleet) -> Result<()> {
    wait_until("its containers to be gone", || async {
        let all = fleet.traces.containers(true)?;
        ensure!(all.is_empty(), "{all:?}");
        Ok(())
    })
    .await
}

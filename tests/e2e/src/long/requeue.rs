//! An executor is killed for good: how soon another one has its task, and what is left behind.
//!
//! In the container engine where one answers, else as processes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ocelot_core::id::RunId as Id;
use ocelot_e2e::engine;
use ocelot_e2e::fleet::{Build, Caller, Fleet, RunId};
use ocelot_e2e::wait::{wait_long, wait_until};
use tokio::time::Instant;

use super::{kept, percentile};

/// An exclusive task waits for its orphan's guard and longer; a normal one waits for neither.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) async fn row(count: u64) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let docker = engine::answers();
    for class in ["normal", "exclusive"] {
        let class_key = format!("class: {class}");
        let job = match docker {
            true => format!(
                "name: {class}\nimage: {}\npull: never\n{class_key}\nstages: [{{name: wait, script: sleep 600}}]\n",
                engine::IMAGE
            ),
            false => fleet.witness.job(class, 3000, &class_key),
        };
        fleet.caller(0)?.put_job(&job).await?;
    }
    for name in ["one", "two"] {
        match docker {
            true => fleet.add_docker_executor(name, 1).await?,
            false => fleet.add_executor(name, 1, &[]).await?,
        };
    }
    let done = killed(&mut fleet, count, docker).await;
    kept(fleet, done)
}

async fn killed(fleet: &mut Fleet, count: u64, docker: bool) -> Result<()> {
    let began = Instant::now();
    let caller = fleet.caller(0)?;
    let mut taken = Vec::new();
    for _ in 0..count {
        caller.online(2).await?;
        nothing_is_left(fleet).await?;
        let orphan = Orphan::of(fleet, caller.execute("normal", &[]).await?, docker).await?;
        let at = Instant::now();
        fleet.executors[orphan.executor].kill()?;
        elsewhere(&caller, &orphan).await.with_context(|| fleet.last_words())?;
        taken.push(at.elapsed().as_secs_f64());
        fleet.executors[orphan.executor].start()?;
        orphan.goes(fleet, true).await?;
        caller.cancel(orphan.run).await?;
        caller.outcome(orphan.run).await?;
    }
    eprintln!(
        "{} kills in {:.0} s, {}: running elsewhere after p50 {:.1} s, p99 {:.1} s, of {taken:.1?}; \
         each orphan was gone after its executor's return",
        taken.len(),
        began.elapsed().as_secs_f64(),
        if docker { "in containers" } else { "as processes" },
        percentile(&mut taken.clone(), 0.5),
        percentile(&mut taken.clone(), 0.99)
    );
    never_back(fleet, docker).await
}

/// The executor of an exclusive task never returns: the guard alone ends its orphan, and only later
/// does another one begin.
async fn never_back(fleet: &mut Fleet, docker: bool) -> Result<()> {
    let caller = fleet.caller(0)?;
    caller.online(2).await?;
    nothing_is_left(fleet).await?;
    let orphan = Orphan::of(fleet, caller.execute("exclusive", &[]).await?, docker).await?;
    let at = Instant::now();
    fleet.executors[orphan.executor].kill()?;
    orphan.goes(fleet, false).await.with_context(|| fleet.last_words())?;
    let gone = at.elapsed().as_secs_f64();
    let now = caller.run(orphan.run).await?.tasks[0].attempts.last().map(|last| last.number);
    ensure!(now == Some(orphan.attempt), "attempt {now:?} began before the orphan was gone");
    elsewhere(&caller, &orphan).await?;
    eprintln!(
        "an exclusive task whose executor never came back: its orphan was gone after {gone:.1} s, \
         running elsewhere after {:.1} s",
        at.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Waits until a later attempt than the orphan runs.
async fn elsewhere(caller: &Caller, orphan: &Orphan) -> Result<()> {
    wait_long("the next attempt", PATIENCE, || async {
        let now = caller.running(orphan.run).await?;
        ensure!(now > orphan.attempt, "still attempt {now}");
        Ok(())
    })
    .await
}

/// Waits until no container of an earlier run can be taken for one of the next.
async fn nothing_is_left(fleet: &Fleet) -> Result<()> {
    wait_until("no container", || async {
        let all = fleet.traces.containers(true)?;
        ensure!(all.is_empty(), "{all:?}");
        Ok(())
    })
    .await
}

/// What a killed executor leaves.
struct Orphan {
    run: RunId,
    attempt: u32,
    executor: usize,
    /// Its container in the engine.
    container: Option<String>,
}

impl Orphan {
    /// Waits until the run works, and tells where.
    async fn of(fleet: &Fleet, run: RunId, docker: bool) -> Result<Self> {
        let caller = fleet.caller(0)?;
        let attempt = caller.running(run).await?;
        let last = caller.run(run).await?.tasks[0].attempts.last().cloned().context("an attempt")?;
        let executor = usize::from(last.executor_name == "two");
        let container = match docker {
            false => None,
            true => Some(
                wait_until("its container", || async {
                    let all = fleet.traces.containers(false)?;
                    ensure!(all.len() == 1, "{all:?}");
                    anyhow::Ok(all[0].clone())
                })
                .await?,
            ),
        };
        let orphan = Self { run, attempt, executor, container };
        if orphan.container.is_none() {
            wait_until("its first word", || async { orphan.last_word(fleet)?.context("silence") }).await?;
        }
        Ok(orphan)
    }

    fn last_word(&self, fleet: &Fleet) -> Result<Option<f64>> {
        let name = Id::from_bytes(self.run).to_string();
        let lives = fleet.witness.lives()?;
        let own = lives.iter().find(|life| life.run == name && life.attempt == self.attempt);
        Ok(own.map(|life| life.until))
    }

    /// Waits until it is over: removed altogether, or only dead where nobody is there to remove it.
    async fn goes(&self, fleet: &Fleet, removed: bool) -> Result<()> {
        wait_long("the orphan to be gone", PATIENCE, || async {
            if let Some(container) = &self.container {
                let there = fleet.traces.containers(removed)?.contains(container);
                ensure!(!there, "container {container} is there");
            } else {
                let before = self.last_word(fleet)?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                ensure!(self.last_word(fleet)? == before, "it still speaks");
            }
            Ok(())
        })
        .await
    }
}

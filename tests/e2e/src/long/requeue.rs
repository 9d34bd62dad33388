//! An executor is killed for good: how soon another one has its task, and what is left behind.

use std::time::Duration;

use anyhow::{Result, ensure};
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Fleet};
use ocelot_e2e::wait::wait_until;
use tokio::time::Instant;

use super::percentile;

pub(super) async fn row(count: u64) -> Result<()> {
    let began = Instant::now();
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("steady", 600, "")).await?;
    fleet.add_executor("one", 1, &[]).await?;
    fleet.add_executor("two", 1, &[]).await?;
    caller.online(2).await?;
    let run = caller.execute("steady", &[]).await?;
    let name = Id::from_bytes(run).to_string();
    let mut taken = Vec::new();
    for _ in 0..count {
        let attempt = caller.running(run).await?;
        let executor = caller.run(run).await?.tasks[0].attempts.last().map(|last| last.executor_name.clone());
        let victim = usize::from(executor.as_deref() == Some("two"));
        let at = Instant::now();
        fleet.executors[victim].kill()?;
        wait_until("the next attempt", || async {
            let now = caller.running(run).await?;
            ensure!(now > attempt, "still attempt {now}");
            Ok(())
        })
        .await?;
        taken.push(at.elapsed().as_secs_f64());
        fleet.executors[victim].start()?;
        orphan_goes(&fleet, &name, attempt).await?;
        caller.online(2).await?;
        if caller.run(run).await?.tasks[0].tries > 2 {
            break;
        }
    }
    eprintln!(
        "{} kills in {:.0} s: running elsewhere after p50 {:.1} s, p99 {:.1} s; every orphan was gone after its executor's return",
        taken.len(),
        began.elapsed().as_secs_f64(),
        percentile(&mut taken, 0.5),
        percentile(&mut taken, 0.99)
    );
    Ok(())
}

async fn orphan_goes(fleet: &Fleet, run: &str, attempt: u32) -> Result<()> {
    let last = || -> Result<Option<f64>> {
        let lives = fleet.witness.lives()?;
        Ok(lives.iter().find(|life| life.run == run && life.attempt == attempt).map(|life| life.until))
    };
    wait_until("the orphan to fall silent", || async {
        let before = last()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(last()? == before, "it still speaks");
        Ok(())
    })
    .await
}

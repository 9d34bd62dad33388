//! The member that leads the store dies while a controller stands at a named point; the controller
//! goes on and does not know whether what it sends next, or what it sent last, was heard.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::fleet::{Build, Fleet, Settings};
use ocelot_e2e::runner::trial;

use super::oracle::Accepted;

/// The steps, each with its points before and after the commit.
const STEPS: &[(&str, [&str; 2])] = &[
    ("execute", ["execute.before_commit", "execute.committed"]),
    ("offer", ["offer.before_commit", "offer.committed"]),
    ("acknowledge", ["acknowledge.before_commit", "acknowledge.committed"]),
    ("complete", ["complete.before_commit", "complete.committed"]),
    ("cancel", ["cancel.before_commit", "cancel.committed"]),
];

pub(super) fn trials() -> Vec<Trial> {
    let all = STEPS.iter().map(|&(step, points)| {
        let name = format!("chaos::members::the_leader_dies_at_{step}_and_every_run_ends_once");
        trial(&name, move || leader_dies_at(points))
    });
    all.collect()
}

async fn leader_dies_at(points: [&'static str; 2]) -> Result<()> {
    let mut fleet = Fleet::start(Settings::etcd(Build::Chaos, 1, 3)).await?;
    let caller = fleet.caller(0)?;
    for class in ["normal", "exclusive", "once"] {
        caller.put_job(&fleet.witness.job(class, 1, &format!("class: {class}"))).await?;
    }
    caller.put_job(&fleet.witness.job("long", 600, "")).await?;
    fleet.add_executor("one", 4, &[]).await?;
    caller.online(1).await?;
    let mut accepted = Accepted::default();
    let mut wanted = 0;
    for point in points {
        fleet.controllers[0].kill()?;
        fleet.controllers[0].start_with(Build::Chaos, &format!("stop:{point}:1"))?;
        let work = async {
            for class in ["normal", "exclusive", "once"] {
                accepted.add(caller.execute(class, &[]).await?, class);
            }
            let long = caller.execute("long", &[]).await?;
            accepted.add(long, "normal");
            caller.running(long).await?;
            caller.cancel(long).await?;
            accepted.cancel(long);
            anyhow::Ok(())
        };
        let (worked, struck) = tokio::join!(work, strike(&mut fleet, point));
        struck?;
        worked.with_context(|| fleet.last_words())?;
        wanted += 4;
    }
    let outcomes = accepted.judge(&fleet).await?;
    ensure!(outcomes.len() == wanted, "{wanted} runs have {} ends", outcomes.len());
    // Neither executor nor build died: none is built twice.
    let lives = fleet.witness.lives()?;
    let built: BTreeSet<_> = lives.iter().map(|life| &life.run).collect();
    ensure!(built.len() == lives.len(), "{} runs were built {} times: {lives:?}", built.len(), lives.len());
    Ok(())
}

/// Waits until the controller stands at the point, kills the leader, and lets both come back.
async fn strike(fleet: &mut Fleet, point: &str) -> Result<()> {
    let controller = &fleet.controllers[0];
    controller
        .held()
        .await
        .with_context(|| format!("nothing passed {point}: {}", controller.last_words()))?;
    let etcd = fleet.etcd.as_mut().context("etcd")?;
    let leader = etcd.leader().await?;
    etcd.kill(leader)?;
    fleet.controllers[0].go_on()?;
    etcd.leader().await?;
    etcd.restart(leader).await
}

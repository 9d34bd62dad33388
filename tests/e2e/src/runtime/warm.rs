//! A job that ran finds its next container up.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::engine::IMAGE;
use ocelot_e2e::fleet::{Build, Fleet, Newcomer};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use ocelot_proto::wire::outcome::Outcome;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("runtime::warm::the_second_run_of_a_job_finds_its_container_up", second_run)]
}

async fn second_run() -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    let job =
        format!("name: host\nimage: {IMAGE}\npull: never\nstages:\n  - name: work\n    script: hostname\n");
    caller.put_job(&job).await?;
    let more = ["--runtime", "docker", "--warm", "1"];
    let index = fleet.add(Newcomer { name: "one", slots: 1, more: &more, ..Newcomer::default() }).await?;
    let mut used: Vec<String> = Vec::new();
    for runs in 0..3 {
        let run = caller.execute("host", &[]).await?;
        let outcome = caller.outcome(run).await.with_context(|| fleet.last_words())?;
        ensure!(matches!(outcome, Outcome::Succeeded(_)), "it ended {outcome:?}");
        let log = String::from_utf8_lossy(&caller.log(run, 1).await?).into_owned();
        // The engine calls a container's host as the container.
        if let Some(expected) = used.last() {
            let own = expected.get(..12).context("an id is longer")?;
            ensure!(log.contains(own), "run {runs} was not in {own}: {log:?}\n{}", fleet.last_words());
        }
        used.push(waits(&fleet, "one", &used).await.with_context(|| fleet.last_words())?);
    }
    fleet.executors[index].terminate().await?;
    let left = fleet.remains(index)?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Returns the id of the only container that an executor has, once it can be taken and is a new one.
pub(crate) async fn waits(fleet: &Fleet, executor: &str, used: &[String]) -> Result<String> {
    wait_until("a container that waits, and no other", || async {
        let all = fleet.traces.containers(true)?;
        let [only] = all.as_slice() else { anyhow::bail!("{all:?}") };
        ensure!(!used.contains(only), "it was used");
        let places = std::fs::read_dir(fleet.path(executor).join("attempts"))?;
        let marks = places.map(|place| Ok(place?.path().join("control/waiting").exists()));
        let marks = marks.collect::<std::io::Result<Vec<_>>>()?;
        ensure!(marks == [true], "its places are marked {marks:?}");
        Ok(())
    })
    .await?;
    fleet.traces.containers(true)?.pop().context("it is there")
}

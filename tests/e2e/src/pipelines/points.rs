//! A process is killed at each point of a task's way that only a pipeline passes, and started again.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Ground, Newcomer, RunId, Settings};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::Outcome;

use super::semantics::told;

const PROJECT: &str = "acme/shop";
/// A checkout, a service, and an artifact of several pieces that goes from one task to the next.
const DEFINITION: &str = r#"
defaults: {image: "ocelot-test/busybox:1", pull: never, retry: {limit: 2, on: [lost], delay: 1s}}
tasks:
  make:
    stages:
      - name: work
        script: [grep shop README, mkdir out, head -c 3000000 /dev/urandom > out/bulk, sha256sum out/bulk > out/sum]
    artifacts: [{name: box, paths: ["out/**"]}]
  take:
    needs: [make]
    checkout: false
    services: {web: {image: "ocelot-test/busybox:1", command: [httpd, -f, -p, "8080", -h, /etc], ready: {port: 8080}}}
    stages: [{name: work, script: [sha256sum -c out/sum, "wget -q -O - http://web:8080/passwd | grep root"]}]
"#;

/// Who passes a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Controller,
    Executor,
}

const POINTS: [(&str, Side); 4] = [
    ("checkout.placed", Side::Executor),
    ("service.container_up", Side::Executor),
    ("object.piece_written", Side::Controller),
    ("object.kept", Side::Controller),
];

pub(super) fn trials() -> Vec<Trial> {
    let trial_of = |(point, side): (&'static str, Side)| {
        let name = format!("pipelines::points::a_kill_at_{}_is_made_good", point.replace('.', "_"));
        trial(&name, move || killed_at(point, side))
    };
    POINTS.map(trial_of).into()
}

async fn killed_at(point: &'static str, side: Side) -> Result<()> {
    let mut ground = Ground::start(Settings::embedded(Build::Chaos)).await?;
    ground.repository(PROJECT, &[("README", "A shop.\n"), ("ocelot.yml", DEFINITION)])?;
    ground.add_project(PROJECT, wire::ProjectSettings::default()).await?;
    let more = ["--runtime", "docker"];
    ground.add_executor(Newcomer { name: "one", slots: 1, more: &more, ..Newcomer::default() }).await?;
    ground.fleet.caller(0)?.online(1).await?;
    let fleet = &mut ground.fleet;
    let program = match side {
        Side::Controller => &mut fleet.controllers[0],
        Side::Executor => &mut fleet.executors[0],
    };
    program.kill()?;
    program.start_with(Build::Chaos, &format!("kill:{point}:1"))?;
    fleet.ready().await?;
    let run = ground.build(PROJECT, "").await?;
    let fleet = &mut ground.fleet;
    let program = match side {
        Side::Controller => &mut fleet.controllers[0],
        Side::Executor => &mut fleet.executors[0],
    };
    let status =
        program.ended().await.with_context(|| format!("nothing passed {point}: {}", program.last_words()))?;
    ensure!(!status.success(), "it ended by itself: {status}");
    program.start_with(Build::Chaos, "")?;
    judge(&ground, run, side).await.with_context(|| ground.fleet.last_words())
}

async fn judge(ground: &Ground, run: RunId, side: Side) -> Result<()> {
    let fleet = &ground.fleet;
    let caller = fleet.caller(0)?;
    let outcome = caller.outcome(run).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "it ended {}", told(&outcome));
    let tries: Vec<u32> = caller.run(run).await?.tasks.iter().map(|task| task.tries).collect();
    match side {
        // What an executor keeps does not hang on the controller that it talks to.
        Side::Controller => ensure!(tries == [1, 1], "{tries:?}"),
        // A machine that lost its hold of one task tries that one again, at most.
        Side::Executor => ensure!((2..=3).contains(&tries.iter().sum::<u32>()), "{tries:?}"),
    }
    let into = tempfile::tempdir()?;
    let folder = into.path().join("box").display().to_string();
    let run = Id::from_bytes(run).to_string();
    let output = fleet.run("ocelot", &["artifacts", "get", &run, "box", "--into", &folder])?;
    ensure!(output.status.success(), "artifacts get: {}", String::from_utf8_lossy(&output.stderr));
    let bulk = std::fs::metadata(into.path().join("box/out/bulk"))?.len();
    ensure!(bulk == 3_000_000, "{bulk} bytes");
    wait_until("nothing to be left", || async {
        let left = fleet.remains(0)?;
        ensure!(left.is_empty(), "{left:#?}");
        Ok(())
    })
    .await
}

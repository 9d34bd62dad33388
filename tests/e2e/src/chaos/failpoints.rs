//! A process is killed at every named point of a run's way, and started again.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Fleet, Ground, Newcomer, Settings, reference};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::Outcome;

use super::oracle::Accepted;

/// Who passes a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Controller,
    Executor,
}

use Side::{Controller, Executor};

/// Every point, and whose it is.
const POINTS: &[(&str, Side)] = &[
    ("execute.before_commit", Controller),
    ("execute.committed", Controller),
    ("offer.before_commit", Controller),
    ("offer.committed", Controller),
    ("poll.answered", Controller),
    ("accept.journalled", Executor),
    ("acknowledge.before_commit", Controller),
    ("acknowledge.committed", Controller),
    ("acknowledge.answered", Executor),
    ("start.journalled", Executor),
    ("start.container_up", Executor),
    ("stage.ordered", Executor),
    ("report.committed", Controller),
    ("log.spooled", Executor),
    ("log.checkpointed", Executor),
    ("log.appended", Controller),
    ("log.synced", Controller),
    ("end.journalled", Executor),
    ("complete.log_checked", Controller),
    ("complete.before_commit", Controller),
    ("complete.committed", Controller),
    ("complete.answered", Executor),
    ("cancel.before_commit", Controller),
    ("cancel.committed", Controller),
    ("cancel.passed_on", Executor),
    ("remove.container_gone", Executor),
    ("remove.journalled", Executor),
    ("run.ended", Controller),
    ("session.before_commit", Controller),
    ("session.committed", Controller),
    ("session.attached", Controller),
];

pub(super) fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = POINTS
        .iter()
        .map(|&(point, side)| {
            let name = format!("chaos::failpoints::a_kill_at_{}_loses_nothing", point.replace('.', "_"));
            trial(&name, move || killed_at(point, side))
        })
        .collect();
    trials.extend(OF_REPOSITORIES.iter().map(|&(point, side)| {
        let name = format!("chaos::failpoints::a_kill_at_{}_loses_nothing", point.replace('.', "_"));
        trial(&name, move || killed_with_a_repository(point, side))
    }));
    trials.push(trial("chaos::failpoints::every_point_has_its_trial", every_point_has_its_trial));
    trials
}

/// Points that need a store of their own, a lost executor or a repository are no part of these.
const ELSEWHERE: &[&str] = &["log.shipped", "lost.before_commit", "lost.committed"];

/// Points that are passed on the way from a commit to an artifact, and to whoever needs it.
const OF_REPOSITORIES: &[(&str, Side)] =
    &[("checkout.placed", Executor), ("object.kept", Controller), ("object.piece_written", Controller)];

/// Points that only a pipeline passes. Their trials are owed: this list is to become empty.
const OWED: &[&str] = &[
    "event.before_commit",
    "event.committed",
    "event.decided",
    "outbox.claimed",
    "outbox.posted",
    "service.container_up",
];

async fn every_point_has_its_trial() -> Result<()> {
    for point in ocelot_proto::kit::chaos::POINTS {
        let here = POINTS.iter().chain(OF_REPOSITORIES).any(|(name, _)| name == point);
        ensure!(here || ELSEWHERE.contains(point) || OWED.contains(point), "no trial kills at {point}");
    }
    Ok(())
}

/// Two tasks: the second counts on what the first kept, to the last byte.
const KEPT_AND_NEEDED: &str = "defaults: {runtime: process}\ntasks:\n  make:\n    \
    stages: [{name: work, script: [head -c 3000000 /dev/urandom > part, sha256sum part README > sums]}]\n    \
    artifacts: [{name: whole, paths: [part, sums]}]\n  take:\n    needs: [make]\n    \
    stages: [{name: work, script: sha256sum -c sums}]\n";

async fn killed_with_a_repository(point: &'static str, side: Side) -> Result<()> {
    const PROJECT: &str = "acme/shop";
    let mut ground = Ground::start(Settings::embedded(Build::Chaos)).await?;
    ground.repository(PROJECT, &[("README", "A shop.\n")])?;
    ground.add_project(PROJECT, wire::ProjectSettings::default()).await?;
    ground.add_executor(Newcomer { name: "one", slots: 2, ..Newcomer::default() }).await?;
    let caller = ground.fleet.caller(0)?;
    caller.online(1).await?;
    let mut program = match side {
        Controller => ground.fleet.controllers.remove(0),
        Executor => ground.fleet.executors.remove(0),
    };
    program.kill()?;
    program.start_with(Build::Chaos, &format!("kill:{point}:1"))?;
    let run = ground.build(PROJECT, KEPT_AND_NEEDED).await?;
    let status = program.ended().await.with_context(|| format!("nothing passed {point}"))?;
    ensure!(!status.success(), "it ended by itself: {status}");
    program.start_with(Build::Chaos, "")?;
    let outcome = caller.outcome(run).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}: {}", program.last_words());
    let request = wire::ListArtifactsRequest { run: Some(reference(run)), ..Default::default() };
    let kept = caller.artifacts().list_artifacts(request).await?.into_inner().artifacts;
    let whole = kept.iter().all(|one| one.name == "whole" && one.files == 2 && one.size_bytes > 3_000_000);
    ensure!(kept.len() == 1 && whole, "{kept:?}");
    Ok(())
}

async fn killed_at(point: &'static str, side: Side) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Chaos).await?;
    let caller = fleet.caller(0)?;
    for class in ["normal", "exclusive", "once"] {
        caller.put_job(&fleet.witness.job(class, 2, &format!("class: {class}"))).await?;
    }
    caller.put_job(&fleet.witness.job("long", 200, "")).await?;
    fleet.add_executor("one", 4, &[]).await?;
    caller.online(1).await?;
    let planted = format!("kill:{point}:1");
    let program = match side {
        Controller => &mut fleet.controllers[0],
        Executor => &mut fleet.executors[0],
    };
    program.kill()?;
    program.start_with(Build::Chaos, &planted)?;
    if point.starts_with("session.") {
        // A session outlives its controller; a new process opens a new one.
        fleet.executors[0].kill_and_start()?;
    }

    let mut accepted = Accepted::default();
    let witness = fleet.witness.clone();
    let work = async {
        for class in ["normal", "exclusive", "once"] {
            accepted.add(caller.execute(class, &[]).await?, class);
        }
        let long = caller.execute("long", &[]).await?;
        accepted.add(long, "normal");
        // A cancel before its first stage would not pass all points.
        wait_until("the long build's first word", || async {
            let name = Id::from_bytes(long).to_string();
            let begun = witness.lives()?.iter().any(|life| life.run == name);
            ensure!(begun, "silence");
            Ok(())
        })
        .await?;
        caller.cancel(long).await?;
        accepted.cancel(long);
        anyhow::Ok(())
    };
    let bitten = async {
        let program = match side {
            Controller => &mut fleet.controllers[0],
            Executor => &mut fleet.executors[0],
        };
        let status = program
            .ended()
            .await
            .with_context(|| format!("nothing passed {point}: {}", program.last_words()))?;
        ensure!(!status.success(), "it ended by itself: {status}");
        program.start_with(Build::Chaos, "")
    };
    let (worked, bitten) = tokio::join!(work, bitten);
    bitten?;
    worked.with_context(|| fleet.last_words())?;
    accepted.judge(&fleet).await?;
    Ok(())
}

//! A process is killed at every named point of a run's way, and started again.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Fleet, Settings};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;

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
            trial(&name, move || killed_at(Settings::embedded(Build::Chaos), point, side))
        })
        .collect();
    // Only a controller that shares its home of bytes with others brings logs there.
    trials.push(trial("chaos::failpoints::a_kill_at_log_shipped_loses_nothing", || {
        killed_at(Settings::etcd(Build::Chaos, 1, 1), "log.shipped", Controller)
    }));
    for point in ["lost.before_commit", "lost.committed"] {
        let name = format!("chaos::failpoints::a_kill_at_{}_loses_nothing", point.replace('.', "_"));
        trials.push(trial(&name, move || killed_at_a_loss(point)));
    }
    trials
}

/// Returns a trial that looks whether some trial kills at every point there is.
pub(crate) fn coverage(trials: &[Trial]) -> Trial {
    let names: Vec<String> = trials.iter().map(|trial| trial.name().to_owned()).collect();
    trial("chaos::failpoints::every_point_has_its_trial", || async move {
        for point in ocelot_proto::kit::chaos::POINTS {
            let part = format!("a_kill_at_{}_", point.replace('.', "_"));
            ensure!(names.iter().any(|name| name.contains(&part)), "no trial kills at {point}");
        }
        Ok(())
    })
}

/// A controller dies while it takes a task from an executor that is lost.
async fn killed_at_a_loss(point: &'static str) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Chaos).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", 50, "")).await?;
    fleet.add_executor("one", 1, &[]).await?;
    caller.online(1).await?;
    fleet.controllers[0].kill()?;
    fleet.controllers[0].start_with(Build::Chaos, &format!("kill:{point}:1"))?;
    let mut accepted = Accepted::default();
    let run = caller.execute("normal", &[]).await?;
    accepted.add(run, "normal");
    caller.running(run).await?;
    fleet.executors[0].kill()?;
    fleet.add_executor("two", 1, &[]).await?;
    let status = fleet.controllers[0].ended().await.with_context(|| fleet.last_words())?;
    ensure!(!status.success(), "it ended by itself: {status}");
    fleet.controllers[0].start_with(Build::Chaos, "")?;
    wait_until("the task to run elsewhere", || async {
        let run = caller.run(run).await?;
        ensure!(run.tasks[0].attempts.len() > 1, "{:?}", run.tasks[0].state);
        Ok(())
    })
    .await
    .with_context(|| fleet.last_words())?;
    // What is left of the first attempt goes with its executor's return.
    fleet.executors[0].start()?;
    accepted.judge(&fleet).await.map(drop)
}

async fn killed_at(settings: Settings, point: &'static str, side: Side) -> Result<()> {
    let mut fleet = Fleet::start(settings).await?;
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

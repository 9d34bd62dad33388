//! A controller is killed at every point of an event's way, and the delivery comes again.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::fleet::{Build, Ground, Settings};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;

use super::found::Found;
use super::pushes::{self, Project};
use super::sending::{Answers, accepted, answered, deliver};
use super::{decided, looked};

const POINTS: [&str; 3] = ["event.before_commit", "event.committed", "event.decided"];

pub(super) fn trials() -> Vec<Trial> {
    let trial_of = |point: &'static str| {
        let name = format!("pipelines::deliveries::a_kill_at_{}_costs_no_run", point.replace('.', "_"));
        trial(&name, move || killed_at(point))
    };
    POINTS.map(trial_of).into()
}

async fn killed_at(point: &'static str) -> Result<()> {
    let mut ground = Ground::start(Settings::embedded(Build::Chaos)).await?;
    let (project, repository) = Project::add(&ground, 0, "github").await?;
    let pushes = pushes::push(&repository, 0, 1)?;
    let delivery = project.delivery(0, &pushes[0], "the-one".to_owned())?;
    let projects = [project];
    // No look comes in between: this one has noted the branch, and built what it builds.
    looked(&ground.fleet, &projects).await?;
    let port = ground.fleet.port(0);
    ground.fleet.controllers[0].kill()?;
    ground.fleet.controllers[0].start_with(Build::Chaos, &format!("kill:{point}:1"))?;
    ground.fleet.ready().await?;
    let first = deliver(port, &delivery).await;
    let was_told = first.as_ref().is_ok_and(|answer| answer.status == 202);
    ensure!(was_told == (point == "event.decided"), "the first try: {first:?}");
    let controller = &mut ground.fleet.controllers[0];
    let status = controller
        .ended()
        .await
        .with_context(|| format!("nothing passed {point}: {}", controller.last_words()))?;
    ensure!(!status.success(), "it ended by itself: {status}");
    controller.start_with(Build::Chaos, "")?;
    let mut answers = Answers::default();
    for _ in 0..2 {
        let again = wait_until("an answer to the same delivery", || answered(port, &delivery)).await?;
        let (run, existed) = accepted(&again)?;
        // What was committed before the end is known again.
        let is_news = point == "event.before_commit" && answers.runs.is_empty();
        ensure!(existed != is_news, "{point}: existed is {existed}");
        answers.runs.entry(0).or_default().insert(run);
    }
    let caller = ground.fleet.caller(0)?;
    decided(&caller, &projects, 1).await?;
    Found::of(&caller, &projects, &pushes, &answers).await?.judge(1)
}

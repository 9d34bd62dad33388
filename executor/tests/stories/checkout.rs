//! A commit comes into the workspace before the first stage, or the task fails.

use ocelot_core::plan::{Checkout, Stage, TaskPlan};
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::{Outcome, failed};

use crate::controller::cancel;
use crate::repository::repository;
use crate::{World, plan, stage};

fn checked_out(stages: Vec<Stage>) -> TaskPlan {
    let mut plan = plan(stages);
    plan.environment.checkout = Some(Checkout { depth: 0, submodules: false, lfs: false });
    plan
}

#[tokio::test]
async fn a_first_stage_finds_the_commit_in_its_workspace_and_what_opens_it_is_asked_for_late() {
    let world = World::started().await;
    let folder = tempfile::tempdir().unwrap();
    let source = wire::Source { needs_credentials: true, ..repository(folder.path()) };
    world.machine.set(|facts| facts.held_stages = true);
    world.offer_source(&checked_out(vec![stage("a")]), Some(source.clone()));
    world.machine.runs_a_stage().await;
    let attempt = world.machine.facts().containers.keys().next().unwrap().parent().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(attempt.join("workspace/file")).unwrap(), "text");
    {
        let model = world.controller.model();
        let place = |call| model.calls.iter().position(|known| *known == call).unwrap();
        assert!(place("acknowledge") < place("secrets"));
        assert_eq!(model.secrets_asked, [(vec![], true)]);
    }
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    let lines = world.machine.facts().lines.join("; ");
    assert!(lines.contains(&format!("checkout: commit {} on main in ", &source.commit[..7])), "{lines}");
    world.clean().await;
}

#[tokio::test]
async fn a_commit_that_is_gone_fails_the_task_before_anything_of_it_runs() {
    let world = World::started().await;
    let folder = tempfile::tempdir().unwrap();
    let source = wire::Source { commit: "1".repeat(40), ..repository(folder.path()) };
    world.offer_source(&checked_out(vec![stage("a")]), Some(source));
    match world.outcome().await {
        Outcome::Failed(wire::outcome::Failed { stage, failure: Some(failed::Failure::Setup(why)) }) => {
            assert_eq!(stage, "");
            assert!(why.contains("is not in file://"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert!(world.machine.facts().containers.values().all(|seen| seen.orders.is_empty()));
    world.clean().await;
}

#[tokio::test]
async fn a_cancel_in_the_middle_of_a_checkout_ends_it() {
    let world = World::started().await;
    let folder = tempfile::tempdir().unwrap();
    let source = repository(folder.path());
    world.machine.set(|facts| facts.held_prepare = true);
    let id = world.offer_source(&checked_out(vec![stage("a")]), Some(source));
    let said = |lines: &[String]| lines.iter().any(|line| line.starts_with("checkout: fetching"));
    world.machine.until("a checkout", |facts| said(&facts.lines)).await;
    world.controller.set(|model| model.directives.push(cancel(id)));
    assert!(matches!(world.outcome().await, Outcome::Cancelled(_)));
    assert_eq!(world.machine.facts().starts, 0);
    world.clean().await;
}

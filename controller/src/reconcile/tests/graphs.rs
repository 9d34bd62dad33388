//! Runs of several tasks: needs, skips, fail-fast, groups, and plans that are put batch by batch.

use std::collections::BTreeMap;
use std::time::Duration;

use ocelot_core::plan::*;
use ocelot_domain::outcome::{Actor, Outcome};
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::state::TaskState;

use super::world::*;
use crate::records::{Stage as RunStage, StoredPlan};
use crate::service::{CancelRequest, Word};
use crate::store::keys::Folder;

pub(super) fn task(name: &str) -> TaskPlan {
    TaskPlan {
        name: name.into(),
        variant: BTreeMap::new(),
        base: name.into(),
        fail_fast: false,
        needs: Vec::new(),
        gate: Gate::OnSuccess,
        class: Class::Normal,
        priority: 0,
        labels: Vec::new(),
        resources: Resources::default(),
        limits: Limits {
            timeout: Duration::from_secs(3600),
            queue_timeout: Duration::from_secs(86400),
            quiet_timeout: None,
            grace: Duration::from_secs(10),
        },
        retry: Retry { limit: 2, on: vec![Cause::Lost], exit_codes: Vec::new(), delay: Duration::ZERO },
        allow_failure: Tolerance::None,
        concurrency: None,
        approval: None,
        keep: Keep::Never,
        environment: Environment {
            runtime: Runtime::Process,
            checkout: None,
            directory: ".".into(),
            user: None,
            env: BTreeMap::new(),
            secrets: Vec::new(),
            services: Vec::new(),
            caches: Vec::new(),
            artifacts: Vec::new(),
        },
        work: Work::Command(vec!["make".into()]),
    }
}

fn needing(name: &str, needs: &[u32]) -> TaskPlan {
    let need = |task: &u32| Need { task: *task, optional: false, artifacts: false };
    TaskPlan { needs: needs.iter().map(need).collect(), ..task(name) }
}

pub(super) fn plan(tasks: Vec<TaskPlan>) -> Plan {
    Plan { tasks, concurrency: None, notify: Vec::new(), group: None }
}

pub(super) fn one(task: TaskPlan) -> Plan {
    plan(vec![task])
}

fn group(limit: u32) -> Concurrency {
    Concurrency { group: "deploy".into(), limit, cancel: Supersede::Never }
}

fn is_finished(state: &TaskState) -> bool {
    matches!(state, TaskState::Finished { .. })
}

#[tokio::test]
async fn five_tasks_run_in_the_order_of_their_needs_and_a_failure_skips_what_needs_it() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 4).await;
    // build -> (test, lint) -> publish, and a report only if something failed.
    let report = TaskPlan { gate: Gate::OnFailure, ..needing("report", &[1, 2]) };
    let graph = vec![
        task("build"),
        needing("test", &[0]),
        needing("lint", &[0]),
        needing("publish", &[1, 2]),
        report,
    ];
    let run = controller.execute_plan(1, plan(graph)).await;
    let build = executor.take(&controller).await;
    assert_eq!(build.task.index, 0);
    executor.succeed(&controller, build).await;
    let (first, second) = (executor.take(&controller).await, executor.take(&controller).await);
    let mut indexes = [first.task.index, second.task.index];
    indexes.sort_unstable();
    assert_eq!(indexes, [1, 2]);
    executor.complete(&controller, first, failed()).await.unwrap();
    assert_eq!(controller.task(run, 3).await.state.name(), "Waiting", "its other need goes on");
    executor.succeed(&controller, second).await;
    let publish = controller.until(run, 3, is_finished).await;
    assert!(matches!(publish.outcome(), Some(Outcome::Skipped { why }) if why.contains("failed")));
    let report = executor.take(&controller).await;
    assert_eq!(report.task.index, 4);
    executor.succeed(&controller, report).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Failed);
}

#[tokio::test]
async fn the_first_failed_variant_cancels_the_others_when_they_fail_fast() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 2).await;
    let variant = |name: &str| TaskPlan { base: "test".into(), fail_fast: true, ..task(name) };
    let run = controller.execute_plan(1, plan(vec![variant("a"), variant("b"), variant("c")])).await;
    let first = executor.take(&controller).await;
    let second = executor.take(&controller).await;
    executor.complete(&controller, first, failed()).await.unwrap();
    let third = controller.until(run, 2, is_finished).await;
    assert!(matches!(third.outcome(), Some(Outcome::Cancelled { .. })), "it had not begun: {third:?}");
    controller.until(run, second.task.index, |state| matches!(state, TaskState::Cancelling { .. })).await;
    executor.succeed(&controller, second).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Failed);
}

#[tokio::test]
async fn a_group_admits_no_more_than_its_limit_and_is_given_free_at_the_end() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 9).await;
    let member = || one(TaskPlan { concurrency: Some(group(2)), ..task("t") });
    let mut runs = Vec::new();
    for number in 1..=4 {
        runs.push(controller.execute_plan(number, member()).await);
    }
    let first = executor.take(&controller).await;
    let second = executor.take(&controller).await;
    assert!(executor.poll_now(&controller).await.offers.is_empty(), "the group is full");
    executor.succeed(&controller, first).await;
    let third = executor.take(&controller).await;
    assert_eq!(third.task.run, runs[2], "in the order of acceptance");
    assert!(executor.poll_now(&controller).await.offers.is_empty());
    executor.succeed(&controller, second).await;
    executor.complete(&controller, third, failed()).await.unwrap();
    let fourth = executor.take(&controller).await;
    executor.succeed(&controller, fourth).await;
    controller.ended(runs[3]).await;
    assert_eq!(page(&world, &Folder::Groups.to_string()).await.items, [], "no slot leaks");
}

#[tokio::test]
async fn a_runs_own_group_is_held_until_the_run_ends() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 9).await;
    let run = |_| Plan { concurrency: Some(group(1)), ..plan(vec![task("a"), needing("b", &[0])]) };
    let first = controller.execute_plan(1, run(1)).await;
    let second = controller.execute_plan(2, run(2)).await;
    for index in 0..2 {
        let attempt = executor.take(&controller).await;
        assert_eq!((attempt.task.run, attempt.task.index), (first, index));
        executor.succeed(&controller, attempt).await;
    }
    controller.ended(first).await;
    let attempt = executor.take(&controller).await;
    assert_eq!(attempt.task.run, second);
    let cancel = CancelRequest { run: second, by: Actor("bo".into()), reason: None, force: true };
    controller.service.cancel(cancel).await.unwrap();
    assert_eq!(controller.ended(second).await, RunOutcome::Cancelled);
    assert_eq!(page(&world, &Folder::Groups.to_string()).await.items, []);
}

#[tokio::test]
async fn a_large_run_is_put_batch_by_batch_and_nothing_of_it_is_offered_before_all_is_there() {
    let world = World::new();
    let controller = world.controller("a").await;
    let tasks = (0..250).map(|number| task(&format!("t{number}"))).collect();
    let run = controller.execute_plan(1, plan(tasks)).await;
    let record = controller.service.run(run).await.unwrap();
    assert!(matches!(record.run.plan, StoredPlan::Kept { tasks: 250, .. }), "it is over 64 KiB");
    controller.until(run, 249, |state| matches!(state, TaskState::Queued { .. })).await;
    let stored = controller.service.run(run).await.unwrap();
    assert_eq!((stored.run.stage, stored.tasks.len()), (RunStage::Active, 250));
    let mut executor = Executor::ready(&controller, "x1", 300).await;
    let offers = executor.poll(&controller).await.offers.len();
    assert!(offers > 0, "they are offered together");
    let cancel = CancelRequest { run, by: Actor("bo".into()), reason: None, force: true };
    controller.service.cancel(cancel).await.unwrap();
    assert_eq!(controller.ended(run).await, RunOutcome::Cancelled);
}

#[tokio::test]
async fn a_task_that_needs_a_persons_consent_waits_for_it_and_no_longer_than_it_may() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let approval = Approval { by: vec!["bo".into()], message: None, expires: Duration::from_secs(60) };
    let careful = || one(TaskPlan { approval: Some(approval.clone()), ..task("deploy") });
    let run = controller.execute_plan(1, careful()).await;
    controller.settle().await;
    assert_eq!(controller.service.why(run).await.unwrap()[0].why, "waits for the approval of bo");
    let id = controller.task(run, 0).await.id;
    assert_eq!(controller.service.approvers(id).await.unwrap(), ["bo"]);
    controller.service.approve(id, Actor("bo".into()), Word::Granted).await.unwrap();
    let attempt = executor.take(&controller).await;
    executor.succeed(&controller, attempt).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Succeeded);
    let forgotten = controller.execute_plan(2, careful()).await;
    controller.settle().await;
    controller.pass(61).await;
    assert_eq!(controller.ended(forgotten).await, RunOutcome::Skipped);
}

#[tokio::test]
async fn a_newer_member_of_a_group_ends_an_older_one_if_its_plan_says_so() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 4).await;
    let grouped = |cancel| {
        let concurrency = Some(Concurrency { cancel, ..group(1) });
        Plan { concurrency, ..one(task("deploy")) }
    };
    let first = controller.execute_plan(1, grouped(Supersede::Never)).await;
    let running = executor.take(&controller).await;
    let second = controller.execute_plan(2, grouped(Supersede::Never)).await;
    let third = controller.execute_plan(3, grouped(Supersede::Waiting)).await;
    assert_eq!(controller.ended(second).await, RunOutcome::Cancelled, "it waited");
    assert_eq!(controller.task(first, 0).await.state.name(), "Running", "it did not wait");
    let fourth = controller.execute_plan(4, grouped(Supersede::Running)).await;
    assert_eq!(controller.ended(third).await, RunOutcome::Cancelled);
    controller.until(first, 0, |state| matches!(state, TaskState::Cancelling { .. })).await;
    executor.complete(&controller, running, failed()).await.unwrap();
    assert_eq!(controller.ended(first).await, RunOutcome::Cancelled);
    let newest = executor.take(&controller).await;
    assert_eq!(newest.task.run, fourth);
    executor.succeed(&controller, newest).await;
    assert_eq!(controller.ended(fourth).await, RunOutcome::Succeeded);
}

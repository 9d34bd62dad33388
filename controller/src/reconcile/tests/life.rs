//! The life of a run where nothing breaks, and what people do to it.

use std::time::Duration;

use ocelot_domain::outcome::{Actor, Outcome, Timeout};
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::state::TaskState;

use super::world::*;
use crate::service::*;

#[tokio::test]
async fn a_job_goes_from_execute_to_an_executor_and_back() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 2).await;
    let run = controller.execute(1).await;
    let offered = executor.offered(&controller).await;
    assert_eq!(offered.env["OCELOT_RUN_NUMBER"], "1");
    assert_eq!(offered.env["OCELOT_ATTEMPT"], "1");
    executor.acknowledge(&controller, offered.attempt).await.unwrap();
    controller.settle().await;
    assert_eq!(executor.heartbeat(&controller).await.unwrap().vouched, [offered.attempt]);
    executor.succeed(&controller, offered.attempt).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Succeeded);
    let task = controller.task(run, 0).await;
    assert_eq!((task.tries, task.ended.len()), (1, 1));
    controller.tick().await;
}

#[tokio::test]
async fn a_repeated_execute_finds_the_same_run_and_another_payload_is_refused() {
    let world = World::new();
    let controller = world.controller("a").await;
    let run = controller.execute(1).await;
    let again = controller.service.execute(request(1)).await.unwrap();
    assert!(again.existed && again.run.id == run);
    // Whatever became of the job meanwhile.
    assert!(controller.service.delete_job("build").await.unwrap());
    assert!(controller.service.execute(request(1)).await.unwrap().existed);
    let other = ExecuteRequest { env: [("A".into(), "b".into())].into(), ..request(1) };
    let error = controller.service.execute(other).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { what: What::Run, .. }), "{error:?}");
    let error = controller.service.execute(request(2)).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { what: What::Job, .. }), "{error:?}");
}

#[tokio::test]
async fn runs_of_a_job_are_numbered_without_gaps_whichever_controller_accepts_them() {
    let world = World::new();
    let (a, b) = (world.controller("a").await, world.controller("b").await);
    a.put_job(JOB).await;
    let accept = |controller: &Controller, number| {
        let service = controller.service.clone();
        async move { service.execute(request(number)).await.unwrap().run.number }
    };
    let runs = (1..=20).map(|number| accept(if number % 2 == 0 { &a } else { &b }, number));
    let mut numbers = futures_util::future::join_all(runs).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_job_keeps_its_history_and_refuses_a_writer_who_saw_an_older_version() {
    let world = World::new();
    let controller = world.controller("a").await;
    let ana = Actor("ana".into());
    let put = |text: &'static str, seen| controller.service.put_job(text, &ana, seen);
    assert_eq!(put(JOB, Seen::None).await.unwrap().versions.len(), 1);
    assert_eq!(put(JOB, Seen::Any).await.unwrap().versions.len(), 1);
    let newer = "name: build\nimage: debian\ncommand: [make]\n";
    assert_eq!(put(newer, Seen::Version(1)).await.unwrap().current().version, 2);
    assert!(matches!(put(JOB, Seen::Version(1)).await, Err(Error::AlreadyExists { .. })));
    let job = controller.service.job("build").await.unwrap();
    assert_eq!(job.versions.iter().map(|version| version.text.as_str()).collect::<Vec<_>>(), [JOB, newer]);
    let error = put("name: build\nimage_name: x\n", Seen::Any).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
}

#[tokio::test]
async fn jobs_and_runs_are_listed_by_pages_and_found_by_what_people_type() {
    let world = World::new();
    let controller = world.controller("a").await;
    for name in ["a", "b", "c"] {
        controller.put_job(&format!("name: {name}\nimage: alpine\ncommand: [make]\n")).await;
    }
    for number in 1..=5 {
        controller.execute(number).await;
    }
    controller.settle().await;
    let first = controller.service.jobs(None, 3);
    assert_eq!(first.next.as_deref(), Some("build"));
    let rest = controller.service.jobs(first.next.as_deref(), 3);
    assert_eq!(rest.jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["c"]);
    let filter = RunFilter { job: Some("build".into()), ..RunFilter::default() };
    let page = controller.service.runs(&filter, None, 3);
    assert_eq!(page.runs.iter().map(|run| run.number).collect::<Vec<_>>(), [5, 4, 3]);
    let page = controller.service.runs(&filter, page.next, 3);
    assert_eq!((page.runs.len(), page.next), (2, None));
    assert_eq!(controller.service.find_run("build").unwrap(), run_id(5));
    assert_eq!(controller.service.find_run("build#2").unwrap(), run_id(2));
    assert_eq!(controller.service.find_run("030303030303").unwrap(), run_id(3));
    assert!(matches!(controller.service.find_run("-7"), Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_declined_task_goes_to_another_executor_and_costs_no_try() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut first = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    let offered = first.offered(&controller).await;
    let session = first.session(&controller).await;
    controller.service.decline(session, offered.attempt, "no slot").await.unwrap();
    assert!(first.poll_now(&controller).await.offers.is_empty(), "it is not asked again so soon");
    let mut second = Executor::ready(&controller, "x2", 1).await;
    let attempt = second.take(&controller).await;
    assert_eq!(attempt.attempt.number(), 2);
    assert_eq!(controller.task(run, 0).await.tries, 1);
    second.succeed(&controller, attempt).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Succeeded);
}

#[tokio::test]
async fn what_nobody_acknowledged_is_cancelled_at_once() {
    let world = World::new();
    let controller = world.controller("a").await;
    let cancel = |run| CancelRequest { run, by: Actor("bo".into()), reason: None, force: false };
    let queued = controller.execute(1).await;
    assert_eq!(controller.service.cancel(cancel(queued)).await.unwrap(), Cancelled::Cancelled);
    assert_eq!(controller.ended(queued).await, RunOutcome::Cancelled);
    assert_eq!(controller.service.cancel(cancel(queued)).await.unwrap(), Cancelled::AlreadyEnded);

    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let offered_run = controller.execute(2).await;
    let offered = executor.offered(&controller).await;
    assert_eq!(controller.service.cancel(cancel(offered_run)).await.unwrap(), Cancelled::Cancelled);
    let late = executor.acknowledge(&controller, offered.attempt).await.unwrap_err();
    assert!(matches!(late, Error::Fenced), "{late:?}");
    assert_eq!(executor.poll(&controller).await.directives, [Directive::Kill(offered.attempt)]);
}

#[tokio::test]
async fn what_runs_is_cancelling_until_its_executor_ends_it_and_then_cancelled_whatever_it_says() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    let attempt = executor.take(&controller).await;
    let cancel = CancelRequest { run, by: Actor("bo".into()), reason: None, force: false };
    assert_eq!(controller.service.cancel(cancel.clone()).await.unwrap(), Cancelled::Cancelling);
    assert_eq!(controller.service.cancel(cancel).await.unwrap(), Cancelled::Cancelling);
    assert_eq!(executor.poll(&controller).await.directives, [Directive::Cancel(attempt)]);
    executor.succeed(&controller, attempt).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Cancelled);
    let TaskState::Finished { outcome: Outcome::Cancelled { by, result } } = controller.state(run).await
    else {
        panic!("every way out of cancelling is cancelled")
    };
    assert_eq!((by.0.as_str(), result), ("bo", Some(Box::new(Outcome::Succeeded))));
}

#[tokio::test]
async fn a_forced_cancel_ends_a_run_without_its_executor() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    let attempt = executor.take(&controller).await;
    let cancel = |force| CancelRequest { run, by: Actor("bo".into()), reason: None, force };
    assert_eq!(controller.service.cancel(cancel(false)).await.unwrap(), Cancelled::Cancelling);
    assert_eq!(controller.service.cancel(cancel(true)).await.unwrap(), Cancelled::Cancelled);
    let late = executor.succeed_late(&controller, attempt).await;
    assert!(matches!(late, Error::Fenced), "{late:?}");
    assert_eq!(controller.ended(run).await, RunOutcome::Cancelled);
}

#[tokio::test]
async fn a_failed_run_is_tried_again_as_a_new_run_of_the_same_plan() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    let retry = RetryRequest { id: run_id(9), run, failed_only: true, by: Actor("bo".into()) };
    assert!(matches!(controller.service.retry(retry.clone()).await, Err(Error::Conflict { .. })));
    let attempt = executor.take(&controller).await;
    executor.complete(&controller, attempt, failed()).await.unwrap();
    assert_eq!(controller.ended(run).await, RunOutcome::Failed);
    let new = controller.service.retry(retry.clone()).await.unwrap();
    assert_eq!((new.run.id, new.run.number, new.existed), (run_id(9), 2, false));
    assert!(controller.service.retry(retry).await.unwrap().existed);
    let attempt = executor.take(&controller).await;
    executor.succeed(&controller, attempt).await;
    assert_eq!(controller.ended(run_id(9)).await, RunOutcome::Succeeded);
}

#[tokio::test]
async fn why_names_what_keeps_a_task_from_every_executor() {
    let world = World::new();
    let controller = world.controller("a").await;
    Executor::register(&controller, "x1", 1).await;
    let job = "name: build\nimage: alpine\ncommand: [make]\nlabels: [gpu, arch=riscv]\n";
    controller.put_job(job).await;
    let run = controller.service.execute(request(1)).await.unwrap().run.id;
    controller.settle().await;
    let reasons = controller.service.why(run).await.unwrap();
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].why, "needs label arch=riscv: 0 of 1 have it");
    assert_eq!(reasons[0].executors[0].refusals, ["needs label arch=riscv", "offline"]);
}

#[tokio::test]
async fn a_task_that_waits_too_long_for_an_executor_times_out() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    controller.put_job("name: build\nimage: alpine\ncommand: [make]\nqueue_timeout: 1m\n").await;
    let run = controller.service.execute(request(1)).await.unwrap().run.id;
    controller.settle().await;
    controller.advance(Duration::from_secs(59)).await;
    controller.tick().await;
    assert_eq!(controller.state(run).await.name(), "Queued");
    controller.pass(2).await;
    let ended = controller.state(run).await;
    assert_eq!(ended, TaskState::Finished { outcome: Outcome::TimedOut(Timeout::Queue) });
    assert_eq!(controller.ended(run).await, RunOutcome::TimedOut);
}

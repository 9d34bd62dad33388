//! Controllers that die and race, answers that get lost, logs that do not come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::event::Report;
use ocelot_domain::task::state::{LogEnd, TaskState};

use super::world::*;
use crate::reconcile::retention::{self, Keep};
use crate::service::*;
use crate::store::Store;
use crate::store::keys::Folder;

#[tokio::test]
async fn a_controller_that_dies_at_any_step_is_replaced_without_loss() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    drop(controller);
    let controller = world.controller("b").await;
    assert!(controller.service.execute(request(1)).await.unwrap().existed);
    let offered = executor.offered(&controller).await;
    drop(controller);
    // The offer comes again from another, which never heard of it.
    let controller = world.controller("c").await;
    controller.settle().await;
    assert_eq!(executor.offered(&controller).await, offered);
    executor.acknowledge(&controller, offered.attempt).await.unwrap();
    drop(controller);
    let mut controller = world.controller("d").await;
    executor.acknowledge(&controller, offered.attempt).await.unwrap();
    executor.heartbeat(&controller).await.unwrap();
    controller.pass(5).await;
    executor.succeed(&controller, offered.attempt).await;
    drop(controller);
    let controller = world.controller("e").await;
    executor.succeed(&controller, offered.attempt).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Succeeded);
    assert_eq!(controller.task(run, 0).await.tries, 1);
}

#[tokio::test]
async fn two_controllers_that_race_offer_no_task_twice() {
    let world = World::new();
    let (a, b) = (world.controller("a").await, world.controller("b").await);
    let names = [Arc::from("a"), Arc::from("b")];
    a.service.set_peers(&names);
    b.service.set_peers(&names);
    let mut first = Executor::ready(&a, "x1", 30).await;
    let mut second = Executor::ready(&b, "x2", 30).await;
    a.settle().await;
    for number in 1..=60 {
        a.execute(number).await;
    }
    let collect = |executor: &mut Executor, controller: &Controller| {
        let (mut executor, service) = (executor.clone(), Arc::clone(&controller.service));
        async move {
            let mut taken = Vec::new();
            while taken.len() < 30 {
                let session = service.authenticate(&executor.token).await.unwrap();
                let answer = service.poll(session, executor.next_poll()).await.unwrap();
                for offer in answer.offers {
                    let sequence = ocelot_domain::task::state::JournalSequence(0);
                    service.acknowledge(session, offer.attempt, sequence).await.unwrap();
                    executor.held.push(offer.attempt);
                    taken.push(offer.attempt);
                }
            }
            taken
        }
    };
    let (x, y) = tokio::join!(collect(&mut first, &a), collect(&mut second, &b));
    let tasks: BTreeSet<_> = x.iter().chain(&y).map(|attempt| attempt.task).collect();
    assert_eq!((x.len(), y.len(), tasks.len()), (30, 30, 60));
    for attempt in x.iter().chain(&y) {
        assert_eq!(attempt.attempt.number(), 1, "nobody lost an offer to a race: {attempt:?}");
    }
}

#[tokio::test]
async fn two_controllers_never_exceed_a_group_together() {
    let world = World::new();
    let (a, b) = (world.controller("a").await, world.controller("b").await);
    let mut first = Executor::ready(&a, "x1", 9).await;
    let mut second = Executor::ready(&b, "x2", 9).await;
    a.put_job("name: build\nimage: alpine\nconcurrency: {group: deploy, limit: 1}\ncommand: [make]\n").await;
    let mut open = 0;
    for number in 1..=10 {
        a.service.execute(request(number)).await.unwrap();
        open += 1;
    }
    while open > 0 {
        let (x, y) = tokio::join!(first.poll_now(&a), second.poll_now(&b));
        assert!(x.offers.len() + y.offers.len() <= 1, "the group admits one: {x:?} {y:?}");
        for offer in x.offers {
            first.acknowledge(&a, offer.attempt).await.unwrap();
            first.succeed(&a, offer.attempt).await;
            a.ended(offer.attempt.task.run).await;
            open -= 1;
        }
        for offer in y.offers {
            second.acknowledge(&b, offer.attempt).await.unwrap();
            second.succeed(&b, offer.attempt).await;
            b.ended(offer.attempt.task.run).await;
            open -= 1;
        }
        a.settle().await;
        b.settle().await;
    }
}

#[tokio::test]
async fn lost_answers_change_nothing_about_what_happens() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 2).await;
    controller.put_job(JOB).await;
    world.store.set_lossy(true);
    for number in 1..=10 {
        let run = loop {
            match controller.service.execute(request(number)).await {
                Ok(executed) => break executed.run,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        };
        assert_eq!(run.number, u64::from(number), "no number is given twice, none is left out");
        let attempt = loop {
            if let Some(offer) = executor.poll_now_lossy(&controller).await.offers.pop() {
                break offer.attempt;
            }
        };
        until_heard(|| executor.acknowledge_again(&controller, attempt)).await;
        until_heard(|| executor.complete_again(&controller, attempt)).await;
        executor.held.clear();
        let task = controller.task(run.id, 0).await;
        assert_eq!((task.attempt, task.tries), (Some(attempt.attempt), 1));
        controller.settle().await;
    }
    world.store.set_lossy(false);
    assert!(world.store.lost() > 20, "{} answers were lost", world.store.lost());
    for number in 1..=10 {
        crate::reconcile::runs::once(&controller.service).await.unwrap();
        assert_eq!(controller.ended(run_id(number)).await, RunOutcome::Succeeded);
    }
}

/// Repeats a call until it is answered.
async fn until_heard<F: Future<Output = Result<()>>>(mut call: impl FnMut() -> F) {
    while let Err(error) = call().await {
        assert!(error.is_retryable(), "{error:?}");
    }
}

#[tokio::test]
async fn a_completion_waits_for_the_log_and_then_records_its_loss() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    let attempt = executor.take(&controller).await;
    world.logs.lose(attempt);
    let answer = executor.complete(&controller, attempt, Report::Succeeded).await.unwrap();
    assert_eq!(answer, CompleteAnswer::LogIncomplete { expected: 0 });
    assert_eq!(controller.state(run).await.name(), "Running");
    controller.advance(Duration::from_secs(301)).await;
    executor.succeed(&controller, attempt).await;
    let task = controller.task(run, 0).await;
    let log = task.ended[0].completion.clone().unwrap().log;
    assert!(matches!(log, LogEnd::Truncated { at: 0, .. }), "{log:?}");
    let again = completion(attempt, failed());
    let session = executor.session(&controller).await;
    assert_eq!(controller.service.complete(session, again).await.unwrap(), CompleteAnswer::Recorded);
    assert_eq!(controller.ended(run).await, RunOutcome::Succeeded, "the first word stays");
}

#[tokio::test]
async fn finished_runs_leave_by_number_and_by_age_and_no_sooner_than_ten_minutes() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    for number in 1..=3 {
        let run = controller.execute(number).await;
        let attempt = executor.take(&controller).await;
        executor.succeed(&controller, attempt).await;
        controller.ended(run).await;
    }
    let open = controller.execute(4).await;
    controller.settle().await;
    let keep = Keep { runs: 1, ..Keep::default() };
    assert_eq!(retention::once(&controller.service, keep).await.unwrap(), 0);
    controller.advance(Duration::from_secs(601)).await;
    assert_eq!(retention::once(&controller.service, keep).await.unwrap(), 2);
    controller.settle().await;
    assert_eq!(controller.service.runs(&RunFilter::default(), None, 9).runs.len(), 2);
    assert_eq!(page(&world, &Folder::Tasks.to_string()).await.items.len(), 2);
    controller.advance(Duration::from_secs(7 * 24 * 3600)).await;
    assert_eq!(retention::once(&controller.service, Keep::default()).await.unwrap(), 1);
    assert!(matches!(controller.state(open).await, TaskState::Queued { .. }), "a run that goes on stays");
}

#[tokio::test]
async fn requests_that_wait_together_are_accepted_together_and_numbered_without_gaps() {
    let world = World::new();
    let controller = world.controller("a").await;
    controller.put_job(JOB).await;
    let before = world.embedded.health().await.unwrap().revision;
    let accept = |number| {
        let service = Arc::clone(&controller.service);
        async move { service.execute(request(number)).await.unwrap() }
    };
    // Each asks twice, as a client does that heard nothing.
    let accepted = futures_util::future::join_all((1..=100).chain(1..=100).map(accept)).await;
    let mut numbers: Vec<u64> = accepted.iter().map(|executed| executed.run.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).flat_map(|number| [number; 2]).collect::<Vec<_>>());
    assert_eq!(accepted.iter().filter(|executed| executed.existed).count(), 100);
    let after = world.embedded.health().await.unwrap().revision;
    assert!(after.0 - before.0 < 20, "{} transactions for a hundred runs", after.0 - before.0);
}

#[tokio::test]
async fn requests_that_wait_together_are_each_accepted_once_though_answers_are_lost() {
    let world = World::new();
    let controller = world.controller("a").await;
    controller.put_job(JOB).await;
    world.store.set_lossy(true);
    let accept = |number| {
        let service = Arc::clone(&controller.service);
        async move {
            loop {
                match service.execute(request(number)).await {
                    Ok(executed) => return executed.run.number,
                    Err(error) => assert!(error.is_retryable(), "{error:?}"),
                }
            }
        }
    };
    let mut numbers = futures_util::future::join_all((1..=60).map(accept)).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=60).collect::<Vec<u64>>());
    assert!(world.store.lost() > 0);
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_accepting_for_others_takes_nothing_from_them() {
    let world = World::new();
    let controller = world.controller("a").await;
    controller.put_job(JOB).await;
    let accept = |number| {
        let service = Arc::clone(&controller.service);
        Box::pin(async move { service.execute(request(number)).await.unwrap().run.number })
    };
    // Every second call is given up at some step of its own; the others stay.
    let calls = (1..=40_u8).map(|number| {
        let (mut call, mut steps) = (accept(number), 0);
        futures_util::future::poll_fn(move |context| {
            steps += 1;
            match number % 2 == 0 && steps > number / 2 {
                true => std::task::Poll::Ready(None),
                false => call.as_mut().poll(context).map(Some),
            }
        })
    });
    let stayed = futures_util::future::join_all(calls).await;
    assert!(stayed.iter().step_by(2).all(Option::is_some), "{stayed:?}");
    let mut numbers = futures_util::future::join_all((1..=40).map(accept)).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<u64>>());
}

/// The record may become live between two looks at it; an end that was made up would be recorded then.
#[tokio::test]
async fn a_completion_that_comes_before_its_attempt_is_attached_is_asked_for_again_with_its_own_log() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    let offered = executor.offered(&controller).await.attempt;
    let end = || ReportedLog::Whole(ClaimedEnd { bytes: 3, sha256: [1; 32] });
    let session = executor.session(&controller).await;
    let early = controller.service.log_end(session, offered, end()).await;
    assert!(matches!(early, Err(Error::Conflict { .. })), "{early:?}");
    executor.acknowledge(&controller, offered).await.unwrap();
    // Its next process does not name it, so that it stays with the session before.
    executor.held.clear();
    executor.start(&controller).await;
    let session = executor.session(&controller).await;
    let early = controller.service.log_end(session, offered, end()).await;
    assert!(matches!(early, Err(Error::NotNow { .. })), "{early:?}");
    let early = executor.complete(&controller, offered, Report::Succeeded).await;
    assert!(matches!(early, Err(Error::NotNow { .. })), "{early:?}");
    executor.held.push(offered);
    executor.heartbeat(&controller).await.unwrap();
    executor.succeed(&controller, offered).await;
    let log = controller.task(run, 0).await.ended[0].completion.clone().unwrap().log;
    assert!(matches!(log, LogEnd::Whole { bytes: 3, .. }), "{log:?}");
}

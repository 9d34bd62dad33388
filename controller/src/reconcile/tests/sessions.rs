//! Executors that come, go, come back, and are not who they say.

use std::time::Duration;

use ocelot_core::plan::Class;
use ocelot_domain::outcome::Outcome;
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::state::TaskState;

use super::graphs::{one, plan, task};
use super::world::*;
use crate::service::*;
use crate::store::keys::Key;

const EXCLUSIVE: &str = "name: build\nimage: alpine\nclass: exclusive\ncommand: [make]\n";

#[tokio::test]
async fn a_registration_is_repeated_without_harm_and_its_token_is_used_up() {
    let world = World::new();
    let controller = world.controller("a").await;
    let token = registration_token(&controller, 1).await;
    let request = |name: &str, key| registration(name, 1, key, token.clone());
    let first = controller.service.register(request("x1", [1; 32])).await.unwrap();
    assert_eq!(controller.service.register(request("x1", [1; 32])).await.unwrap(), first);
    assert_eq!(first.labels, ["gpu"]);
    let used = controller.service.register(request("x2", [2; 32])).await.unwrap_err();
    assert!(matches!(used, Error::Unauthenticated), "{used:?}");
    let token = registration_token(&controller, 2).await;
    let taken = controller.service.register(registration("x1", 1, [3; 32], token.clone())).await;
    assert!(matches!(taken, Err(Error::AlreadyExists { what: What::Executor, .. })), "{taken:?}");
    let wants =
        RegisterRequest { labels: vec!["tpu".into()], ..registration("x3", 1, [3; 32], token.clone()) };
    let refused = controller.service.register(wants).await.unwrap_err();
    assert_eq!(refused.to_string(), "the token does not grant tpu; it grants gpu");
    controller.advance(Duration::from_secs(901)).await;
    let late = controller.service.register(registration("x4", 1, [4; 32], token)).await.unwrap_err();
    assert!(matches!(late, Error::Unauthenticated), "its time is over: {late:?}");
}

#[tokio::test]
async fn a_session_needs_the_executors_own_signature_on_a_fresh_challenge() {
    let world = World::new();
    let controller = world.controller("a").await;
    let executor = Executor::ready(&controller, "x1", 1).await;
    let challenge = controller.service.challenge(executor.id, None);
    let request = OpenSessionRequest {
        executor: executor.id,
        challenge,
        signature: vec![0; 64],
        incarnation: ocelot_core::id::Incarnation(9),
        held: Vec::new(),
        version: "1".into(),
        machine: machine(),
    };
    let forged = controller.service.open_session(request.clone()).await;
    assert!(matches!(forged, Err(Error::Unauthenticated)), "{forged:?}");
    let again = controller.service.open_session(request).await;
    assert!(matches!(again, Err(Error::NotNow { .. })), "a challenge is used once: {again:?}");
    let forged = executor.token.replace('a', "b");
    let stranger = controller.service.authenticate(&forged).await;
    assert!(matches!(stranger, Err(Error::Unauthenticated)), "{stranger:?}");
}

#[tokio::test]
async fn an_executor_that_dies_loses_a_normal_task_to_another_two_seconds_after_its_session() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut first = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    first.take(&controller).await;
    controller.settle().await;
    // Grace after the start, in which it beats; then silence.
    for _ in 0..16 {
        first.heartbeat(&controller).await.unwrap();
        controller.pass(1).await;
    }
    controller.pass(10).await;
    assert_eq!(controller.state(run).await.name(), "Running", "its session has just gone");
    controller.pass(2).await;
    let task = controller.task(run, 0).await;
    assert_eq!((task.state.name(), task.tries), ("Queued", 1));
    let mut second = Executor::ready(&controller, "x2", 1).await;
    let attempt = second.take(&controller).await;
    second.succeed(&controller, attempt).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Succeeded);
}

#[tokio::test]
async fn nothing_is_taken_away_in_the_grace_after_a_controllers_start() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    executor.take(&controller).await;
    drop(controller);
    let mut controller = world.controller("b").await;
    controller.pass(14).await;
    assert_eq!(controller.state(run).await.name(), "Running");
    controller.pass(6).await;
    assert_eq!(controller.state(run).await.name(), "Queued");
}

#[tokio::test]
async fn an_exclusive_task_is_taken_only_after_the_long_wait_and_a_return_begins_it_anew() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    controller.put_job(EXCLUSIVE).await;
    let run = controller.service.execute(request(1)).await.unwrap().run.id;
    executor.take(&controller).await;
    controller.settle().await;
    assert_eq!(executor.heartbeat(&controller).await.unwrap().vouched, executor.held);
    controller.pass(60).await;
    assert_eq!(controller.state(run).await.name(), "Running");
    // The store dropped the session by itself; a heartbeat puts it back, and every wait begins anew.
    executor.heartbeat(&controller).await.unwrap();
    controller.settle().await;
    assert_eq!(executor.heartbeat(&controller).await.unwrap().vouched, executor.held);
    controller.pass(80).await;
    assert_eq!(controller.state(run).await.name(), "Running");
    controller.pass(10).await;
    assert_eq!(controller.state(run).await.name(), "Queued");
    assert!(executor.heartbeat(&controller).await.unwrap().vouched.is_empty());
}

#[tokio::test]
async fn a_once_task_whose_executor_is_lost_is_never_started_again() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller
        .execute_plan(1, one(ocelot_core::plan::TaskPlan { class: Class::Once, ..task("t") }))
        .await;
    executor.take(&controller).await;
    controller.pass(120).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Lost);
    let TaskState::Finished { outcome: Outcome::Lost { .. } } = controller.state(run).await else {
        panic!("a lost `once` task is lost")
    };
}

#[tokio::test]
async fn an_executor_that_restarts_keeps_its_attempt() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    let attempt = executor.take(&controller).await;
    let old = executor.clone();
    assert_eq!(executor.start(&controller).await, [attempt]);
    let live = *controller.task(run, 0).await.live().unwrap();
    assert_eq!((live.attempt, live.session.incarnation.0), (attempt.attempt, 2));
    // The process before it is not heard any more, and its late words change nothing.
    let late = old.heartbeat(&controller).await.unwrap_err();
    assert!(matches!(late, Error::Fenced), "{late:?}");
    executor.succeed(&controller, attempt).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Succeeded);
}

#[tokio::test]
async fn a_repeated_open_session_of_one_incarnation_is_the_same_session() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    controller.execute(1).await;
    let attempt = executor.take(&controller).await;
    let before = executor.session(&controller).await;
    // The answer was lost, and the process asks again.
    assert_eq!(executor.open(&controller).await.unwrap(), [attempt]);
    assert_eq!(executor.session(&controller).await, before);
    executor.succeed(&controller, attempt).await;
}

#[tokio::test]
async fn what_an_executor_holds_and_is_not_its_own_is_not_kept() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut first = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    let attempt = first.take(&controller).await;
    controller.pass(40).await;
    let mut second = Executor::ready(&controller, "x2", 1).await;
    let again = second.take(&controller).await;
    assert_eq!(again.attempt.number(), 2);
    assert_eq!(first.start(&controller).await, []);
    let fenced = first.succeed_late(&controller, attempt).await;
    assert!(matches!(fenced, Error::Fenced), "{fenced:?}");
    assert_eq!(first.poll(&controller).await.directives, [Directive::Kill(attempt)]);
    second.succeed(&controller, again).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Succeeded);
}

/// Its log may still be on the way from there; a kill would drop the only copy.
#[tokio::test]
async fn an_executor_that_still_holds_an_attempt_whose_end_is_recorded_is_not_told_to_kill_it() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut first = Executor::ready(&controller, "x1", 1).await;
    let mut second = Executor::ready(&controller, "x2", 1).await;
    let run = controller.execute(1).await;
    let (holder, other) = match first.poll_now(&controller).await.offers.pop() {
        Some(offer) => {
            first.acknowledge(&controller, offer.attempt).await.unwrap();
            first.held = vec![offer.attempt];
            (&mut first, &mut second)
        }
        None => {
            second.take(&controller).await;
            (&mut second, &mut first)
        }
    };
    let attempt = holder.held[0];
    holder.succeed(&controller, attempt).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Succeeded);
    holder.held = vec![attempt];
    for _ in 0..2 {
        let beat = holder.heartbeat(&controller).await.unwrap();
        assert_eq!((beat.directives, beat.vouched), (Vec::new(), Vec::new()));
        assert_eq!(holder.poll_now(&controller).await.directives, []);
        // The next process finds it in its journal, and is let keep it too.
        assert_eq!(holder.start(&controller).await, [attempt]);
    }
    holder.succeed(&controller, attempt).await;
    other.held = vec![attempt];
    assert_eq!(other.poll(&controller).await.directives, [Directive::Kill(attempt)], "it never was its own");
}

#[tokio::test]
async fn an_older_process_that_goes_on_after_it_was_told_is_a_clone_and_gets_no_more_work() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let clone = executor.clone();
    executor.start(&controller).await;
    for _ in 0..2 {
        // What it had sent before it was told is not held against it.
        assert!(matches!(clone.heartbeat(&controller).await, Err(Error::Fenced)));
    }
    controller.settle().await;
    assert!(controller.service.executors(None, 9).0[0].0.quarantined.is_none());
    controller.advance(Duration::from_secs(3)).await;
    assert!(matches!(clone.heartbeat(&controller).await, Err(Error::Fenced)));
    controller.settle().await;
    assert!(controller.service.executors(None, 9).0[0].0.quarantined.is_some());
    controller.execute(1).await;
    let answer = executor.poll(&controller).await;
    assert!(
        answer.offers.is_empty() && matches!(answer.directives[..], [Directive::Drain { .. }]),
        "{answer:?}"
    );
}

#[tokio::test]
async fn an_offer_that_does_not_arrive_goes_back_and_ends_after_five_in_a_row() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    for delivery in 1..=5_u32 {
        let is_quarantined = controller.service.executors(None, 9).0[0].0.quarantined.is_some();
        assert_eq!(is_quarantined, delivery == 4, "after three in a row, until a person lets it go on");
        if is_quarantined {
            controller.service.resume_executor(executor.id).await.unwrap();
            controller.settle().await;
        }
        let offered = executor.offered(&controller).await;
        assert_eq!(offered.attempt.attempt.number(), delivery);
        for _ in 0..6 {
            executor.heartbeat(&controller).await.unwrap();
            controller.pass(1).await;
        }
        assert_eq!(controller.task(run, 0).await.tries, 0, "it costs no try");
    }
    assert_eq!(controller.ended(run).await, RunOutcome::Lost);
}

#[tokio::test]
async fn offers_lost_in_one_crash_of_their_executor_are_one_mishap() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 3).await;
    let tasks = (0..3).map(|number| task(&format!("t{number}"))).collect();
    let run = controller.execute_plan(1, plan(tasks)).await;
    controller.until(run, 2, |state| matches!(state, TaskState::Queued { .. })).await;
    assert_eq!(executor.poll(&controller).await.offers.len(), 3);
    for _ in 0..6 {
        executor.heartbeat(&controller).await.unwrap();
        controller.pass(1).await;
    }
    for index in 0..3 {
        assert_eq!(controller.task(run, index).await.failing.unwrap().deliveries, 1);
    }
    let (shown, _) = controller.service.executors(None, 9).0.remove(0);
    assert!(shown.quarantined.is_none(), "{shown:?}");
}

#[tokio::test]
async fn an_offer_that_was_not_taken_is_told_again_and_then_taken_back() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    let first = executor.offered(&controller).await;
    controller.advance(Duration::from_millis(600)).await;
    assert_eq!(executor.offered(&controller).await, first, "the same offer, not a new one");
    controller.advance(Duration::from_millis(600)).await;
    assert_eq!(executor.offered(&controller).await, first, "its journal may be slow");
    controller.advance(Duration::from_secs(4)).await;
    let offered = executor.offered(&controller).await;
    assert_eq!(offered.attempt.attempt.number(), 2);
    assert_eq!(controller.task(run, 0).await.failing.unwrap().deliveries, 1);
}

#[tokio::test]
async fn a_controller_that_did_not_deliver_an_offer_takes_it_back_only_after_a_polls_time() {
    let world = World::new();
    let (a, mut b) = (world.controller("a").await, world.controller("b").await);
    let mut executor = Executor::ready(&a, "x1", 1).await;
    let run = a.execute(1).await;
    let offered = executor.offered(&a).await;
    // The executor writes its journal; what it polls does not tell the other controller.
    for _ in 0..8 {
        executor.heartbeat(&a).await.unwrap();
        b.pass(1).await;
    }
    executor.acknowledge(&a, offered.attempt).await.unwrap();
    assert_eq!(a.state(run).await.name(), "Running");
    assert_eq!(a.task(run, 0).await.live().unwrap().attempt, offered.attempt.attempt);
}

#[tokio::test]
async fn a_controller_that_slept_gives_sessions_time_to_come_back() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    executor.take(&controller).await;
    for _ in 0..16 {
        executor.heartbeat(&controller).await.unwrap();
        controller.pass(1).await;
    }
    // Nothing of it ran for so long, the executor's heartbeats least of all.
    controller.advance(Duration::from_secs(30)).await;
    controller.tick().await;
    controller.pass(10).await;
    assert_eq!(controller.state(run).await.name(), "Running");
    executor.heartbeat(&controller).await.unwrap();
    controller.pass(9).await;
    assert_eq!(controller.state(run).await.name(), "Running", "it came back in time");
}

#[tokio::test]
async fn a_running_task_missing_from_two_newer_lists_is_lost_and_from_one_is_not() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    executor.take(&controller).await;
    controller.settle().await;
    executor.held.clear();
    executor.poll_now(&controller).await;
    assert_eq!(controller.state(run).await.name(), "Running");
    let offered = executor.offered(&controller).await;
    assert_eq!((offered.attempt.attempt.number(), controller.task(run, 0).await.tries), (2, 1));
}

#[tokio::test]
async fn a_newer_poll_voids_an_older_one() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let session = executor.session(&controller).await;
    let (first, second) = (executor.next_poll(), executor.next_poll());
    let service = &controller.service;
    let older = service.poll(session, first);
    let newer = async {
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            answer = service.poll(session, second) => panic!("there is nothing to say: {answer:?}"),
            () = controller.settle() => {}
        }
    };
    let (older, ()) = tokio::join!(older, newer);
    assert!(older.unwrap().voided);
}

#[tokio::test]
async fn a_poll_waits_as_long_as_its_executor_does() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let session = executor.session(&controller).await;
    let request = PollRequest { wait: Duration::from_secs(100), ..executor.next_poll() };
    let mut polling = Box::pin(controller.service.poll(session, request));
    let waiting = async |time| {
        controller.advance(time).await;
        controller.settle().await;
    };
    tokio::select! {
        biased;
        answer = &mut polling => panic!("there is nothing to say: {answer:?}"),
        () = waiting(Duration::from_secs(99)) => {}
    }
    controller.advance(Duration::from_secs(1)).await;
    assert_eq!(polling.await.unwrap(), PollAnswer::default());
}

#[tokio::test]
async fn a_drained_executor_gets_no_work_until_it_is_resumed() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let by = ocelot_domain::outcome::Actor("ana".into());
    controller.service.drain_executor(executor.id, "a new disk", &by).await.unwrap();
    controller.settle().await;
    let run = controller.execute(1).await;
    assert_eq!(executor.poll(&controller).await.directives, [Directive::Drain { why: "a new disk".into() }]);
    assert!(executor.poll_now(&controller).await.offers.is_empty());
    controller.service.resume_executor(executor.id).await.unwrap();
    controller.settle().await;
    let attempt = executor.take(&controller).await;
    executor.succeed(&controller, attempt).await;
    assert_eq!(controller.ended(run).await, RunOutcome::Succeeded);
    assert!(controller.service.remove_executor(executor.id).await.unwrap());
    assert!(!controller.service.remove_executor(executor.id).await.unwrap());
    controller.settle().await;
    let gone = controller.service.authenticate(&executor.token).await;
    assert!(matches!(gone, Err(Error::Unauthenticated)), "{gone:?}");
}

#[tokio::test]
async fn many_sessions_that_vanish_at_once_give_grace_first() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executors = Vec::new();
    for number in 1..=6 {
        executors.push(Executor::ready(&controller, &format!("x{number}"), 1).await);
    }
    let run = controller.execute(1).await;
    // Whichever polls gets it.
    executors[0].take(&controller).await;
    for _ in 0..16 {
        for executor in &executors {
            executor.heartbeat(&controller).await.unwrap();
        }
        controller.pass(1).await;
    }
    controller.pass(20).await;
    assert_eq!(controller.state(run).await.name(), "Running", "grace, although its wait would be over");
    controller.pass(12).await;
    assert_eq!(controller.state(run).await.name(), "Queued");
}

#[tokio::test]
async fn an_acknowledgement_counts_only_while_its_session_is_there() {
    let world = World::new();
    let controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    let offered = executor.offered(&controller).await;
    controller.advance(Duration::from_secs(11)).await;
    let lapsed = executor.acknowledge(&controller, offered.attempt).await.unwrap_err();
    assert!(matches!(lapsed, Error::NotNow { .. }), "not fenced, only to be asked again: {lapsed:?}");
    assert_eq!(controller.state(run).await.name(), "Offered");
    executor.heartbeat(&controller).await.unwrap();
    executor.acknowledge(&controller, offered.attempt).await.unwrap();
    assert_eq!(controller.state(run).await.name(), "Running");
}

#[tokio::test]
async fn a_return_that_the_controller_did_not_see_still_begins_the_wait_anew() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let run = controller.execute(1).await;
    executor.take(&controller).await;
    for _ in 0..16 {
        executor.heartbeat(&controller).await.unwrap();
        controller.pass(1).await;
    }
    controller.pass(10).await;
    // Back, and gone again before anybody looked.
    executor.heartbeat(&controller).await.unwrap();
    let session = executor.session(&controller).await;
    controller.service.close_session(session).await.unwrap();
    controller.pass(1).await;
    assert_eq!(controller.state(run).await.name(), "Running", "the epoch says that it was back");
    controller.pass(3).await;
    assert_eq!(controller.state(run).await.name(), "Queued");
}

/// A return writes the epoch: only one that was read before the session was looked for tells of it.
#[tokio::test]
async fn a_wait_notes_the_epoch_before_it_looks_for_the_session() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    controller.execute(1).await;
    executor.take(&controller).await;
    for _ in 0..16 {
        executor.heartbeat(&controller).await.unwrap();
        controller.pass(1).await;
    }
    let session = executor.session(&controller).await;
    world.store.take_reads();
    controller.pass(11).await;
    let reads = world.store.take_reads();
    let at = |key: Key| reads.iter().position(|read| *read == key.to_string());
    let epoch = at(Key::ExecutorEpoch(session.executor)).expect("a wait notes the epoch");
    let look = at(Key::Session(session.id)).expect("a wait looks for the session");
    assert!(epoch < look, "{reads:?}");
}

/// A fleet that grows: heartbeats are further apart, and what waits for them waits longer.
#[tokio::test]
async fn a_session_lives_longer_before_its_heartbeats_are_further_apart() {
    let world = World::new();
    let mut controller = world.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    controller.put_job(EXCLUSIVE).await;
    let run = controller.service.execute(request(1)).await.unwrap().run.id;
    executor.take(&controller).await;
    controller.settle().await;
    let small = executor.heartbeat(&controller).await.unwrap().timing;
    controller.service.set_fleet_size(10_000);
    let large = executor.heartbeat(&controller).await.unwrap().timing;
    assert_eq!((small.heartbeat().as_secs(), large.heartbeat().as_secs()), (2, 10));
    controller.service.set_fleet_size(0);
    // As it was told: one heartbeat in ten seconds, and one of them lost.
    for _ in 0..4 {
        controller.pass(20).await;
        let session = executor.session(&controller).await;
        let key = crate::store::keys::Key::Session(session.id).to_string();
        assert!(controller.service.read(&key).await.unwrap().is_some(), "the store has not dropped it");
        assert_eq!(executor.heartbeat(&controller).await.unwrap().vouched, executor.held);
    }
    // Then silence. The fleet has shrunk, but what the container was told still holds.
    controller.pass(45 + 82).await;
    assert_eq!(controller.state(run).await.name(), "Running", "a shorter wait would overlap its guard");
    controller.pass(10).await;
    assert_eq!(controller.state(run).await.name(), "Queued");
}

//! What must hold for one task whatever happens to it.

use std::time::Duration;

use proptest::prelude::*;

use ocelot_core::id::{Attempt, Epoch};
use ocelot_core::plan::Class;
use ocelot_domain::outcome::{Outcome, Timeout};
use ocelot_domain::task::event::Report;
use ocelot_domain::task::state::JournalSequence;
use ocelot_domain::task::timing::Revision;
use ocelot_domain::task::{
    Claim, Event, Holding, Rejected, Require, Task, TaskState, Timing, Wait, holding, step,
};

use crate::fixture::{
    NOW, after, completed, exit, first, gone, missing, offered, person, queued, running, session,
};

fn lost(task: &Task) -> Event {
    gone(task).expect("the task has a holder")
}

fn offer(executor: u8) -> Event {
    Event::Offer { session: session(executor, 1), waited: Duration::ZERO }
}

fn claim(attempt: u32, executor: u8, incarnation: u8) -> Claim {
    let attempt = Attempt::new(attempt).unwrap();
    Claim { epoch: Epoch(1), attempt, session: session(executor, incarnation) }
}

#[test]
fn i10_a_wait_goes_on_through_a_cancel() {
    let task = running(Class::Normal);
    let wait = Wait::begin(&task, Revision(3)).unwrap();
    let served = Timing::for_fleet(1).served(wait, Duration::from_secs(2)).unwrap();
    let cancelling = after(task, [Event::CancelRequested { by: person() }]);
    let ended = after(cancelling, [Event::SessionGone(served)]);
    assert_eq!(ended.outcome(), Some(&Outcome::Cancelled { by: person(), result: None }));
}

#[test]
fn a_wait_from_before_the_acknowledgement_takes_nothing_away_after_it() {
    let task = offered(Class::Exclusive);
    let wait = Wait::begin(&task, Revision(3)).unwrap();
    let served = Timing::for_fleet(1).served(wait, Duration::from_secs(75)).unwrap();
    let running = after(task, [Event::Acknowledged { claim: first(), sequence: JournalSequence(5) }]);
    assert_eq!(step(&running, Event::SessionGone(served), NOW), Err(Rejected::Early));
}

#[test]
fn an_exclusive_task_is_taken_away_after_its_whole_wait_only() {
    let wait = Wait::begin(&running(Class::Exclusive), Revision(3)).unwrap();
    assert_eq!(Timing::for_fleet(1).served(wait, Duration::from_millis(74_999)), None);
    assert!(Timing::for_fleet(1).served(wait, Duration::from_secs(75)).is_some());
}

#[test]
fn taking_away_compares_the_session_and_the_epoch_as_noted() {
    let task = running(Class::Exclusive);
    let requires = step(&task, lost(&task), NOW).unwrap().requires;
    let session = session(1, 1);
    assert!(requires.contains(&Require::SessionAbsent(session.id)));
    let executor = session.executor;
    assert!(requires.contains(&Require::ExecutorEpochAt { executor, revision: Revision(3) }));
}

#[test]
fn i11_five_failed_deliveries_end_it_and_cost_no_try() {
    let mut task = queued(Class::Normal);
    for attempt in 1..=5 {
        let undelivered = Event::Undelivered { claim: claim(attempt, 1, 1), waited: Duration::ZERO };
        task = after(task, [offer(1), undelivered]);
    }
    let Some(Outcome::Lost { why }) = task.outcome() else { panic!("{:?}", task.state) };
    assert_eq!(why, "undeliverable: 5 deliveries in a row failed");
    assert_eq!((task.tries, task.attempt), (0, Attempt::new(5)));
}

#[test]
fn a_declined_offer_costs_nothing_and_avoids_the_executor() {
    let task = after(offered(Class::Once), [Event::Declined { claim: first(), waited: Duration::ZERO }]);
    assert_eq!(task.state, TaskState::Queued { after: Duration::ZERO });
    assert_eq!((task.tries, task.failing, task.avoided), (0, None, vec![session(1, 1).executor]));
}

#[test]
fn a_once_task_that_ran_is_never_queued_again() {
    let task = running(Class::Once);
    for event in [lost(&task), missing(&task, first()), completed(first(), 1, exit(75))] {
        assert!(after(task.clone(), [event]).outcome().is_some());
    }
}

#[test]
fn a_repeated_completion_has_the_same_answer_even_after_the_retry_began() {
    let failed = || completed(first(), 7, exit(75));
    let task = after(running(Class::Normal), [failed(), offer(2)]);
    assert_eq!(step(&task, failed(), NOW).unwrap().next, task);
    let other = completed(first(), 8, Report::Succeeded);
    assert_eq!(step(&task, other, NOW), Err(Rejected::Fenced));
}

#[test]
fn an_attempt_is_attached_again_before_anything_is_fenced() {
    let task = running(Class::Normal);
    let newer = claim(1, 1, 2);
    assert_eq!(holding(&task, &newer), Holding::Unattached);
    let attached = after(task, [Event::Reattached { claim: newer }]);
    assert!(matches!(holding(&attached, &newer), Holding::Running { .. }));
    assert_eq!(holding(&attached, &first()), Holding::Kill);
    assert_eq!(step(&attached, completed(first(), 1, Report::Succeeded), NOW), Err(Rejected::Fenced));
}

#[test]
fn a_restore_offers_again_only_what_may_run_twice() {
    let restored = |task: Task| after(task, [Event::Restored { epoch: Epoch(2) }]).state.name();
    assert_eq!(restored(running(Class::Normal)), "Queued");
    assert_eq!(restored(running(Class::Exclusive)), "Finished");
    assert_eq!(restored(offered(Class::Once)), "Finished");
}

#[test]
fn a_cancel_before_the_acknowledgement_is_the_end() {
    for task in [queued(Class::Normal), offered(Class::Normal)] {
        let task = after(task, [Event::CancelRequested { by: person() }]);
        assert_eq!(task.outcome(), Some(&Outcome::Cancelled { by: person(), result: None }));
    }
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Normal), Just(Class::Exclusive), Just(Class::Once)]
}

/// Any event, by anybody: right, stale, doubled or a lie.
fn happen(task: &Task, (what, attempt, executor, incarnation): (u8, u32, u8, u8)) -> Option<Event> {
    let claim = claim(attempt, executor, incarnation);
    let waited = Duration::from_secs(u64::from(attempt) * 200);
    Some(match what % 16 {
        0 | 1 => Event::Offer { session: session(executor, incarnation), waited },
        2 | 3 => Event::Acknowledged { claim, sequence: JournalSequence(5) },
        4 => Event::Declined { claim, waited },
        5 => Event::Undelivered { claim, waited },
        6 => gone(task)?,
        7 => missing(task, claim),
        8 => Event::Reattached { claim },
        9 => completed(claim, u128::from(attempt), Report::Succeeded),
        10 => completed(claim, u128::from(attempt), exit(75)),
        11 => Event::CancelRequested { by: person() },
        12 => Event::CancelForced { by: person() },
        13 => Event::QueueTimedOut { waited },
        14 => Event::ApprovalDenied { by: person() },
        _ => Event::Restored { epoch: Epoch(u64::from(attempt)) },
    })
}

#[test]
fn a_delay_before_a_retry_is_no_wait_for_an_executor() {
    let delay = Duration::from_secs(3_000);
    let task = Task { state: TaskState::Queued { after: delay }, ..queued(Class::Normal) };
    let queue_timeout = task.policy.queue_timeout;
    let timed_out = |waited| step(&task, Event::QueueTimedOut { waited }, NOW);
    assert_eq!(timed_out(queue_timeout), Err(Rejected::Early));
    assert_eq!(timed_out(queue_timeout + delay - Duration::from_millis(1)), Err(Rejected::Early));
    let outcome = timed_out(queue_timeout + delay).unwrap().next;
    assert_eq!(outcome.outcome(), Some(&Outcome::TimedOut(Timeout::Queue)));
}

proptest! {
    #[test]
    fn a_queue_time_is_over_when_the_longest_wait_is(
        waited in 0u64..5_000, after in 0u64..5_000, seen in 0u64..12_000,
    ) {
        let [waited, after, seen] = [waited, after, seen].map(Duration::from_secs);
        let task = Task { state: TaskState::Queued { after }, waited, ..queued(Class::Normal) };
        let is_over = step(&task, Event::QueueTimedOut { waited: seen }, NOW).is_ok();
        prop_assert_eq!(is_over, task.waits_at_most().is_some_and(|most| seen >= most));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn i1_i2_i9_i11_hold_after_any_sequence(
        class in class(),
        events in prop::collection::vec((any::<u8>(), 1u32..5, 1u8..3, 1u8..3), 0..60),
    ) {
        let mut task = queued(class);
        let mut acknowledged = 0;
        for event in events {
            let Some(event) = happen(&task, event) else { continue };
            let Ok(step) = step(&task, event.clone(), NOW) else { continue };
            let next = step.next;
            if next.state.name() == "Running" && task.state.name() == "Offered" {
                acknowledged += 1;
            }
            if task.outcome().is_some() {
                prop_assert_eq!(&next.state, &task.state, "a finished task changed");
            }
            prop_assert!(next.attempt >= task.attempt);
            prop_assert!(next.live().is_none_or(|live| Some(live.attempt) == next.attempt));
            prop_assert_eq!(next.tries, acknowledged);
            prop_assert!(class != Class::Once || next.tries <= 1);
            prop_assert!(next.ended.len() <= next.tries as usize && next.tries <= 2);
            // Repeated at once, the same event changes nothing more, or is refused.
            if let Ok(again) = ocelot_domain::task::step(&next, event, NOW) {
                prop_assert_eq!(&again.next, &next);
            }
            task = next;
        }
        // Once nothing new goes wrong, it ends: whoever has it is gone, and nobody takes it.
        for _ in 0..2 {
            if let Some(event) = gone(&task) {
                task = after(task, [event]);
            }
        }
        if task.outcome().is_none() {
            let longest = task.policy.queue_timeout + task.policy.retry.delay;
            task = after(task, [Event::QueueTimedOut { waited: longest }]);
        }
        prop_assert!(task.outcome().is_some());
    }

    #[test]
    fn a_record_survives_its_text_and_refuses_what_it_does_not_know(class in class()) {
        for task in [queued(class), offered(class), running(class)] {
            let text = serde_json::to_string(&task).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Task>(&text).unwrap(), &task);
            let more = text.replacen('{', "{\"unheard\":1,", 1);
            prop_assert!(serde_json::from_str::<Task>(&more).is_err());
        }
    }
}

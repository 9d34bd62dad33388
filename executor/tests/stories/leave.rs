//! Executors that end by themselves: after one attempt, after a time without work, before their machine
//! is taken away.

use std::time::Duration;

use ocelot_executor::session::{Stopped, Why};
use ocelot_proto::kit::shutdown::Ended;
use ocelot_proto::wire::decline_request::Reason;
use ocelot_proto::wire::outcome::Outcome;

use super::controller::Fault;
use super::{World, plan, stage};

impl World {
    /// Offers the same task as its next attempt.
    fn offer_again(&self) {
        self.offer(&plan(vec![stage("a")]));
        self.controller.set(|model| {
            let attempt = model.offers.last_mut().and_then(|offer| offer.attempt.as_mut());
            attempt.unwrap().number += 1;
        });
    }

    async fn ends(&mut self) -> Stopped {
        self.running.take().unwrap().started.stopped.await.unwrap()
    }
}

#[tokio::test]
async fn told_to_take_one_it_hands_back_the_next_and_ends_when_its_log_is_safe() {
    let mut world = World::registered().await;
    world.leave.once = true;
    world.start().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.offer(&plan(vec![stage("a")]));
    world.machine.runs_a_stage().await;
    world.offer_again();
    world.controller.until("the next is handed back", |model| !model.declined.is_empty()).await;
    assert_eq!(world.controller.model().declined[0].reason(), Reason::Draining);
    assert_eq!(world.controller.model().declined[0].detail, "it takes one attempt and no other");
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    let program = world.running.take().unwrap();
    assert_eq!(program.started.stopped.await, Ok(Stopped::Leaves(Why::Once)));
    // The spool goes only when the controller has said that the log is safe.
    assert_eq!(world.machine.facts().spools_dropped, 1);
    program.requests.send(()).await.unwrap();
    assert_eq!(program.ended.await, Ok(Ended::Drained));
}

#[tokio::test]
async fn one_that_was_not_its_own_after_all_does_not_count() {
    let mut world = World::registered().await;
    world.leave.once = true;
    world.start().await;
    world.controller.fault("acknowledge", &[Fault::Fenced]);
    world.offer(&plan(vec![stage("a")]));
    world.controller.until("it was asked for", |model| model.calls.contains(&"acknowledge")).await;
    world.clean().await;
    world.offer_again();
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    assert_eq!(world.ends().await, Stopped::Leaves(Why::Once));
    assert_eq!(world.controller.model().completed.len(), 1);
}

#[tokio::test]
async fn without_work_it_ends_after_its_time() {
    let mut world = World::registered().await;
    world.leave.idle = Some(Duration::ZERO);
    world.start().await;
    assert_eq!(world.ends().await, Stopped::Leaves(Why::Idle));
    assert_eq!(world.controller.model().opened.len(), 1);
}

#[tokio::test]
async fn what_it_took_over_is_work() {
    let mut world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.offer(&plan(vec![stage("a")]));
    world.machine.runs_a_stage().await;
    world.killed().await;
    world.leave.idle = Some(Duration::ZERO);
    world.start().await;
    world.controller.until("a session", |model| model.opened.len() == 2).await;
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    assert_eq!(world.ends().await, Stopped::Leaves(Why::Idle));
}

#[tokio::test]
async fn before_its_machine_is_taken_away_it_says_so_and_finishes_what_runs() {
    let mut world = World::registered().await;
    let notice = world.data.path().join("notice");
    world.leave.notice = Some(notice.clone());
    world.start().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.offer(&plan(vec![stage("a")]));
    world.machine.runs_a_stage().await;
    std::fs::write(notice, "").unwrap();
    let says = "this machine is about to be taken away";
    let heard = world.controller.until("the heartbeat says it", |model| {
        model.heartbeats.last().is_some_and(|beat| beat.refusing == says)
    });
    heard.await;
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    assert_eq!(world.ends().await, Stopped::Leaves(Why::Notice));
}

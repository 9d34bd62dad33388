//! Stories of a whole executor: a real program with a real journal, between a controller and a machine
//! that each story writes.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

mod checkout;
mod controller;
mod doctor;
mod leave;
mod machine;
mod objects;
mod repository;
mod secrets;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
use ocelot_core::plan::{
    Class, Environment, Gate, Keep, Limits, Resources, Retry, Runtime as Wanted, Stage, TaskPlan, Tolerance,
    Work,
};
use ocelot_executor::app::{Leave, Parts, Register, Settings, StartError, Started, register, start_with};
use ocelot_executor::attempt::AttemptId;
use ocelot_executor::attempt::ports::Logs;
use ocelot_executor::connection::Proxies;
use ocelot_executor::journal::JournalError;
use ocelot_executor::session::Stopped;
use ocelot_proto::kit::invitation::Invitation;
use ocelot_proto::kit::shutdown::{Ended, Shutdown};
use ocelot_proto::wire;
use ocelot_proto::wire::decline_request::Reason;
use ocelot_proto::wire::outcome::{Outcome, failed};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use controller::{Controller, Fault, PATIENCE, cancel, drain, id_of, kill, spawn, stop};
use machine::Machine;

struct World {
    controller: Controller,
    machine: Machine,
    data: tempfile::TempDir,
    /// Tried before the one that lives.
    first: Vec<String>,
    allow_process: bool,
    disk_floor: u64,
    drain_grace: Duration,
    leave: Leave,
    running: Option<Program>,
}

struct Program {
    started: Started,
    requests: mpsc::Sender<()>,
    ended: tokio::sync::oneshot::Receiver<Ended>,
}

impl World {
    /// A registered executor that is not started yet.
    async fn registered() -> Self {
        let controller = Controller::start().await;
        let data = tempfile::tempdir().unwrap();
        let invitation =
            Invitation { token: "t".to_owned(), addresses: vec![controller.url()], fingerprint: None };
        let registered = register(Register {
            data: data.path().to_owned(),
            invitation,
            name: Some("one".to_owned()),
            labels: vec!["gpu".to_owned()],
            slots: Some(2),
            ca: None,
            proxies: Proxies::default(),
        });
        assert_eq!(registered.await.unwrap().labels, ["gpu"]);
        let machine = Machine::new();
        let first = vec![];
        Self {
            controller,
            machine,
            data,
            first,
            allow_process: true,
            disk_floor: 0,
            drain_grace: PATIENCE,
            leave: Leave::default(),
            running: None,
        }
    }

    async fn started() -> Self {
        let mut world = Self::registered().await;
        world.start().await;
        world
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.data.path().to_owned());
        settings.reach.controllers = [self.first.clone(), vec![self.controller.url()]].concat();
        settings.allow_process = self.allow_process;
        settings.disk_floor = self.disk_floor;
        settings.drain_grace = self.drain_grace;
        settings.repositories.file = true;
        settings.leave = self.leave.clone();
        settings
    }

    async fn start(&mut self) {
        let shutdown = Shutdown::new(PATIENCE);
        let tasks = shutdown.tasks();
        // The lock of a process that has just ended is free a moment later.
        let started = loop {
            let machine = self.machine.clone();
            let parts = Parts::new(
                vec![Arc::new(self.machine.clone())],
                Box::new(move |_, _| -> Arc<dyn Logs> { Arc::new(machine) }),
            );
            match start_with(self.settings(), parts, &tasks).await {
                Err(StartError::Journal(JournalError::Held { .. })) => tokio::task::yield_now().await,
                started => break started.unwrap(),
            }
        };
        let (requests, received) = mpsc::channel(2);
        let (tell, ended) = tokio::sync::oneshot::channel();
        spawn(async move {
            tell.send(shutdown.run(received).await).ok();
        });
        self.running = Some(Program { started, requests, ended });
    }

    /// Ends the executor as kill -9 would: nothing is finished, nothing is told.
    async fn killed(&mut self) {
        let program = self.running.take().unwrap();
        program.requests.send(()).await.unwrap();
        program.requests.send(()).await.unwrap();
        program.ended.await.unwrap();
    }

    fn offer(&self, plan: &TaskPlan) -> AttemptId {
        self.offer_source(plan, None)
    }

    fn offer_source(&self, plan: &TaskPlan, source: Option<wire::Source>) -> AttemptId {
        let plan = serde_json::to_vec(plan).unwrap();
        let offer = wire::Offer {
            attempt: Some(id().to_wire()),
            plan_digest: Sha256::digest(&plan).to_vec().into(),
            plan: plan.into(),
            env: [("OCELOT_RUN_ID".to_owned(), "r".to_owned())].into(),
            source,
            masks: false,
        };
        self.controller.set(|model| model.offers.push(offer));
        id()
    }

    async fn outcome(&self) -> Outcome {
        self.controller.until("a completion", |model| !model.completed.is_empty()).await;
        let model = self.controller.model();
        model.completed[0].outcome.clone().unwrap().outcome.unwrap()
    }

    /// Nothing of any attempt is left, in the journal or on disk.
    async fn clean(&self) {
        self.machine.until("no container", |facts| facts.containers.is_empty()).await;
        // What was said before does not count.
        self.controller.set(|model| model.heartbeats.clear());
        self.controller
            .until("nothing held", |model| model.heartbeats.last().is_some_and(|beat| beat.held.is_empty()))
            .await;
        // A folder is the last to go, when nothing is held any more.
        let gone = async {
            while !leftovers(self.data.path()).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("nothing is left of attempts on disk");
    }
}

/// What is left of attempts on disk.
fn leftovers(data: &Path) -> Vec<String> {
    let names = std::fs::read_dir(data.join("attempts")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| !name.starts_with("ready-")).collect()
}

fn id() -> AttemptId {
    let task = TaskId { run: RunId::from_bytes([9; 16]), index: 0 };
    AttemptId { task, number: Attempt::FIRST, epoch: Epoch(1) }
}

fn stage(name: &str) -> Stage {
    Stage {
        name: name.to_owned(),
        script: vec!["true".to_owned()],
        skip: None,
        always: false,
        allow_failure: Tolerance::None,
        directory: None,
        user: None,
        timeout: None,
        env: BTreeMap::new(),
        secrets: vec![],
    }
}

fn plan(stages: Vec<Stage>) -> TaskPlan {
    TaskPlan {
        name: "t".to_owned(),
        variant: BTreeMap::new(),
        base: "t".to_owned(),
        fail_fast: false,
        needs: vec![],
        gate: Gate::OnSuccess,
        class: Class::Normal,
        priority: 0,
        labels: vec![],
        resources: Resources::default(),
        limits: Limits {
            timeout: Duration::from_secs(3600),
            queue_timeout: Duration::from_secs(3600),
            quiet_timeout: None,
            grace: Duration::from_secs(10),
        },
        retry: Retry { limit: 0, on: vec![], exit_codes: vec![], delay: Duration::ZERO },
        allow_failure: Tolerance::None,
        concurrency: None,
        approval: None,
        keep: Keep::Never,
        environment: Environment {
            runtime: Wanted::Process,
            checkout: None,
            directory: String::new(),
            user: None,
            env: BTreeMap::new(),
            secrets: vec![],
            services: vec![],
            caches: vec![],
            artifacts: vec![],
        },
        work: Work::Stages { shell: "/bin/sh".to_owned(), stages },
    }
}

#[tokio::test]
async fn an_offer_is_journalled_acknowledged_run_and_completed_and_nothing_is_left() {
    let world = World::started().await;
    let id = world.offer(&plan(vec![stage("a"), stage("b")]));
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    {
        let model = world.controller.model();
        let place = |call| model.calls.iter().position(|known| *known == call).unwrap();
        assert!(place("acknowledge") < place("complete"));
        assert_eq!(id_of(&model.completed[0].attempt), id);
        let progress = model.completed[0].progress.clone().unwrap();
        assert_eq!(progress.stages.len(), 2);
        assert!(progress.up_unix_us > 0);
        assert_eq!(model.open_polls_most, 1);
    }
    world.clean().await;
    world.machine.until("the spool is dropped", |facts| facts.spools_dropped == 1).await;
}

#[tokio::test]
async fn a_stage_finds_who_it_is_in_its_environment() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    let mut named = stage("a");
    named.env = BTreeMap::from([("OCELOT_STAGE".to_owned(), "not this".to_owned())]);
    world.offer(&plan(vec![named]));
    world
        .machine
        .until("an order", |facts| facts.containers.values().any(|seen| !seen.orders.is_empty()))
        .await;
    let seen = world.machine.seen();
    let env = &seen.orders[0].env;
    assert_eq!(env["OCELOT_STAGE"], "a");
    assert_eq!(env["OCELOT_RUN_ID"], "r");
    assert_eq!(env["BUILD_ID"], "r");
    assert_eq!(env["CI"], "true");
    assert_eq!(seen.identity, Some(id().to_string()));
    world.machine.release_stages();
    world.outcome().await;
}

#[tokio::test]
async fn the_same_offer_twice_and_a_lost_acknowledgement_start_one_container() {
    let world = World::started().await;
    world.controller.fault("acknowledge", &[Fault::Unavailable, Fault::Lost]);
    world.offer(&plan(vec![stage("a")]));
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    assert_eq!(world.machine.facts().starts, 1);
    let model = world.controller.model();
    let sent: Vec<u64> = model.acknowledged.iter().map(|request| request.sent_boottime_ms).collect();
    assert!(sent.iter().all(|moment| *moment == sent[0]), "repeats are the same words: {sent:?}");
}

#[tokio::test]
async fn a_fence_as_the_answer_to_the_acknowledgement_starts_nothing_and_is_confirmed() {
    let world = World::started().await;
    world.controller.fault("acknowledge", &[Fault::Fenced]);
    let id = world.offer(&plan(vec![stage("a")]));
    world.controller.until("a confirmation", |model| model.confirmed == [id]).await;
    assert_eq!(world.machine.facts().starts, 0);
    world.clean().await;
}

#[tokio::test]
async fn a_kill_while_starting_leaves_no_container() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_start = true);
    let id = world.offer(&plan(vec![stage("a")]));
    world.machine.until("a start", |facts| facts.starts == 1).await;
    // The kill is for a poll that waits already.
    world.controller.until("an open poll", |model| model.open_polls == 1).await;
    let polls = world.controller.model().polls.len();
    world.controller.set(|model| model.directives.push(kill(id)));
    // Whoever polls again has heard what the poll before brought.
    world.controller.until("the kill is heard", |model| model.polls.len() > polls).await;
    world.machine.set(|facts| facts.held_start = false);
    world.controller.until("a confirmation", |model| model.confirmed == [id]).await;
    assert!(world.machine.facts().containers.is_empty());
    assert!(world.controller.model().completed.is_empty());
}

#[tokio::test]
async fn a_cancel_while_preparing_starts_nothing_and_is_completed_as_cancelled() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_prepare = true);
    let id = world.offer(&plan(vec![stage("a")]));
    world.controller.until("an acknowledgement", |model| model.acknowledged.len() == 1).await;
    world.controller.set(|model| model.directives.push(cancel(id)));
    assert!(matches!(world.outcome().await, Outcome::Cancelled(_)));
    assert_eq!(world.machine.facts().starts, 0);
    world.clean().await;
}

#[tokio::test]
async fn a_cancel_ends_the_running_stage_and_only_always_stages_follow() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    let cleanup = Stage { always: true, ..stage("cleanup") };
    let id = world.offer(&plan(vec![stage("a"), stage("b"), cleanup]));
    world.machine.runs_a_stage().await;
    world.controller.set(|model| model.directives.push(cancel(id)));
    world
        .machine
        .until("cleanup", |facts| facts.containers.values().any(|seen| seen.running == Some(2)))
        .await;
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Cancelled(_)));
    let model = world.controller.model();
    let stages = &model.completed[0].progress.as_ref().unwrap().stages;
    assert_eq!(stages.iter().map(|stage| stage.index).collect::<Vec<_>>(), [0, 2]);
}

#[tokio::test]
async fn a_failed_stage_is_told_with_its_exit_code() {
    let world = World::started().await;
    world.machine.set(|facts| facts.exits = BTreeMap::from([(0, 3)]));
    world.offer(&plan(vec![stage("a"), stage("b")]));
    let Outcome::Failed(failed) = world.outcome().await else { panic!() };
    assert_eq!((failed.stage.as_str(), failed.failure), ("a", Some(failed::Failure::Exit(3))));
}

#[tokio::test]
async fn a_container_that_dies_is_this_machines_fault() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.offer(&plan(vec![stage("a")]));
    world
        .machine
        .until("a stage", |facts| facts.containers.values().any(|seen| seen.running.is_some()))
        .await;
    world.machine.crash();
    assert!(matches!(world.outcome().await, Outcome::Lost(_)));
    world.clean().await;
}

#[tokio::test]
async fn a_completion_is_repeated_with_the_same_words_until_it_is_recorded() {
    let world = World::started().await;
    world.controller.fault("complete", &[Fault::LogIncomplete(0), Fault::Lost, Fault::Unavailable]);
    world.offer(&plan(vec![stage("a")]));
    world.controller.until("three of them", |model| model.completed.len() == 3).await;
    world.clean().await;
    let model = world.controller.model();
    assert!(
        model
            .completed
            .windows(2)
            .all(|pair| { pair[0].completion == pair[1].completion && pair[0].outcome == pair[1].outcome })
    );
}

#[tokio::test]
async fn a_controller_that_misses_what_one_had_is_sent_the_log_again_from_there_and_not_before() {
    let world = World::started().await;
    world.machine.set(|facts| facts.received = 100);
    // What is on its way while it is asked, it will have by itself.
    let misses = [100, 40, 120, 0].map(Fault::LogIncomplete);
    world.controller.fault("complete", &misses);
    world.offer(&plan(vec![stage("a")]));
    world.controller.until("five of them", |model| model.completed.len() == 5).await;
    world.clean().await;
    assert_eq!(world.machine.facts().missing, [40, 0]);
}

#[tokio::test]
async fn a_kill_after_the_result_is_durable_does_not_take_the_log() {
    let world = World::started().await;
    world.controller.fault("complete", &[Fault::Lost]);
    let id = world.offer(&plan(vec![stage("a")]));
    world.controller.until("a completion", |model| !model.completed.is_empty()).await;
    world.controller.set(|model| model.directives.push(kill(id)));
    world.clean().await;
    let model = world.controller.model();
    assert!(model.confirmed.is_empty(), "a recorded attempt is not fenced");
    assert_eq!(model.completed.len(), 2);
}

#[tokio::test]
async fn a_restart_under_a_running_build_goes_on_with_the_same_container() {
    let mut world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    let id = world.offer(&plan(vec![stage("a"), stage("b")]));
    world.machine.runs_a_stage().await;
    world.killed().await;
    world.start().await;
    world.controller.until("a second session", |model| model.opened.len() == 2).await;
    {
        let model = world.controller.model();
        assert_eq!(model.opened[1].held.iter().map(|held| id_of(&held.attempt)).collect::<Vec<_>>(), [id]);
        assert!(model.opened[1].incarnation > model.opened[0].incarnation);
    }
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    assert_eq!(world.machine.facts().starts, 1);
    world.clean().await;
}

#[tokio::test]
async fn a_restart_before_the_acknowledgement_acknowledges_and_starts_once() {
    let mut world = World::started().await;
    let faults = [Fault::Unavailable; 1_000];
    world.controller.fault("acknowledge", &faults);
    world.offer(&plan(vec![stage("a")]));
    world.controller.until("a try", |model| model.calls.contains(&"acknowledge")).await;
    world.machine.until("a log", |facts| facts.logs_begun == 1).await;
    world.killed().await;
    world.controller.set(|model| model.faults.clear());
    world.start().await;
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    let facts = world.machine.facts();
    // The log is begun beside the acknowledgement, by each process anew: there is nothing in it.
    assert_eq!((facts.starts, facts.logs_begun, facts.logs_recovered), (1, 2, 0));
}

#[tokio::test]
async fn an_attempt_that_is_taken_away_before_its_log_is_opened_again_leaves_none_behind() {
    let mut world = World::started().await;
    world.controller.fault("acknowledge", &[Fault::Unavailable; 1_000]);
    let id = world.offer(&plan(vec![stage("a")]));
    world.controller.until("a try", |model| model.calls.contains(&"acknowledge")).await;
    world.machine.until("a log", |facts| facts.logs_begun == 1).await;
    world.killed().await;
    world.controller.set(|model| {
        model.faults.clear();
        model.offers.clear();
        model.not_kept.push(id);
    });
    world.start().await;
    world.controller.until("the fence", |model| model.confirmed == [id]).await;
    world.clean().await;
    let facts = world.machine.facts();
    assert_eq!((facts.logs_begun, facts.logs_recovered, facts.logs_removed), (1, 0, 1));
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_start_never_starts_again() {
    let mut world = World::started().await;
    world.machine.set(|facts| facts.held_start = true);
    world.offer(&plan(vec![stage("a")]));
    world.machine.until("a start", |facts| facts.starts == 1).await;
    world.killed().await;
    world.machine.set(|facts| facts.held_start = false);
    world.start().await;
    assert!(matches!(world.outcome().await, Outcome::Lost(_)));
    assert_eq!(world.machine.facts().starts, 1);
}

#[tokio::test]
async fn a_restart_with_a_result_tells_it_again_with_the_same_completion() {
    let mut world = World::started().await;
    world.controller.fault("complete", &[Fault::Lost; 1]);
    world.controller.fault("complete", &[Fault::Unavailable; 1_000]);
    world.offer(&plan(vec![stage("a")]));
    world.controller.until("a completion", |model| model.completed.len() == 1).await;
    world.killed().await;
    // Its record has moved on: the session is not given it, and its completion is told all the same.
    world.controller.set(|model| {
        model.faults.clear();
        model.not_kept.push(id());
    });
    world.start().await;
    world.controller.until("a second one", |model| model.completed.len() == 2).await;
    world.clean().await;
    let model = world.controller.model();
    assert_eq!(model.completed[0].completion, model.completed[1].completion);
    assert_eq!(model.completed[0].outcome, model.completed[1].outcome);
    assert!(model.confirmed.is_empty());
}

#[tokio::test]
async fn a_kill_after_a_restart_with_a_result_does_not_take_the_log() {
    let mut world = World::started().await;
    world.controller.fault("complete", &[Fault::Lost; 1]);
    world.controller.fault("complete", &[Fault::Unavailable; 1_000]);
    let id = world.offer(&plan(vec![stage("a")]));
    world.controller.until("a completion", |model| model.completed.len() == 1).await;
    world.killed().await;
    let polls = world.controller.model().polls.len();
    world.start().await;
    world.controller.until("a poll of the second session", |model| model.polls.len() > polls).await;
    let polls = world.controller.model().polls.len();
    world.controller.set(|model| model.directives.push(kill(id)));
    // Whoever polls again has heard what the poll before brought.
    world.controller.until("the kill is heard", |model| model.polls.len() > polls).await;
    assert_eq!(world.machine.facts().spools_dropped, 0);
    world.controller.set(|model| model.faults.clear());
    world.controller.until("a second completion", |model| model.completed.len() == 2).await;
    world.clean().await;
    let model = world.controller.model();
    assert_eq!(model.completed[0].completion, model.completed[1].completion);
    assert!(model.confirmed.is_empty());
}

#[tokio::test]
async fn what_a_new_session_does_not_keep_is_killed_and_confirmed() {
    let mut world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    let id = world.offer(&plan(vec![stage("a")]));
    world.machine.runs_a_stage().await;
    world.killed().await;
    world.controller.set(|model| model.not_kept.push(id));
    world.start().await;
    world.controller.until("a confirmation", |model| model.confirmed == [id]).await;
    assert!(world.machine.facts().containers.is_empty());
}

#[tokio::test]
async fn a_dead_first_address_is_passed_over() {
    let mut world = World::registered().await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.first = vec![format!("http://{}", dead.local_addr().unwrap())];
    drop(dead);
    world.start().await;
    world.offer(&plan(vec![stage("a")]));
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
}

#[tokio::test]
async fn heartbeats_set_the_guard_forward() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.offer(&plan(vec![stage("a")]));
    world.machine.runs_a_stage().await;
    let first = world.machine.seen().deadline;
    world
        .machine
        .until("a later deadline", |facts| facts.containers.values().any(|seen| seen.deadline > first))
        .await;
    world.machine.release_stages();
    world.outcome().await;
}

#[tokio::test]
async fn a_drained_executor_hands_offers_back_and_says_so() {
    let world = World::started().await;
    world.controller.set(|model| model.directives.push(drain("new disks")));
    world
        .controller
        .until("the heartbeat says it", |model| {
            model.heartbeats.last().is_some_and(|beat| beat.refusing == "draining: new disks")
        })
        .await;
    world.offer(&plan(vec![stage("a")]));
    world.controller.until("handed back", |model| !model.declined.is_empty()).await;
    assert_eq!(world.controller.model().declined[0].reason(), Reason::Draining);
}

#[tokio::test]
async fn a_process_task_needs_permission() {
    let mut world = World::registered().await;
    world.allow_process = false;
    world.start().await;
    world.offer(&plan(vec![stage("a")]));
    world.controller.until("handed back", |model| !model.declined.is_empty()).await;
    assert_eq!(world.controller.model().declined[0].reason(), Reason::Policy);
}

#[tokio::test]
async fn below_the_disk_floor_no_work_is_taken() {
    let mut world = World::registered().await;
    world.disk_floor = u64::MAX;
    world.start().await;
    world.offer(&plan(vec![stage("a")]));
    world.controller.until("handed back", |model| !model.declined.is_empty()).await;
    assert_eq!(world.controller.model().declined[0].reason(), Reason::Disk);
}

#[tokio::test]
async fn a_runtime_that_breaks_makes_the_executor_refuse_until_it_works_again() {
    let world = World::started().await;
    world.controller.until("a session", |model| !model.opened.is_empty()).await;
    world.machine.set(|facts| facts.broken = true);
    world.offer(&plan(vec![stage("a")]));
    assert!(matches!(world.outcome().await, Outcome::Lost(_)));
    world
        .controller
        .until("it refuses", |model| {
            model.heartbeats.last().is_some_and(|beat| beat.refusing.contains("the engine does not answer"))
        })
        .await;
    world.machine.set(|facts| facts.broken = false);
    world
        .controller
        .until("it takes work again", |model| {
            model.heartbeats.last().is_some_and(|beat| beat.refusing.is_empty())
        })
        .await;
}

#[tokio::test]
async fn a_runtime_that_works_only_after_the_start_is_told_with_a_session_opened_anew() {
    let mut world = World::registered().await;
    world.machine.set(|facts| facts.broken = true);
    world.start().await;
    world.controller.until("a session", |model| !model.opened.is_empty()).await;
    world.machine.set(|facts| facts.broken = false);
    world
        .controller
        .until("a session that tells of the runtime", |model| {
            let machine = model.opened.last().and_then(|opened| opened.machine.as_ref());
            machine.is_some_and(|machine| machine.runtimes.len() == 1)
        })
        .await;
    let told: Vec<_> = world.controller.model().opened.iter().map(|opened| opened.machine.clone()).collect();
    assert_eq!(told[0].as_ref().map(|machine| machine.runtimes.len()), Some(0));
    world.offer(&plan(vec![stage("a")]));
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
}

#[tokio::test]
async fn asked_to_end_it_finishes_what_runs_and_takes_nothing_new() {
    let mut world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.offer(&plan(vec![stage("a")]));
    world.machine.runs_a_stage().await;
    let program = world.running.take().unwrap();
    program.requests.send(()).await.unwrap();
    world
        .controller
        .until("the heartbeat says it", |model| {
            model.heartbeats.last().is_some_and(|beat| beat.refusing == "the executor is being stopped")
        })
        .await;
    world.machine.release_stages();
    assert_eq!(program.started.stopped.await, Ok(Stopped::Drained));
    assert_eq!(program.ended.await, Ok(Ended::Drained));
    assert_eq!(world.controller.model().completed.len(), 1);
}

#[tokio::test]
async fn what_has_ended_is_told_though_the_grace_is_over() {
    let mut world = World::registered().await;
    world.drain_grace = Duration::ZERO;
    world.start().await;
    world.controller.fault("complete", &[Fault::Unavailable; 2]);
    world.offer(&plan(vec![stage("a")]));
    world.controller.until("a completion nobody took", |model| model.calls.contains(&"complete")).await;
    let program = world.running.take().unwrap();
    program.requests.send(()).await.unwrap();
    assert_eq!(program.started.stopped.await, Ok(Stopped::Drained));
    assert_eq!(world.controller.model().completed.len(), 1);
}

#[tokio::test]
async fn what_runs_when_the_grace_is_over_is_left_at_once() {
    let mut world = World::registered().await;
    world.drain_grace = Duration::ZERO;
    world.start().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.offer(&plan(vec![stage("a")]));
    world.machine.runs_a_stage().await;
    let program = world.running.take().unwrap();
    program.requests.send(()).await.unwrap();
    assert_eq!(program.started.stopped.await, Ok(Stopped::Left { left: 1 }));
}

#[tokio::test]
async fn a_lost_session_is_opened_again_and_a_clone_stops() {
    let mut world = World::started().await;
    world.controller.until("a session", |model| model.opened.len() == 1).await;
    world.controller.fault("heartbeat", &[Fault::Fenced]);
    world.controller.until("another one", |model| model.opened.len() == 2).await;
    world.controller.fault("open", &[Fault::Fenced]);
    world.controller.fault("heartbeat", &[Fault::Fenced]);
    let program = world.running.take().unwrap();
    assert_eq!(program.started.stopped.await, Ok(Stopped::Fenced));
}

#[tokio::test]
async fn an_executor_that_was_removed_kills_what_it_has_and_stops() {
    let mut world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.offer(&plan(vec![stage("a")]));
    world.machine.runs_a_stage().await;
    world.controller.set(|model| model.directives.push(stop("by ann")));
    let program = world.running.take().unwrap();
    let removed = Stopped::Removed { why: "by ann".to_owned() };
    assert_eq!(program.started.stopped.await, Ok(removed));
    assert!(world.machine.facts().containers.is_empty());
}

#[tokio::test]
async fn a_second_executor_cannot_use_the_same_directory() {
    let world = World::started().await;
    let path: &Path = world.data.path();
    let tasks = Shutdown::new(PATIENCE).tasks();
    let machine = world.machine.clone();
    let parts = Parts::new(vec![], Box::new(move |_, _| -> Arc<dyn Logs> { Arc::new(machine) }));
    let error = start_with(Settings::new(path.to_owned()), parts, &tasks).await.unwrap_err();
    assert!(matches!(error, StartError::Journal(JournalError::Held { .. })), "{error}");
}

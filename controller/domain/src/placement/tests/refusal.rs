use ocelot_core::plan::{Class, Environment, Pull, Resources, Runtime, TaskPlan};

use super::*;
use crate::run::tests as run;

/// What the only executor of a fleet says to a task.
fn refusals(task: &QueuedTask, executor: Executor) -> Vec<Refusal> {
    let bench = Bench::new([executor]);
    bench.explain(task).verdicts.remove(0).refusals
}

fn said(task: &QueuedTask, executor: Executor) -> Vec<String> {
    refusals(task, executor).iter().map(ToString::to_string).collect()
}

#[test]
fn every_label_that_a_task_asks_must_be_on_the_executor() {
    let asks = asking(&["gpu", "os=linux"], task(1));
    assert_eq!(said(&asks, executor(1)), ["needs label gpu", "needs label os=linux"]);
    assert_eq!(said(&asks, granted(&["gpu", "os=macos"], executor(1))), ["needs label os=linux"]);
    assert_eq!(said(&asks, granted(&["gpu", "os=linux", "fast"], executor(1))), [""; 0]);
}

#[test]
fn a_word_and_a_word_with_a_value_are_two_labels() {
    assert_eq!(said(&asking(&["gpu"], task(1)), granted(&["gpu=a100"], executor(1))), ["needs label gpu"]);
}

#[test]
fn a_reserved_label_takes_only_tasks_that_ask_for_it() {
    let reserved = || granted(&["!gpu", "!zone=secure", "os=linux"], executor(1));
    let refused = ["takes only tasks that ask for gpu", "takes only tasks that ask for zone=secure"];
    assert_eq!(said(&task(1), reserved()), refused);
    assert_eq!(said(&asking(&["gpu", "zone=secure"], task(1)), reserved()), [""; 0]);
}

#[test]
fn more_than_the_machine_has_is_refused_with_both_figures() {
    let asked = Amounts::from([
        (Resource::CpuMillis, 1_500),
        (Resource::MemoryBytes, 8 << 30),
        (Resource::Gpus, 1),
        (Resource::Pids, 100),
    ]);
    let demand = Demand { amounts: asked, ..demand(&[]) };
    let has = Amounts::from([
        (Resource::CpuMillis, 1_000),
        (Resource::MemoryBytes, (8 << 30) - 1024),
        (Resource::Pids, 100),
    ]);
    let refused = said(&QueuedTask { demand, ..task(1) }, Executor { has, ..executor(1) });
    insta::assert_snapshot!(refused.join("\n"), @r"
    needs 1.5 cpus, has 1 cpu
    needs 8 GiB memory, has 8388607 KiB memory
    needs 1 gpu, has 0 gpus
    ");
}

#[test]
fn rights_that_the_executor_lacks_are_refused() {
    let project: Arc<str> = "acme/shop".into();
    let wants = |change: fn(&mut Demand)| {
        let mut demand = demand(&[]);
        change(&mut demand);
        QueuedTask { demand, ..task(1) }
    };
    let process = wants(|demand| demand.runtime = RuntimeKind::Process);
    assert_eq!(refusals(&process, executor(1)), [Refusal::Runtime(RuntimeKind::Process)]);

    let exclusive = wants(|demand| demand.kill = Kill::ReachesAll);
    let weak = BTreeMap::from([(RuntimeKind::Container, Kill::BestEffort)]);
    assert_eq!(refusals(&exclusive, Executor { runtimes: weak, ..executor(1) }), [Refusal::Kill]);
    assert_eq!(refusals(&exclusive, executor(1)), []);

    let engine = wants(|demand| demand.engine = Some("acme/shop".into()));
    let permit = |engine| Executor { engine, ..executor(1) };
    assert_eq!(refusals(&engine, permit(EnginePermit::Nobody)), [Refusal::Engine]);
    assert_eq!(refusals(&engine, permit(EnginePermit::Projects(BTreeSet::new()))), [Refusal::Engine]);
    assert_eq!(refusals(&engine, permit(EnginePermit::Projects(BTreeSet::from([project])))), []);
    assert_eq!(refusals(&engine, permit(EnginePermit::Everybody)), []);

    let fork = wants(|demand| demand.trust = Trust::Untrusted);
    assert_eq!(refusals(&fork, Executor { admits: Admits::TrustedOnly, ..executor(1) }), [Refusal::Trust]);
    assert_eq!(refusals(&fork, executor(1)), []);
}

#[test]
fn an_executor_that_is_hindered_takes_nothing() {
    for obstacle in [Obstacle::Offline, Obstacle::Quarantined, Obstacle::Draining, Obstacle::DiskFloor] {
        let mut bench = Bench::new([hindered(obstacle, executor(1))]).queued([task(1)]);
        assert_eq!(bench.offers(1), []);
        assert_eq!(refusals(&task(1), hindered(obstacle, executor(1))), [Refusal::Obstacle(obstacle)]);
    }
}

#[test]
fn slots_and_the_limit_for_one_executor_are_never_exceeded() {
    let mut bench = Bench::new([with_slots(2, executor(1))]).queued((0..5).map(task));
    assert_eq!(bench.order(10), [0, 1]);
    assert_eq!(bench.order(10), []);
    bench.queue.gone(&id(0));
    assert_eq!(bench.order(10), [2]);

    let limits = Limits { executor: Some(1), ..Limits::default() };
    let mut bench = Bench::with_limits(limits, [executor(1)]).queued([task(1), task(2)]);
    assert_eq!(bench.order(10), [1]);
    insta::assert_snapshot!(bench.why(&task(2)), @"x86-1: at the limit of 1 task for one executor");
}

#[test]
fn an_executor_that_declined_is_not_asked_for_thirty_seconds() {
    let until = seconds(100) + DECLINE_AVOIDED;
    let avoid = vec![Avoid { executor: executor_id(1), why: AvoidWhy::Declined, until }];
    let mut bench = Bench::new([executor(1)]).queued([QueuedTask { avoid, ..task(1) }, task(2)]);
    assert_eq!(bench.order(1), [2]);
    bench.now = until - Duration::from_millis(1);
    assert_eq!(bench.order(1), []);
    bench.now = until;
    assert_eq!(bench.order(1), [1]);
}

#[test]
fn a_task_keeps_away_from_where_it_failed_while_another_could_take_it() {
    let failed_on = |n| Avoid { executor: executor_id(n), why: AvoidWhy::Failed, until: seconds(200) };
    let failed = QueuedTask { avoid: vec![failed_on(1)], ..task(1) };

    let busy = with_slots(1, executor(2));
    let mut bench = Bench::new([executor(1), busy]);
    bench.queue.live(id(9), &"acme/shop".into(), &"ana".into(), executor_id(2));
    bench.queue.insert(failed.clone());
    assert_eq!(bench.offers(1), [], "it waits for the busy one");
    bench.now = seconds(200);
    assert_eq!(bench.offers(1)[0].executor, executor_id(1), "but not for ever");

    for other in [hindered(Obstacle::Offline, executor(2)), granted(&["!gpu"], executor(2))] {
        let mut bench = Bench::new([executor(1), other]).queued([failed.clone()]);
        assert_eq!(bench.offers(1)[0].executor, executor_id(1), "nobody else could take it");
    }
    let everywhere = QueuedTask { avoid: vec![failed_on(1), failed_on(2)], ..task(1) };
    assert_eq!(Bench::new([executor(1), executor(2)]).queued([everywhere]).offers(1).len(), 1);
}

#[test]
fn a_task_that_waits_for_its_next_try_is_offered_to_nobody_before_it() {
    let later = QueuedTask { after: Some(seconds(110)), ..task(1) };
    let mut bench = Bench::new([executor(1)]).queued([later.clone()]);
    assert_eq!(bench.order(1), []);
    assert_eq!(bench.queue.next_due(), Some(seconds(110)));
    assert_eq!(bench.why(&later), "next try in 10 s");
    bench.now = seconds(110);
    assert_eq!(bench.order(1), [1]);
    assert_eq!(bench.queue.next_due(), None);
}

#[test]
fn the_executor_with_the_image_then_the_caches_then_the_least_to_do_is_liked_best() {
    let wanting = QueuedTask { image: Some("rust:1.95".into()), caches: vec!["cargo".into()], ..task(1) };
    let images = || BTreeSet::from(["rust:1.95".into()]);
    let caches = || BTreeSet::from(["cargo".into()]);
    let chosen = |executors: [Executor; 2]| {
        let mut bench = Bench::new(executors);
        bench.queue.live(id(9), &"acme/shop".into(), &"ana".into(), executor_id(1));
        bench.queue.insert(wanting.clone());
        bench.offers(1)[0].executor
    };
    let warm = |n| Executor { images: images(), ..executor(n) };
    let cached = |n| Executor { caches: caches(), ..executor(n) };
    assert_eq!(chosen([warm(1), cached(2)]), executor_id(1));
    assert_eq!(chosen([warm(1), Executor { caches: caches(), ..warm(2) }]), executor_id(2));
    assert_eq!(chosen([cached(1), executor(2)]), executor_id(1));
    assert_eq!(chosen([executor(1), executor(2)]), executor_id(2));
}

#[test]
fn the_demand_is_read_off_the_plan() {
    let resources = Resources { memory_bytes: Some(1 << 30), gpus: Some(2), ..Resources::default() };
    let runtime =
        Runtime::Container { image: "rust".into(), pull: Pull::Missing, pull_secret: None, engine: true };
    let plain = run::task("build");
    let plan = TaskPlan {
        labels: vec![label("gpu")],
        resources,
        class: Class::Exclusive,
        environment: Environment { runtime, ..plain.environment.clone() },
        ..plain.clone()
    };
    let shop: Arc<str> = "acme/shop".into();
    let expected = Demand {
        amounts: Amounts::from([(Resource::MemoryBytes, 1 << 30), (Resource::Gpus, 2)]),
        engine: Some(Arc::clone(&shop)),
        kill: Kill::ReachesAll,
        trust: Trust::Untrusted,
        ..demand(&["gpu"])
    };
    assert_eq!(Demand::of(&plan, &shop, Trust::Untrusted), expected);
    let process = Demand { runtime: RuntimeKind::Process, ..demand(&[]) };
    assert_eq!(Demand::of(&plain, &shop, Trust::Trusted), process);
}

use super::*;

/// Fourteen executors; the last two have a gpu.
fn fourteen() -> Vec<Executor> {
    let plain = (1..=12).map(executor);
    plain.chain((13..=14).map(|n| granted(&["gpu"], executor(n)))).collect()
}

#[test]
fn a_label_that_nobody_has_is_said_with_the_count() {
    let bench = Bench::new(fourteen());
    let wants = asking(&["tpu"], task(1));
    insta::assert_snapshot!(bench.why(&wants), @"needs label tpu: 0 of 14 have it");
    let unplaceable = bench.queue.placeable(&wants, &bench.view()).expect_err("nobody has a tpu");
    insta::assert_snapshot!(
        unplaceable,
        @"no registered executor can ever take this task: needs label tpu: 0 of 14 have it"
    );
}

#[test]
fn executors_that_fit_are_named_with_what_keeps_them() {
    let mut executors = fourteen();
    executors[12] = hindered(Obstacle::DiskFloor, executors[12].clone());
    executors[13] = with_slots(0, executors[13].clone());
    executors[0] = hindered(Obstacle::Draining, executors[0].clone());
    let bench = Bench::new(executors);
    let wants = asking(&["gpu"], task(1));
    insta::assert_snapshot!(
        bench.why(&wants),
        @"needs label gpu: 2 of 14 have it; x86-13: disk below its floor; x86-14: no free slot of 0"
    );
    assert_eq!(bench.queue.placeable(&wants, &bench.view()), Ok(()));
}

#[test]
fn a_large_fleet_is_counted_not_listed() {
    let bench = Bench::new((1..=200).map(|n| hindered(Obstacle::Offline, executor(n))));
    insta::assert_snapshot!(bench.why(&task(1)), @"200 of 200: offline");
}

#[test]
fn more_memory_than_the_largest_has_is_said_with_what_that_has() {
    let with =
        |n, gib: u64| Executor { has: Amounts::from([(Resource::MemoryBytes, gib << 30)]), ..executor(n) };
    let bench = Bench::new([with(1, 16), with(2, 64)]);
    let wants = |gib: u64| {
        let amounts = Amounts::from([(Resource::MemoryBytes, gib << 30)]);
        QueuedTask { demand: Demand { amounts, ..demand(&[]) }, ..task(1) }
    };
    let unplaceable = bench.queue.placeable(&wants(128), &bench.view()).expect_err("64 is the most");
    insta::assert_snapshot!(
        unplaceable,
        @"no registered executor can ever take this task: needs 128 GiB memory: the largest has 64 GiB memory"
    );
    assert_eq!(bench.queue.placeable(&wants(64), &bench.view()), Ok(()));
}

#[test]
fn an_empty_fleet_is_said_to_be_empty() {
    insta::assert_snapshot!(Bench::new([]).why(&task(1)), @"no executor is registered");
}

#[test]
fn a_task_that_nothing_refuses_is_told_its_place() {
    let shop = (1..=3).map(task);
    let other = (4..=6).map(|n| of_project("acme/docs", task(n)));
    let gpu = asking(&["gpu"], task(0));
    let bench = Bench::new([executor(1)]).queued(shop.chain(other).chain([gpu]));
    insta::assert_snapshot!(bench.why(&task(1)), @"next in the queue");
    insta::assert_snapshot!(bench.why(&of_project("acme/docs", task(4))), @"in the queue, 1 task goes first");
    insta::assert_snapshot!(bench.why(&task(3)), @"in the queue, 4 tasks go first");
}

#[test]
fn a_full_group_is_said_with_its_holder_and_who_is_older() {
    let mut bench = Bench::new([executor(1)]).queued((1..=3).map(|n| grouped("production", 1, task(n))));
    assert_eq!(bench.order(5), [1]);
    insta::assert_snapshot!(
        bench.why(&grouped("production", 1, task(3))),
        @"group production admits 1 at a time, held by task 00000000-0001-7000-8000-000000000000/0; 1 older before it"
    );
}

#[test]
fn what_a_waiting_task_waits_for_is_said_beside_what_will_refuse_it() {
    let bench = Bench::new(fourteen());
    let waits = vec![
        Hold::Needs { tasks: vec!["build".into(), "lint".into()] },
        Hold::Approval { by: vec!["release-managers".into(), "ana".into()] },
    ];
    let explanation = bench.queue.explain(&asking(&["tpu"], task(1)), waits, &bench.view());
    insta::assert_snapshot!(
        explanation.summary(),
        @"waits for build, lint; waits for the approval of release-managers or ana; needs label tpu: 0 of 14 have it"
    );
}

#[test]
fn a_project_at_its_limit_is_said_with_the_figures() {
    let limits = Limits { project: Some(2), owner: Some(9), ..Limits::default() };
    let mut bench = Bench::with_limits(limits, [executor(1)]).queued((1..=3).map(task));
    assert_eq!(bench.order(5), [1, 2]);
    insta::assert_snapshot!(bench.why(&task(3)), @"acme/shop has 2 tasks running, the limit is 2");
}

use ocelot_core::plan::{Concurrency, Plan, Supersede, TaskPlan};

use super::*;
use crate::run::tests as run;

fn production() -> GroupName {
    GroupName::new(&"acme/shop".into(), "production")
}

#[test]
fn a_group_lets_in_its_limit_in_acceptance_order() {
    let tasks = [3, 1, 2].map(|n| grouped("production", 2, with_priority(n as i8, task(n))));
    let mut bench = Bench::new([executor(1)]).queued(tasks);
    let offers = bench.offers(9);
    assert_eq!(offers.iter().map(|offer| number(&offer.task)).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(offers[0].slots, [slot("production", 2, Holder::Task(id(2)))]);
    assert_eq!(bench.order(9), []);
}

#[test]
fn a_slot_is_free_again_when_the_store_says_so() {
    let mut bench = Bench::new([executor(1)]).queued((1..=2).map(|n| grouped("production", 1, task(n))));
    assert_eq!(bench.order(9), [1]);
    bench.queue.gone(&id(1));
    assert_eq!(bench.order(9), []);
    bench.queue.set_group(&production(), GroupRecord::default());
    assert_eq!(bench.order(9), [2]);
}

#[test]
fn a_task_that_is_tried_again_still_has_its_slot() {
    let mut bench = Bench::new([executor(1)]).queued([grouped("production", 1, task(2))]);
    assert_eq!(bench.order(9), [2]);
    bench.queue.insert(grouped("production", 1, task(1)));
    bench.queue.insert(grouped("production", 1, task(2)));
    assert_eq!(bench.order(9), [2]);
}

#[test]
fn a_run_holds_its_slot_for_all_its_tasks() {
    let of_run = |n: u64, index: u32| {
        let id = TaskId { index, ..id(n) };
        let groups = vec![slot("main", 1, Holder::Run(id.run))];
        QueuedTask { id, groups, ..task(n) }
    };
    let mut bench = Bench::new([executor(1)]).queued([of_run(2, 0), of_run(1, 0), of_run(1, 1)]);
    assert_eq!(bench.order(9), [1, 1]);
    bench.queue.insert(of_run(1, 2));
    assert_eq!(bench.order(9), [1]);
}

#[test]
fn an_older_one_with_a_lower_limit_is_not_overtaken() {
    let mut bench = Bench::new([executor(1)]);
    let holders = BTreeSet::from([Holder::Task(id(9))]);
    bench.queue.set_group(&production(), GroupRecord { holders });
    bench.queue.insert(grouped("production", 1, task(1)));
    bench.queue.insert(grouped("production", 5, task(2)));
    assert_eq!(bench.order(9), []);
    bench.queue.set_group(&production(), GroupRecord::default());
    assert_eq!(bench.order(9), [1, 2]);
}

#[test]
fn a_lost_compare_gives_the_task_back_to_the_queue() {
    let mut bench = Bench::new([executor(1)]).queued([grouped("production", 1, task(1))]);
    assert_eq!(bench.order(9), [1]);
    let holders = BTreeSet::from([Holder::Task(id(9))]);
    bench.queue.set_group(&production(), GroupRecord { holders });
    bench.queue.insert(grouped("production", 1, task(1)));
    assert_eq!(bench.order(9), []);
    bench.queue.set_group(&production(), GroupRecord::default());
    assert_eq!(bench.order(9), [1]);
}

#[test]
fn a_group_with_a_slash_is_one_for_all_projects() {
    let (shop, docs) = ("acme/shop".into(), "acme/docs".into());
    assert_eq!(GroupName::new(&shop, "/signing"), GroupName::new(&docs, "/signing"));
    assert_ne!(GroupName::new(&shop, "signing"), GroupName::new(&docs, "signing"));
    assert_eq!(GroupName::new(&shop, "/signing").to_string(), "/signing");
}

#[test]
fn a_task_needs_the_slots_of_its_run_and_its_own() {
    let shop: Arc<str> = "acme/shop".into();
    let concurrency =
        |group: &str, limit| Some(Concurrency { group: group.into(), limit, cancel: Supersede::Never });
    let with = |of_run, of_task| {
        let task = TaskPlan { concurrency: of_task, ..run::task("deploy") };
        let plan = Plan { concurrency: of_run, ..run::plan(vec![task.clone()]) };
        claims(&plan, &task, id(1), &shop)
    };
    let of_run = slot("main", 2, Holder::Run(id(1).run));
    let of_task = slot("production", 1, Holder::Task(id(1)));
    assert_eq!(with(None, None), []);
    assert_eq!(with(concurrency("main", 2), concurrency("production", 1)), [of_run.clone(), of_task]);
    assert_eq!(
        with(concurrency("main", 2), concurrency("main", 1)),
        [of_run],
        "it would wait for its own run"
    );
}

#[test]
fn a_newer_member_ends_older_ones_as_it_says() {
    let member = |n, phase, cancel| Member { holder: Holder::Task(id(n)), accepted: n, phase, cancel };
    let older = [member(1, Phase::Running, Supersede::Never), member(2, Phase::Waiting, Supersede::Never)];
    let ended = |cancel, phase| {
        let members = [older[1], older[0], member(3, phase, cancel)];
        superseded(&members).iter().map(|(older, _)| *older).collect::<Vec<_>>()
    };
    let (one, two) = (Holder::Task(id(1)), Holder::Task(id(2)));
    for phase in [Phase::Waiting, Phase::Running] {
        assert_eq!(ended(Supersede::Never, phase), []);
        assert_eq!(ended(Supersede::Waiting, phase), [two]);
        assert_eq!(ended(Supersede::Running, phase), [one, two]);
    }
}

#[test]
fn members_of_one_run_do_not_end_each_other() {
    let variant = |index| Member {
        holder: Holder::Task(TaskId { index, ..id(1) }),
        accepted: 1,
        phase: Phase::Running,
        cancel: Supersede::Running,
    };
    assert_eq!(superseded(&[variant(0), variant(1)]), []);
}

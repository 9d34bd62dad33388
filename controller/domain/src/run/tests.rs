use std::collections::BTreeMap;
use std::time::Duration;

use ocelot_core::plan::{
    Class, Environment, Gate, Keep, Limits, Need, Plan, Resources, Retry, Runtime, TaskPlan, Tolerance, Work,
};
use proptest::prelude::*;

use super::*;
use crate::outcome::{Failure, Timeout};

/// A task that states nothing but its name.
pub(crate) fn task(name: &str) -> TaskPlan {
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
            queue_timeout: Duration::from_secs(86_400),
            quiet_timeout: None,
            grace: Duration::from_secs(10),
        },
        retry: Retry { limit: 0, on: Vec::new(), exit_codes: Vec::new(), delay: Duration::ZERO },
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
        work: Work::Command(vec!["true".into()]),
    }
}

/// A task that needs those of these indices.
fn after(name: &str, needs: &[u32]) -> TaskPlan {
    let need = |task: &u32| Need { task: *task, optional: false, artifacts: true };
    TaskPlan { needs: needs.iter().map(need).collect(), ..task(name) }
}

fn gated(gate: Gate, plan: TaskPlan) -> TaskPlan {
    TaskPlan { gate, ..plan }
}

fn tolerant(allow_failure: Tolerance, plan: TaskPlan) -> TaskPlan {
    TaskPlan { allow_failure, ..plan }
}

fn variant(base: &str, number: u32) -> TaskPlan {
    TaskPlan { base: base.into(), fail_fast: true, ..task(&format!("{base}[n={number}]")) }
}

pub(crate) fn plan(tasks: Vec<TaskPlan>) -> Plan {
    Plan { tasks, concurrency: None, notify: Vec::new(), group: None }
}

fn exit(code: i32) -> Outcome {
    Outcome::Failed { stage: None, failure: Failure::Exit(code) }
}

fn skipped() -> Outcome {
    Outcome::Skipped { why: "not on this branch".into() }
}

fn cancelled(by: &str) -> Outcome {
    Outcome::Cancelled { by: Actor(by.into()), result: None }
}

fn lost() -> Outcome {
    Outcome::Lost { why: "executor gone".into() }
}

fn rejected() -> Outcome {
    Outcome::Rejected { why: "no such image".into() }
}

fn due_in(plan: &Plan, lives: &[TaskLife]) -> Vec<Duty> {
    let tasks: Vec<_> = lives.iter().cloned().map(Some).collect();
    due(&RunView { plan, stage: RunStage::Active, cancel: None, tasks: &tasks })
}

fn outcome_of(plan: &Plan, outcomes: Vec<Outcome>) -> Option<RunOutcome> {
    let tasks: Vec<_> = outcomes.into_iter().map(|outcome| Some(TaskLife::Finished(outcome))).collect();
    ended(&RunView { plan, stage: RunStage::Active, cancel: None, tasks: &tasks })
}

fn done(outcome: Outcome) -> TaskLife {
    TaskLife::Finished(outcome)
}

fn skip(task: u32, why: &str) -> Duty {
    Duty::End { task, outcome: Outcome::Skipped { why: why.into() } }
}

mod a_run {
    use super::*;

    #[test]
    fn ends_as_the_weightiest_of_its_tasks() {
        use RunOutcome as R;
        let timed_out = || Outcome::TimedOut(Timeout::Run);
        let table = [
            (vec![Outcome::Succeeded, Outcome::Succeeded], R::Succeeded),
            (vec![Outcome::Succeeded, skipped()], R::Succeeded),
            (vec![skipped(), skipped()], R::Skipped),
            (vec![skipped(), exit(1)], R::Failed),
            (vec![exit(1), timed_out()], R::TimedOut),
            (vec![timed_out(), lost()], R::Lost),
            (vec![lost(), cancelled("ana")], R::Cancelled),
            (vec![cancelled("ana"), rejected()], R::Rejected),
        ];
        let plan = plan(vec![task("a"), task("b")]);
        for (outcomes, expected) in table {
            assert_eq!(outcome_of(&plan, outcomes.clone()), Some(expected), "{outcomes:?}");
        }
    }

    #[test]
    fn has_no_outcome_while_a_task_goes_on() {
        let plan = plan(vec![task("a"), task("b")]);
        let tasks = [Some(done(rejected())), Some(TaskLife::Cancelling)];
        let run = RunView { plan: &plan, stage: RunStage::Active, cancel: None, tasks: &tasks };
        assert_eq!(ended(&run), None);
    }

    #[test]
    fn succeeds_although_a_task_that_may_fail_failed() {
        let any = plan(vec![tolerant(Tolerance::Any, task("lint"))]);
        assert_eq!(outcome_of(&any, vec![exit(1)]), Some(RunOutcome::Succeeded));
        assert_eq!(outcome_of(&any, vec![lost()]), Some(RunOutcome::Succeeded));
    }

    #[test]
    fn tolerates_only_the_exit_codes_that_the_plan_names() {
        let some = plan(vec![tolerant(Tolerance::ExitCodes(vec![3, 4]), task("lint"))]);
        assert_eq!(outcome_of(&some, vec![exit(4)]), Some(RunOutcome::Succeeded));
        assert_eq!(outcome_of(&some, vec![exit(1)]), Some(RunOutcome::Failed));
        assert_eq!(outcome_of(&some, vec![lost()]), Some(RunOutcome::Lost));
        let killed = Outcome::Failed { stage: None, failure: Failure::Signal(4) };
        assert_eq!(outcome_of(&some, vec![killed]), Some(RunOutcome::Failed));
    }

    #[test]
    fn that_a_person_cancelled_is_cancelled_although_its_tasks_may_fail() {
        let plan = plan(vec![tolerant(Tolerance::Any, task("lint"))]);
        let by = Actor("ana".into());
        let tasks = [Some(done(cancelled("ana")))];
        let run = RunView { plan: &plan, stage: RunStage::Active, cancel: Some(&by), tasks: &tasks };
        assert_eq!(ended(&run), Some(RunOutcome::Cancelled));
    }

    #[test]
    fn that_failed_fast_has_failed_and_is_not_called_cancelled() {
        let plan = plan(vec![variant("test", 1), variant("test", 2)]);
        assert_eq!(outcome_of(&plan, vec![exit(1), cancelled(FAIL_FAST)]), Some(RunOutcome::Failed));
    }

    #[test]
    fn is_finished_once_all_its_tasks_are_and_then_nothing_is_due() {
        let plan = plan(vec![task("a")]);
        assert_eq!(due_in(&plan, &[done(exit(1))]), [Duty::Finish { outcome: RunOutcome::Failed }]);
        let tasks = [Some(done(exit(1)))];
        let stage = RunStage::Finished(RunOutcome::Failed);
        assert_eq!(due(&RunView { plan: &plan, stage, cancel: None, tasks: &tasks }), []);
    }

    #[test]
    fn says_how_far_it_is() {
        let plan = plan((0..5).map(|n| task(&format!("t{n}"))).collect());
        let tasks = [
            Some(done(exit(1))),
            Some(TaskLife::Live),
            Some(TaskLife::Cancelling),
            Some(TaskLife::Queued),
            None,
        ];
        let run = RunView { plan: &plan, stage: RunStage::Active, cancel: None, tasks: &tasks };
        insta::assert_snapshot!(Progress::of(&run), @"1 of 5 tasks done, 2 running, 1 queued, 1 waiting");
    }
}

mod expanding {
    use super::*;

    fn put(count: usize, present: impl Fn(usize) -> bool) -> Vec<Duty> {
        let plan = plan((0..count).map(|n| task(&format!("t{n}"))).collect());
        let tasks: Vec<_> = (0..count).map(|n| present(n).then_some(TaskLife::Queued)).collect();
        due(&RunView { plan: &plan, stage: RunStage::Expanding, cancel: None, tasks: &tasks })
    }

    #[test]
    fn puts_the_first_batch_that_is_not_whole() {
        assert_eq!(put(250, |_| false), [Duty::Put { tasks: 0..100, activate: false }]);
        assert_eq!(put(250, |n| n < 100), [Duty::Put { tasks: 100..200, activate: false }]);
        assert_eq!(put(250, |n| n != 42), [Duty::Put { tasks: 0..100, activate: false }]);
    }

    #[test]
    fn makes_the_run_active_with_the_last_batch_only() {
        assert_eq!(put(250, |n| n < 200), [Duty::Put { tasks: 200..250, activate: true }]);
        assert_eq!(put(200, |n| n < 100), [Duty::Put { tasks: 100..200, activate: true }]);
    }

    #[test]
    fn goes_on_when_every_task_is_there_but_the_run_was_not_made_active() {
        assert_eq!(put(250, |_| true), [Duty::Put { tasks: 200..250, activate: true }]);
    }

    #[test]
    fn an_empty_plan_becomes_active_and_ends() {
        assert_eq!(put(0, |_| true), [Duty::Put { tasks: 0..0, activate: true }]);
        assert_eq!(due_in(&plan(vec![]), &[]), [Duty::Finish { outcome: RunOutcome::Skipped }]);
    }

    #[test]
    fn is_not_needed_for_what_one_transaction_holds() {
        let of = |count| Expansion::of(&plan((0..count).map(|n| task(&format!("t{n}"))).collect()));
        assert_eq!(of(1), Expansion::Whole);
        assert_eq!(of(100), Expansion::Whole);
        assert_eq!(of(101), Expansion::Batches);
    }
}

mod a_waiting_task {
    use super::*;

    /// What is due for the last of the plan's tasks, which waits, when the others ended so.
    fn fate(tasks: Vec<TaskPlan>, ends: Vec<Outcome>) -> Vec<Duty> {
        let mut lives: Vec<_> = ends.into_iter().map(done).collect();
        lives.push(TaskLife::Waiting);
        due_in(&plan(tasks), &lives)
    }

    #[test]
    fn without_needs_is_released() {
        assert_eq!(fate(vec![task("a")], vec![]), [Duty::Release { task: 0 }]);
    }

    #[test]
    fn goes_on_waiting_until_all_its_needs_have_ended() {
        let plan = plan(vec![task("a"), task("b"), after("c", &[0, 1])]);
        assert_eq!(due_in(&plan, &[done(exit(1)), TaskLife::Live, TaskLife::Waiting]), []);
    }

    #[test]
    fn is_released_when_its_needs_succeeded() {
        let tasks = vec![task("a"), after("b", &[0])];
        assert_eq!(fate(tasks, vec![Outcome::Succeeded]), [Duty::Release { task: 1 }]);
    }

    #[test]
    fn is_skipped_when_a_need_failed_or_was_cancelled() {
        let tasks = || vec![task("a"), after("b", &[0])];
        assert_eq!(fate(tasks(), vec![exit(1)]), [skip(1, "a failed")]);
        assert_eq!(fate(tasks(), vec![cancelled("ana")]), [skip(1, "a was cancelled")]);
    }

    #[test]
    fn is_released_by_the_failure_of_a_need_that_may_fail() {
        let tasks = vec![tolerant(Tolerance::Any, task("a")), after("b", &[0])];
        assert_eq!(fate(tasks, vec![exit(1)]), [Duty::Release { task: 1 }]);
    }

    #[test]
    fn is_skipped_with_its_need_unless_that_is_optional() {
        assert_eq!(fate(vec![task("a"), after("b", &[0])], vec![skipped()]), [skip(1, "a was skipped")]);
        let mut optional = after("b", &[0]);
        optional.needs[0].optional = true;
        assert_eq!(fate(vec![task("a"), optional], vec![skipped()]), [Duty::Release { task: 1 }]);
    }

    #[test]
    fn for_a_failure_runs_when_a_need_failed_and_only_then() {
        let tasks = || vec![task("a"), gated(Gate::OnFailure, after("b", &[0]))];
        assert_eq!(fate(tasks(), vec![exit(1)]), [Duty::Release { task: 1 }]);
        assert_eq!(fate(tasks(), vec![lost()]), [Duty::Release { task: 1 }]);
        let nothing = [skip(1, "nothing that it needs failed")];
        assert_eq!(fate(tasks(), vec![Outcome::Succeeded]), nothing);
        assert_eq!(fate(tasks(), vec![cancelled("ana")]), nothing);
    }

    #[test]
    fn for_always_runs_however_its_needs_ended() {
        for end in [Outcome::Succeeded, exit(1), skipped(), cancelled("ana"), lost()] {
            let tasks = vec![task("a"), gated(Gate::Always, after("b", &[0]))];
            assert_eq!(fate(tasks, vec![end]), [Duty::Release { task: 1 }]);
        }
    }

    #[test]
    fn that_this_run_leaves_out_is_skipped_at_once_with_the_reason() {
        let why = || Gate::Skip { why: "not on main".into() };
        let plan = plan(vec![task("a"), gated(why(), after("b", &[0]))]);
        assert_eq!(due_in(&plan, &[TaskLife::Live, TaskLife::Waiting]), [skip(1, "not on main")]);
    }

    #[test]
    fn for_a_person_is_left_alone() {
        assert_eq!(due_in(&plan(vec![task("a")]), &[TaskLife::Approval]), []);
    }
}

mod cancelling {
    use super::*;

    #[test]
    fn a_run_cancels_every_task_that_has_not_ended() {
        let plan = plan((0..6).map(|n| task(&format!("t{n}"))).collect());
        let lives = [
            TaskLife::Waiting,
            TaskLife::Approval,
            TaskLife::Queued,
            TaskLife::Live,
            TaskLife::Cancelling,
            done(Outcome::Succeeded),
        ];
        let by = Actor("ana".into());
        let tasks: Vec<_> = lives.into_iter().map(Some).collect();
        let run = RunView { plan: &plan, stage: RunStage::Active, cancel: Some(&by), tasks: &tasks };
        let expected: Vec<_> = (0..4).map(|task| Duty::Cancel { task, by: by.clone() }).collect();
        assert_eq!(due(&run), expected);
    }

    #[test]
    fn the_first_failed_variant_cancels_the_others_and_nobody_else() {
        let plan = plan(vec![variant("test", 1), variant("test", 2), variant("lint", 1), task("docs")]);
        let lives = [done(exit(1)), TaskLife::Live, TaskLife::Live, TaskLife::Live];
        let by = Actor(FAIL_FAST.into());
        assert_eq!(due_in(&plan, &lives), [Duty::Cancel { task: 1, by }]);
    }

    #[test]
    fn a_variant_that_may_fail_or_was_cancelled_stops_no_other() {
        let lives = |end| [done(end), TaskLife::Live];
        let tolerated = plan(vec![tolerant(Tolerance::Any, variant("test", 1)), variant("test", 2)]);
        assert_eq!(due_in(&tolerated, &lives(exit(1))), []);
        let strict = plan(vec![variant("test", 1), variant("test", 2)]);
        assert_eq!(due_in(&strict, &lives(cancelled("ana"))), []);
    }
}

mod a_damaged_plan {
    use super::*;

    fn reject(task: u32, why: &str) -> Duty {
        Duty::End { task, outcome: Outcome::Rejected { why: why.into() } }
    }

    #[test]
    fn rejects_tasks_whose_needs_lead_into_a_circle() {
        let why = "the plan is damaged: its needs lead into a circle";
        let plan = plan(vec![after("a", &[1]), after("b", &[0]), after("c", &[2]), task("d")]);
        let duties = due_in(&plan, &vec![TaskLife::Waiting; 4]);
        let released = Duty::Release { task: 3 };
        assert_eq!(duties, [reject(0, why), reject(1, why), reject(2, why), released]);
    }

    #[test]
    fn rejects_a_task_that_needs_one_outside_the_plan() {
        let plan = plan(vec![after("a", &[7])]);
        let why = "the plan is damaged: it needs task 7 of 1";
        assert_eq!(due_in(&plan, &[TaskLife::Waiting]), [reject(0, why)]);
    }

    #[test]
    fn loses_a_task_without_a_record() {
        let plan = plan(vec![task("a")]);
        let tasks = [None];
        let run = RunView { plan: &plan, stage: RunStage::Active, cancel: None, tasks: &tasks };
        let why = "its record is missing from the store".into();
        assert_eq!(due(&run), [Duty::End { task: 0, outcome: Outcome::Lost { why } }]);
    }
}

mod properties {
    use super::*;

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            4 => Just(Outcome::Succeeded),
            2 => (0..4).prop_map(exit),
            1 => Just(skipped()),
            1 => Just(cancelled("ana")),
            1 => Just(lost()),
            1 => Just(Outcome::TimedOut(Timeout::Quiet)),
        ]
    }

    fn lives() -> impl Strategy<Value = Option<TaskLife>> {
        prop_oneof![
            1 => Just(None),
            6 => Just(Some(TaskLife::Waiting)),
            1 => Just(Some(TaskLife::Approval)),
            1 => Just(Some(TaskLife::Queued)),
            1 => Just(Some(TaskLife::Live)),
            1 => Just(Some(TaskLife::Cancelling)),
            2 => outcomes().prop_map(|outcome| Some(TaskLife::Finished(outcome))),
        ]
    }

    /// A plan of up to nine tasks. Needs reach up to `beyond` past the task itself, so 0 gives no circle.
    fn plans(beyond: u32) -> impl Strategy<Value = Plan> {
        let gate = prop_oneof![
            4 => Just(Gate::OnSuccess),
            1 => Just(Gate::OnFailure),
            1 => Just(Gate::Always),
            1 => Just(Gate::Skip { why: "not here".into() }),
        ];
        let tolerance = prop_oneof![
            3 => Just(Tolerance::None),
            1 => Just(Tolerance::Any),
            1 => Just(Tolerance::ExitCodes(vec![1])),
        ];
        let needs = proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..3);
        let one = (gate, tolerance, needs, any::<bool>(), 0..3);
        proptest::collection::vec(one, 1..9).prop_map(move |tasks| {
            let tasks =
                tasks.into_iter().enumerate().map(|(index, (gate, tolerance, needs, fail_fast, base))| {
                    let reach = index + beyond as usize;
                    let needs = needs.iter().filter(|_| reach > 0).map(|(of, optional)| {
                        let task = of.index(reach) as u32;
                        Need { task, optional: *optional, artifacts: false }
                    });
                    let needs = needs.collect();
                    let plan = tolerant(tolerance, gated(gate, task(&format!("t{index}"))));
                    TaskPlan { needs, fail_fast, base: format!("b{base}"), ..plan }
                });
            plan(tasks.collect())
        })
    }

    struct World<'a> {
        plan: &'a Plan,
        stage: RunStage,
        cancel: Option<Actor>,
        tasks: Vec<Option<TaskLife>>,
    }

    impl World<'_> {
        fn due(&self) -> Vec<Duty> {
            let Self { plan, stage, cancel, tasks } = self;
            due(&RunView { plan, stage: *stage, cancel: cancel.as_ref(), tasks })
        }

        fn carry_out(&mut self, duty: &Duty) {
            match duty.clone() {
                Duty::Put { tasks, activate } => {
                    for task in tasks {
                        self.tasks[task as usize].get_or_insert(TaskLife::Waiting);
                    }
                    if activate {
                        self.stage = RunStage::Active;
                    }
                }
                Duty::Release { task } => self.tasks[task as usize] = Some(TaskLife::Queued),
                Duty::End { task, outcome } => self.tasks[task as usize] = Some(done(outcome)),
                Duty::Cancel { task, by } => {
                    let life = &mut self.tasks[task as usize];
                    *life = Some(match life {
                        Some(TaskLife::Live) => TaskLife::Cancelling,
                        _ => done(Outcome::Cancelled { by, result: None }),
                    });
                }
                Duty::Finish { outcome } => self.stage = RunStage::Finished(outcome),
            }
        }

        /// The rest of the world does its part: what is with executors and people ends.
        fn end_open(&mut self, ends: &[Outcome]) {
            for (life, end) in self.tasks.iter_mut().zip(ends) {
                match life {
                    Some(TaskLife::Approval | TaskLife::Queued | TaskLife::Live) => {
                        *life = Some(done(end.clone()));
                    }
                    Some(TaskLife::Cancelling) => *life = Some(done(cancelled("ana"))),
                    None | Some(TaskLife::Waiting | TaskLife::Finished(_)) => {}
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_run_is_decided_in_at_most_one_round_more_than_it_has_tasks(
            plan in prop_oneof![plans(0), plans(3)],
            lives in proptest::collection::vec(lives(), 9),
            ends in proptest::collection::vec(outcomes(), 9),
            cancel: bool,
        ) {
            let tasks = lives[..plan.tasks.len()].to_vec();
            let cancel = cancel.then(|| Actor("ana".into()));
            let mut world = World { plan: &plan, stage: RunStage::Active, cancel, tasks };
            for _ in 0..=plan.tasks.len() {
                world.end_open(&ends);
                for duty in world.due() {
                    world.carry_out(&duty);
                }
            }
            prop_assert!(matches!(world.stage, RunStage::Finished(_)), "{:?}", world.tasks);
            prop_assert!(world.tasks.iter().all(|life| matches!(life, Some(TaskLife::Finished(_)))));
            prop_assert_eq!(world.due(), []);
        }

        #[test]
        fn a_duty_that_was_carried_out_is_not_due_again(
            plan in prop_oneof![plans(0), plans(3)],
            lives in proptest::collection::vec(lives(), 9),
            cancel: bool,
        ) {
            let tasks = lives[..plan.tasks.len()].to_vec();
            let cancel = cancel.then(|| Actor("ana".into()));
            let mut world = World { plan: &plan, stage: RunStage::Active, cancel, tasks };
            let first = world.due();
            for duty in &first {
                world.carry_out(duty);
            }
            for duty in world.due() {
                prop_assert!(!first.contains(&duty), "{duty:?} again");
            }
        }

        #[test]
        fn the_outcome_does_not_depend_on_the_order_in_which_tasks_end(
            plan in plans(0),
            ends in proptest::collection::vec(outcomes(), 9),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 64),
        ) {
            // Fail-fast is a race by its nature: which variant was still running is not ours to say.
            let calm = plan.tasks.iter().map(|task| TaskPlan { fail_fast: false, ..task.clone() });
            let plan = Plan { tasks: calm.collect(), ..plan };
            let run = |pick: &mut dyn FnMut(&[usize]) -> usize| {
                let tasks = vec![Some(TaskLife::Waiting); plan.tasks.len()];
                let mut world = World { plan: &plan, stage: RunStage::Active, cancel: None, tasks };
                while !matches!(world.stage, RunStage::Finished(_)) {
                    for duty in world.due() {
                        world.carry_out(&duty);
                    }
                    let queued = |task: &usize| world.tasks[*task] == Some(TaskLife::Queued);
                    let open: Vec<_> = (0..plan.tasks.len()).filter(queued).collect();
                    if !open.is_empty() {
                        let next = pick(&open);
                        world.tasks[next] = Some(done(ends[next].clone()));
                    }
                }
                (world.stage, world.tasks)
            };
            let first = run(&mut |open| open[0]);
            let mut picks = order.iter().cycle();
            let other = run(&mut |open| open[picks.next().map_or(0, |pick| pick.index(open.len()))]);
            prop_assert_eq!(first, other);
        }
    }
}

use std::collections::BTreeMap;

use ocelot_core::frame::{Exit, Offset};
use proptest::prelude::*;

use super::*;
use crate::protocol::{Leftovers, MaskValue, Outcome, Program, Usage};

const DEADLINE: Moment = Moment(1_000_000);
const PID: i32 = 42;
const GROUP: Target = Target::Group(PID);
const EXIT: Exit = Exit::Code(7);

fn order(stage: u16) -> StageOrder {
    StageOrder {
        stage,
        name: format!("stage {stage}"),
        program: Program::Command(vec!["true".to_owned()]),
        directory: "/".to_owned(),
        user: None,
        env: BTreeMap::new(),
        timeout_ms: None,
        task_deadline: None,
        quiet_timeout_ms: None,
        grace_ms: 100,
        leftovers: Leftovers::Keep,
    }
}

fn run(order: StageOrder) -> Input {
    Input::Request(Request::RunStage(Box::new(order)))
}

fn assign(identity: &str, deadline: Moment) -> Input {
    let identity = identity.to_owned();
    Input::Assign { on_disk: Some(identity.clone()), identity, deadline }
}

fn exited(pid: i32) -> Input {
    Input::Exited { pid, exit: EXIT, usage: Usage::default(), oom_kills: None }
}

fn beat(deadline: u64) -> Input {
    Input::Request(Request::Beat { deadline: Moment(deadline) })
}

fn cancel(through: u16) -> Input {
    Input::Request(Request::Cancel { through, grace_ms: 100 })
}

/// A machine of an attempt, at moment 0.
fn assigned() -> Machine {
    let mut machine = Machine::new(DEADLINE);
    assert_eq!(machine.step(assign("a", DEADLINE), Moment(0)), [Output::Answer(Ok(()))]);
    machine
}

/// A machine whose stage 0 runs since moment 0.
fn running(order: StageOrder) -> Machine {
    let mut machine = assigned();
    machine.step(run(order), Moment(0));
    machine.step(Input::Spawned { pid: PID }, Moment(0));
    machine
}

fn refused(refusal: Refusal) -> Vec<Output> {
    vec![Output::Answer(Err(refusal))]
}

fn ending(outputs: &[Output]) -> Option<StageEnd> {
    outputs.iter().find_map(|output| match output {
        Output::Notify(Notice::Ended(end)) => Some((**end).clone()),
        _ => None,
    })
}

#[test]
fn a_stage_is_announced_started_drained_and_ended_in_this_order() {
    let mut machine = assigned();
    let started = machine.step(run(order(0)), Moment(5));
    assert_eq!(started, [Output::Answer(Ok(())), Output::Spawn(Box::new(order(0)))]);
    let notice = Output::Notify(Notice::Started { stage: 0 });
    assert_eq!(machine.step(Input::Spawned { pid: PID }, Moment(6)), [notice]);
    assert_eq!(machine.step(exited(PID + 1), Moment(7)), [], "an orphan is nobody's stage");
    assert_eq!(machine.step(exited(PID), Moment(8)), [Output::Drain { stage: 0 }]);
    let end = StageEnd {
        stage: 0,
        outcome: Outcome::Ended(EXIT),
        stopped: None,
        since: Moment(5),
        until: Moment(9),
        usage: Usage::default(),
        oom_kills: None,
    };
    assert_eq!(
        machine.step(Input::Drained, Moment(9)),
        [
            Output::End { stage: 0, outcome: Outcome::Ended(EXIT) },
            Output::Notify(Notice::Ended(Box::new(end.clone())))
        ]
    );
    assert_eq!((machine.ended(), machine.running()), (&[end][..], None));
}

#[test]
fn the_same_order_starts_once_and_another_one_of_the_same_stage_never() {
    let mut machine = running(order(0));
    assert_eq!(machine.step(run(order(0)), Moment(1)), [Output::Answer(Ok(()))]);
    let other = StageOrder { name: "other".to_owned(), ..order(0) };
    assert_eq!(machine.step(run(other.clone()), Moment(1)), refused(Refusal::OtherOrder));
    assert_eq!(machine.step(run(order(1)), Moment(1)), refused(Refusal::Busy));
    machine.step(exited(PID), Moment(2));
    machine.step(Input::Drained, Moment(2));
    assert_eq!(machine.step(run(order(0)), Moment(3)), [Output::Answer(Ok(()))]);
    assert_eq!(machine.step(run(other), Moment(3)), refused(Refusal::OtherOrder));
    assert_eq!(machine.step(run(order(1)), Moment(3)).len(), 2);
}

#[test]
fn nothing_runs_before_the_attempt_is_known() {
    let mut machine = Machine::new(DEADLINE);
    assert_eq!(machine.step(run(order(0)), Moment(0)), refused(Refusal::NotAssigned));
    let unwritten = Input::Assign { identity: "a".to_owned(), deadline: DEADLINE, on_disk: None };
    assert_eq!(machine.step(unwritten, Moment(0)), refused(Refusal::OtherIdentity));
    assert_eq!(machine.step(assign("a", DEADLINE), Moment(0)), [Output::Answer(Ok(()))]);
    assert_eq!(machine.step(assign("a", DEADLINE), Moment(0)), [Output::Answer(Ok(()))], "again");
    assert_eq!(machine.step(assign("b", DEADLINE), Moment(0)), refused(Refusal::OtherAttempt));
}

#[test]
fn the_attempts_deadline_replaces_the_pools_and_then_only_grows() {
    let mut machine = Machine::new(Moment(500));
    machine.step(beat(900_000), Moment(0));
    assert_eq!(machine.deadline(), Moment(900_000));
    machine.step(assign("a", Moment(60_000)), Moment(0));
    assert_eq!(machine.deadline(), Moment(60_000), "an exclusive task's guard is nearer than the pool's");
    machine.step(beat(50_000), Moment(0));
    machine.step(assign("a", Moment(40_000)), Moment(0));
    assert_eq!(machine.deadline(), Moment(60_000));
    machine.step(beat(70_000), Moment(0));
    assert_eq!(machine.deadline(), Moment(70_000));
}

#[test]
fn past_the_deadline_the_only_answer_is_the_end() {
    let inputs = [Input::Tick, run(order(1)), beat(u64::MAX), exited(PID), assign("a", Moment(u64::MAX))];
    for input in inputs {
        let mut machine = running(order(0));
        let outputs = machine.step(input.clone(), DEADLINE);
        let end = [Output::Signal(Target::All, Signal::Kill), Output::Leave(Leave::Guard)];
        assert_eq!(outputs, end, "{input:?}");
        assert_eq!(machine.step(run(order(2)), Moment(0)), [], "it stays dead");
    }
}

#[test]
fn a_deadline_that_is_over_on_arrival_ends_the_supervisor() {
    let mut machine = Machine::new(DEADLINE);
    machine.step(assign("a", Moment(10)), Moment(20));
    assert_eq!(machine.next_deadline(), Moment(10));
    assert_eq!(machine.step(run(order(0)), Moment(20)).last(), Some(&Output::Leave(Leave::Guard)));
}

#[test]
fn each_timer_asks_the_group_then_forces_it_and_names_itself() {
    let timed = StageOrder { timeout_ms: Some(50), ..order(0) };
    let bound = StageOrder { task_deadline: Some(Moment(50)), ..order(0) };
    let quiet = StageOrder { quiet_timeout_ms: Some(50), ..order(0) };
    let cases = [(timed, Stop::Timeout), (bound, Stop::TaskTimeout), (quiet, Stop::QuietTimeout)];
    for (order, stop) in cases {
        let mut machine = running(order);
        assert_eq!(machine.next_deadline(), Moment(50), "{stop:?}");
        assert_eq!(machine.step(Input::Tick, Moment(49)), []);
        assert_eq!(machine.step(Input::Tick, Moment(50)), [Output::Signal(GROUP, Signal::Terminate)]);
        assert_eq!(machine.running().unwrap().stopped, Some(stop));
        assert_eq!(machine.next_deadline(), Moment(150));
        assert_eq!(machine.step(Input::Tick, Moment(150)), [Output::Signal(GROUP, Signal::Kill)]);
        assert_eq!(machine.step(exited(PID), Moment(151)), [Output::Drain { stage: 0 }]);
        let end = ending(&machine.step(Input::Drained, Moment(152))).unwrap();
        assert_eq!(end.stopped, Some(stop));
    }
}

#[test]
fn the_rest_of_a_group_keeps_the_grace_that_its_shell_did_not_need() {
    let mut machine = running(StageOrder { timeout_ms: Some(50), ..order(0) });
    machine.step(Input::Tick, Moment(50));
    assert_eq!(machine.step(exited(PID), Moment(51)), [], "a child still writes its state back");
    assert_eq!(machine.awaits(), Some(GROUP));
    assert_eq!(machine.step(Input::Gone, Moment(90)), [Output::Drain { stage: 0 }]);
    assert!(ending(&machine.step(Input::Drained, Moment(91))).is_some());
}

#[test]
fn output_puts_the_quiet_timeout_off_and_so_does_a_pipe_that_is_not_read() {
    let mut machine = running(StageOrder { quiet_timeout_ms: Some(50), ..order(0) });
    machine.step(Input::Heard { stage: 0 }, Moment(40));
    assert_eq!(machine.next_deadline(), Moment(90));
    machine.step(Input::Heard { stage: 9 }, Moment(60));
    assert_eq!(machine.next_deadline(), Moment(90), "an earlier stage's server is not this stage");
    machine.step(beat(5), Moment(60));
    machine.step(Input::Held(false), Moment(60));
    assert_eq!(machine.next_deadline(), Moment(90), "nor is an executor that asks for something");
    machine.step(Input::Held(true), Moment(80));
    assert_eq!(machine.step(Input::Tick, Moment(500)), []);
    assert_eq!(machine.next_deadline(), DEADLINE);
    machine.step(Input::Held(false), Moment(600));
    assert_eq!(machine.next_deadline(), Moment(650));
}

#[test]
fn cancelling_ends_everything_before_the_stage_is_over() {
    let mut machine = running(order(3));
    let outputs = machine.step(cancel(3), Moment(10));
    assert_eq!(outputs, [Output::Answer(Ok(())), Output::Signal(Target::All, Signal::Terminate)]);
    for again in [10, 20] {
        let answer = [Output::Answer(Ok(()))];
        assert_eq!(machine.step(cancel(3), Moment(again)), answer, "no second signal");
    }
    assert_eq!(machine.step(exited(PID), Moment(30)), [], "an earlier stage's server has its grace");
    assert_eq!(machine.step(run(order(4)), Moment(40)), refused(Refusal::Busy));
    assert_eq!(machine.step(Input::Tick, Moment(110)), [Output::Signal(Target::All, Signal::Kill)]);
    assert_eq!(machine.step(Input::Gone, Moment(111)), [Output::Drain { stage: 3 }]);
    let end = ending(&machine.step(Input::Drained, Moment(112))).unwrap();
    assert_eq!(end.stopped, Some(Stop::Cancelled));
    assert_eq!(machine.step(run(order(4)), Moment(113)).len(), 2, "an always stage may follow");
}

#[test]
fn a_cancel_that_comes_late_does_not_hit_the_stage_after_it() {
    let mut machine = running(order(4));
    assert_eq!(machine.step(cancel(3), Moment(10)), [Output::Answer(Ok(()))]);
    assert_eq!(machine.running().unwrap().stopped, None);
}

#[test]
fn a_cancel_between_stages_ends_what_they_left() {
    let mut machine = assigned();
    machine.step(cancel(0), Moment(10));
    assert_eq!(machine.awaits(), Some(Target::All));
    assert_eq!(machine.step(run(order(1)), Moment(11)), refused(Refusal::Busy));
    assert_eq!(machine.step(Input::Gone, Moment(12)), [Output::Notify(Notice::Swept)]);
    assert_eq!(machine.step(run(order(1)), Moment(13)).len(), 2);
}

#[test]
fn a_finish_while_a_cancelled_stage_is_drained_waits_for_the_drain_only() {
    let mut machine = running(order(0));
    machine.step(cancel(0), Moment(10));
    machine.step(exited(PID), Moment(11));
    assert_eq!(machine.step(Input::Gone, Moment(11)), [Output::Drain { stage: 0 }]);
    machine.step(Input::Request(Request::Finish { grace_ms: 100 }), Moment(12));
    let last = machine.step(Input::Drained, Moment(13));
    assert_eq!(ending(&last).unwrap().stopped, Some(Stop::Cancelled));
    assert_eq!(last.last(), Some(&Output::Leave(Leave::Finished)));
}

#[test]
fn the_last_output_can_be_made_room_for_until_the_guard_ends_it() {
    let mut machine = assigned();
    machine.step(Input::Request(Request::Finish { grace_ms: 0 }), Moment(10));
    assert_eq!(machine.step(Input::Gone, Moment(11)), [Output::Leave(Leave::Finished)]);
    let taken = Request::Taken { offset: Offset(9) };
    assert_eq!(machine.step(Input::Request(taken), Moment(12)), [Output::Taken { offset: Offset(9) }]);
    assert_eq!(machine.step(beat(DEADLINE.0 + 5), Moment(12)), [Output::Answer(Ok(()))]);
    assert_eq!(machine.step(run(order(0)), Moment(13)), refused(Refusal::Ending));
    assert_eq!(machine.step(Input::Tick, DEADLINE), []);
    assert_eq!(machine.step(Input::Tick, DEADLINE.after(5)).last(), Some(&Output::Leave(Leave::Guard)));
}

#[test]
fn what_cannot_be_killed_is_not_waited_for_without_end() {
    let mut machine = assigned();
    machine.step(Input::Request(Request::Finish { grace_ms: 0 }), Moment(10));
    assert_eq!(machine.step(run(order(1)), Moment(10)), refused(Refusal::Ending));
    let give_up = machine.next_deadline();
    assert_eq!(give_up, Moment(10).after(AFTER_KILL_MS));
    assert_eq!(machine.step(Input::Tick, give_up), [Output::Leave(Leave::Finished)]);
}

#[test]
fn a_second_terminate_does_not_wait() {
    let mut machine = running(order(0));
    let first = machine.step(Input::Terminate, Moment(10));
    assert_eq!(first, [Output::Signal(Target::All, Signal::Terminate)]);
    let second = machine.step(Input::Terminate, Moment(20));
    assert_eq!(second, [Output::Signal(Target::All, Signal::Kill)]);
    machine.step(exited(PID), Moment(21));
    machine.step(Input::Gone, Moment(21));
    let last = machine.step(Input::Drained, Moment(22));
    assert_eq!(ending(&last).unwrap().stopped, Some(Stop::Terminated));
    assert_eq!(last.last(), Some(&Output::Leave(Leave::Terminated)));
}

#[test]
fn leftovers_are_killed_only_where_the_order_says_so() {
    let mut keeps = running(order(0));
    assert_eq!(keeps.step(Input::Dying { pid: PID }, Moment(1)), []);
    let mut kills = running(StageOrder { leftovers: Leftovers::Kill, ..order(0) });
    assert_eq!(kills.step(Input::Dying { pid: PID + 1 }, Moment(1)), []);
    assert_eq!(kills.step(Input::Dying { pid: PID }, Moment(1)), [Output::Signal(GROUP, Signal::Kill)]);
}

#[test]
fn what_could_not_be_started_has_ended() {
    let mut machine = assigned();
    machine.step(run(order(0)), Moment(1));
    let outputs = machine.step(Input::NotSpawned { why: "no such shell".to_owned() }, Moment(2));
    let outcome = Outcome::NotStarted("no such shell".to_owned());
    assert_eq!(outputs[0], Output::End { stage: 0, outcome: outcome.clone() });
    assert_eq!(ending(&outputs).unwrap().outcome, outcome);
    assert_eq!(machine.step(run(order(1)), Moment(3)).len(), 2);
}

#[test]
fn a_mask_has_a_length() {
    let mut machine = assigned();
    let mask =
        |length| Input::Request(Request::AddMask { stage: None, value: MaskValue(vec![b'x'; length]) });
    assert_eq!(machine.step(mask(0), Moment(0)), refused(Refusal::MaskLength));
    assert_eq!(machine.step(mask(MASK_BYTES_MAX + 1), Moment(0)), refused(Refusal::MaskLength));
    assert!(matches!(machine.step(mask(8), Moment(0))[..], [Output::AddMask { .. }]));
}

/// One thing that may happen in any order.
#[derive(Debug, Clone)]
enum Happening {
    Run(u16, Option<u64>, Leftovers),
    Beat(u64),
    Cancel(u16, u64),
    Finish(u64),
    Exit,
    NotSpawned,
    Gone,
    Drained,
    Heard(u16),
    Held(bool),
    Terminate,
    Wait(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    let leftovers = prop_oneof![Just(Leftovers::Kill), Just(Leftovers::Keep)];
    prop_oneof![
        4 => (0u16..4, proptest::option::of(0u64..300), leftovers).prop_map(|(s, t, l)| H::Run(s, t, l)),
        1 => (0u64..4000).prop_map(H::Beat),
        1 => (0u16..4, 0u64..200).prop_map(|(s, g)| H::Cancel(s, g)),
        1 => (0u64..200).prop_map(H::Finish),
        3 => Just(H::Exit),
        1 => Just(H::NotSpawned),
        2 => Just(H::Gone),
        3 => Just(H::Drained),
        1 => (0u16..4).prop_map(H::Heard),
        1 => any::<bool>().prop_map(H::Held),
        1 => Just(H::Terminate),
        3 => (0u64..400).prop_map(H::Wait),
    ]
}

/// A machine with the processes that it believes in.
struct World {
    machine: Machine,
    now: Moment,
    /// A stage that is between its order and its end.
    live: Option<u16>,
    pid: Option<i32>,
    drains: bool,
    started: Vec<u16>,
    ended: Vec<u16>,
    over: bool,
}

impl World {
    fn new() -> Self {
        let mut machine = Machine::new(Moment(2000));
        machine.step(assign("a", Moment(2000)), Moment(0));
        Self {
            machine,
            now: Moment(0),
            live: None,
            pid: None,
            drains: false,
            started: Vec::new(),
            ended: Vec::new(),
            over: false,
        }
    }

    fn feed(&mut self, input: Input) {
        let deadline = self.machine.deadline();
        for output in self.machine.step(input, self.now) {
            let late =
                matches!(output, Output::Answer(_) | Output::Taken { .. } | Output::Leave(Leave::Guard))
                    || output == Output::Signal(Target::All, Signal::Kill);
            assert!(!self.over || late, "{output:?} after the end");
            match output {
                Output::Spawn(order) => {
                    assert!(self.now < deadline, "started past the deadline");
                    assert_eq!(self.live, None, "two at once");
                    assert!(!self.started.contains(&order.stage), "started twice");
                    self.started.push(order.stage);
                    self.live = Some(order.stage);
                }
                Output::End { stage, .. } => {
                    assert_eq!(self.live.take(), Some(stage), "ended without having run");
                    assert_eq!(self.pid, None, "ended before its process");
                    self.ended.push(stage);
                    self.drains = false;
                }
                Output::Drain { stage } => {
                    assert_eq!((self.live, self.pid), (Some(stage), None));
                    assert!(!std::mem::replace(&mut self.drains, true), "drained twice");
                }
                Output::Signal(Target::Group(group), _) => assert!(group > 0 && self.live.is_some()),
                Output::Leave(_) => self.over = true,
                Output::Answer(_)
                | Output::Notify(_)
                | Output::Signal(Target::All, _)
                | Output::AddMask { .. }
                | Output::Taken { .. } => {}
            }
        }
    }

    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Run(stage, timeout_ms, leftovers) => {
                let before = self.started.len();
                self.feed(run(StageOrder { timeout_ms, leftovers, ..order(stage) }));
                if self.started.len() > before {
                    self.pid = Some(PID + i32::from(stage));
                    self.feed(Input::Spawned { pid: PID + i32::from(stage) });
                }
            }
            Happening::NotSpawned => {
                let before = self.started.len();
                self.feed(run(order(5)));
                if self.started.len() > before {
                    self.feed(Input::NotSpawned { why: "no".to_owned() });
                }
            }
            Happening::Beat(at) => self.feed(beat(at)),
            Happening::Cancel(through, grace_ms) => {
                self.feed(Input::Request(Request::Cancel { through, grace_ms }));
            }
            Happening::Finish(grace_ms) => self.feed(Input::Request(Request::Finish { grace_ms })),
            Happening::Exit => {
                if let Some(pid) = self.pid {
                    self.feed(Input::Dying { pid });
                    self.pid = None;
                    self.feed(exited(pid));
                }
            }
            Happening::Gone => {
                let awaits = self.machine.awaits();
                if awaits == Some(Target::All) {
                    self.happen(&Happening::Exit);
                }
                if awaits.is_some() && awaits == self.machine.awaits() {
                    self.feed(Input::Gone);
                }
            }
            Happening::Drained => {
                if self.drains {
                    self.feed(Input::Drained);
                }
            }
            Happening::Heard(stage) => self.feed(Input::Heard { stage }),
            Happening::Held(held) => self.feed(Input::Held(held)),
            Happening::Terminate => self.feed(Input::Terminate),
            Happening::Wait(ms) => {
                self.now = self.now.after(ms);
                self.feed(Input::Tick);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_history_starts_twice_ends_twice_or_outlives_the_guard(
        history in proptest::collection::vec(happening(), 0..60),
    ) {
        let mut world = World::new();
        for happening in &history {
            world.happen(happening);
            prop_assert!(world.over || world.machine.next_deadline() <= world.machine.deadline());
        }
        world.now = world.now.max(world.machine.deadline());
        world.feed(Input::Tick);
        prop_assert!(world.over, "the guard ends everything");
    }

    #[test]
    fn every_history_can_be_finished_in_time_with_each_stage_ended_once(
        history in proptest::collection::vec(happening(), 0..60),
    ) {
        let mut world = World::new();
        for happening in &history {
            world.happen(happening);
        }
        world.happen(&Happening::Beat(1_000_000));
        world.happen(&Happening::Finish(50));
        for _ in 0..4 {
            for happening in [Happening::Exit, Happening::Gone, Happening::Drained, Happening::Wait(200)] {
                world.happen(&happening);
            }
        }
        prop_assert!(world.over);
        if world.machine.left() != Some(Leave::Guard) {
            prop_assert_eq!(&world.started, &world.ended);
        }
    }
}

//! Following a run: through retries and dead controllers, no line twice and none missing.

use std::io::Read;

use ocelot_core::frame::{Body, Exit};
use ocelot_proto::wire;
use rustix::process::{Pid, Signal, kill_process};

use crate::fleet::{
    Change, Fleet, Script, attempt, exited, log, outcome, queued, run, running, succeeded, task, tell,
};

/// A run that is accepted, runs and ends with `end`, whose one log is `bodies`.
fn one_run(end: wire::Outcome, bodies: &[Body<'_>]) -> Script {
    let (open, over) = (run(4, None), run(4, Some(end.clone())));
    let ended = wire::task_state::State::Finished(end.clone());
    let changes = vec![
        tell(&open, task(&open, queued(), Vec::new())),
        tell(&open, task(&open, running(1), vec![attempt(&open, 1, None)])),
        tell(&over, task(&over, ended, vec![attempt(&over, 1, Some(end))])),
    ];
    Script {
        runs: vec![open],
        watches: [changes].into(),
        logs: [((0, 1), log(bodies))].into(),
        ..Script::default()
    }
}

#[test]
fn the_log_comes_then_the_fate_and_it_is_the_exit_code() {
    let lines = [
        Body::Platform(b"image busybox:1 is here"),
        Body::Begin("greet"),
        Body::Stdout(b"hello, world\n"),
        Body::End(Exit::Code(0)),
    ];
    let fleet = Fleet::start(one_run(succeeded(), &lines));
    let seen = fleet.run(&["execute", "hello", "--follow"]);
    insta::assert_snapshot!(seen.stdout, @"
    · image busybox:1 is here
    ▸ greet
    hello, world
    ");
    let closing = seen.stderr.lines().last().unwrap();
    insta::assert_snapshot!(closing, @"hello#4 succeeded in 1.4s · queued 1.2ms · taken 1.8ms · up 307ms · first output 2.0ms · ran 1.1s");
    assert_eq!(seen.code, Some(0));
}

#[test]
fn a_run_that_fails_is_exit_code_3_and_says_what_to_type() {
    let lines = [Body::Begin("test"), Body::Stdout(b"no newline"), Body::End(Exit::Code(2))];
    let fleet = Fleet::start(one_run(exited("test", 2), &lines));
    let seen = fleet.run(&["execute", "hello", "--follow"]);
    insta::assert_snapshot!(seen.stdout, @"
    ▸ test
    no newline
    ▸ test exited with 2 after 2.0ms
    ");
    let last: Vec<&str> = seen.stderr.lines().rev().take(2).collect();
    insta::assert_snapshot!(last.join("\n"), @"
      look closer: ocelot status hello#4    again: ocelot retry hello#4
    hello#4 failed: stage test exited with 2 in 1.4s · queued 1.2ms · taken 1.8ms · up 307ms · first output 2.0ms · ran 1.1s
    ");
    assert_eq!(seen.code, Some(3));
}

#[test]
fn who_only_waits_gets_the_fate_alone() {
    let fleet = Fleet::start(one_run(exited("test", 2), &[Body::Stdout(b"not shown")]));
    let seen = fleet.run(&["execute", "hello", "--wait"]);
    assert_eq!((seen.stdout.as_str(), seen.code), ("", Some(3)));
    assert!(seen.stderr.contains("hello#4 failed: stage test exited with 2 in 1.4s"), "{}", seen.stderr);
    assert!(fleet.script().reads.is_empty());
}

#[test]
fn a_dying_controller_costs_no_line_and_shows_none_twice() {
    let lines: Vec<String> = (0..400).map(|number| format!("line {number}\n")).collect();
    let bodies: Vec<Body<'_>> = lines.iter().map(|line| Body::Stdout(line.as_bytes())).collect();
    let mut script = one_run(succeeded(), &bodies);
    let frame = script.logs[&(0, 1)].len() as u64 / 400;
    script.cuts = [frame * 7, frame * 100, frame * 250, frame * 399].into();
    script.piece_bytes = 333;
    let changes = script.watches.pop_back().unwrap();
    script.watches =
        [vec![changes[0].clone(), Change::Break], vec![changes[1].clone(), Change::Break], changes].into();
    let fleet = Fleet::start(script);
    let seen = fleet.run(&["execute", "hello", "--follow"]);
    assert_eq!(seen.stdout, lines.concat());
    assert_eq!(seen.code, Some(0), "{}", seen.stderr);
    let script = fleet.script();
    assert!(script.reads.len() >= 5);
    assert!(script.reads.windows(2).all(|pair| pair[0].offset <= pair[1].offset));
}

#[test]
fn another_attempt_is_announced_and_followed() {
    let (open, over) = (run(4, None), run(4, Some(succeeded())));
    let gone =
        outcome(wire::outcome::Outcome::Lost(wire::outcome::Lost { why: "its executor is gone".into() }));
    let lost = attempt(&open, 1, Some(gone));
    let ended = wire::task_state::State::Finished(succeeded());
    let changes = vec![
        tell(&open, task(&open, running(2), vec![lost.clone(), attempt(&open, 2, None)])),
        tell(&over, task(&over, ended, vec![lost, attempt(&over, 2, Some(succeeded()))])),
    ];
    let script = Script {
        runs: vec![open],
        watches: [changes].into(),
        logs: [
            ((0, 1), log(&[Body::Stdout(b"half of it\n")])),
            ((0, 2), log(&[Body::Stdout(b"all of it\n")])),
        ]
        .into(),
        ..Script::default()
    };
    let fleet = Fleet::start(script);
    let seen = fleet.run(&["execute", "hello", "--follow"]);
    assert!(seen.stdout.ends_with("all of it\n"), "{}", seen.stdout);
    assert_eq!(seen.stdout.matches("all of it").count(), 1);
    assert_eq!(seen.code, Some(0));
}

#[test]
fn a_task_that_never_ran_has_no_log_to_wait_for() {
    let by_ada = wire::outcome::Cancelled { by: "ada".into(), result: None };
    let by = outcome(wire::outcome::Outcome::Cancelled(Box::new(by_ada)));
    let over = run(4, Some(by.clone()));
    let ended = wire::task_state::State::Finished(by);
    let script = Script {
        runs: vec![run(4, None)],
        watches: [vec![tell(&over, task(&over, ended, Vec::new()))]].into(),
        ..Script::default()
    };
    let seen = Fleet::start(script).run(&["execute", "hello", "--follow"]);
    assert_eq!(seen.code, Some(3));
    assert!(seen.stderr.contains("hello#4 cancelled by ada"), "{}", seen.stderr);
}

#[test]
fn output_without_a_newline_is_shown_at_once_and_ctrl_c_ends_only_the_following() {
    let mut script = one_run(succeeded(), &[Body::Stdout(b"password? ")]);
    script.unfinished = vec![(0, 1)];
    script.watches = [vec![script.watches[0][1].clone(), Change::Hold]].into();
    let fleet = Fleet::start(script);
    let mut child = fleet.spawn(&["execute", "hello", "--follow"]);
    let mut shown = [0; 10];
    child.stdout.as_mut().unwrap().read_exact(&mut shown).unwrap();
    assert_eq!(&shown, b"password? ");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let seen = crate::fleet::seen(child.wait_with_output().unwrap());
    assert_eq!((seen.stdout.as_str(), seen.code), ("\n", Some(1)));
    let said = seen.stderr.split_once("stopped").map(|(_, rest)| format!("stopped{rest}")).unwrap();
    insta::assert_snapshot!(said, @"
    stopped following; hello#4 goes on
      see it again: ocelot getlogs -f hello#4
      end it:       ocelot cancel hello#4
    ");
}

#[test]
fn hostile_bytes_reach_the_terminal_only_when_they_are_asked_for() {
    let hostile = b"\x1b]52;c;aGk=\x07\x1b[2J\x1b[31mred\x1b[0m\xff\xe2\x80\xae\n";
    let plain = Fleet::start(one_run(succeeded(), &[Body::Begin("a\x1b[H"), Body::Stdout(hostile)]));
    let seen = plain.run(&["execute", "hello", "--follow"]);
    assert!(!seen.stdout.contains('\x1b') && !seen.stderr.contains('\x1b'));
    insta::assert_snapshot!(seen.stdout, @r"
    ▸ a^[[H
    ^[]52;c;aGk=^G^[[2Jred\xff<U+202E>
    ");
    let raw = Fleet::start(one_run(succeeded(), &[Body::Begin("a"), Body::Stdout(hostile)]));
    let output = raw.command(&["execute", "hello", "--follow", "--raw"]).output().unwrap();
    assert_eq!(output.stdout, hostile);
}

#[test]
fn lines_of_several_tasks_say_whose_they_are() {
    let two = |end: Option<wire::Outcome>| wire::RunSummary { tasks_total: 2, ..run(4, end) };
    let (open, over) = (two(None), two(Some(succeeded())));
    let named = |index: u32, name: &str| {
        let ended = wire::task_state::State::Finished(succeeded());
        wire::Task {
            id: Some(wire::TaskId { run: open.id.clone(), index }),
            name: name.into(),
            ..task(&over, ended, vec![attempt(&over, 1, Some(succeeded()))])
        }
    };
    let told =
        wire::WatchRunResponse { run: Some(over.clone()), changed: vec![named(0, "api"), named(1, "web")] };
    let script = Script {
        runs: vec![open.clone()],
        watches: [vec![Change::Tell(Box::new(told))]].into(),
        logs: [((0, 1), log(&[Body::Stdout(b"a\n")])), ((1, 1), log(&[Body::Stdout(b"w\n")]))].into(),
        ..Script::default()
    };
    let seen = Fleet::start(script).run(&["execute", "hello", "--follow"]);
    let mut lines: Vec<&str> = seen.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["api | a", "web | w"]);
}

#[test]
fn who_reads_no_more_ends_it_quietly() {
    let line = [b'x'; 1000];
    let bodies = vec![Body::Stdout(&line); 2000];
    let fleet = Fleet::start(one_run(succeeded(), &bodies));
    let mut child = fleet.spawn(&["getlogs", "hello#4", "--follow"]);
    let mut some = [0; 10];
    child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    drop(child.stdout.take());
    let seen = crate::fleet::seen(child.wait_with_output().unwrap());
    assert!(!seen.stderr.contains("error") && !seen.stderr.contains("panicked"), "{}", seen.stderr);
    assert_eq!(seen.code, Some(0));
}

#[test]
fn scripts_get_each_frame_and_then_the_run() {
    let fleet = Fleet::start(one_run(succeeded(), &[Body::Begin("a"), Body::Stdout(b"x\n")]));
    let seen = fleet.run(&["execute", "hello", "--follow", "--output", "json"]);
    let kinds: Vec<String> = seen
        .stdout
        .lines()
        .map(|line| line.split('"').nth(1).map(|key| key.to_owned()).unwrap_or_default())
        .collect();
    assert_eq!(kinds, ["task", "task", "run"]);
    assert!(seen.stdout.contains("\"result\":\"succeeded\""));
}

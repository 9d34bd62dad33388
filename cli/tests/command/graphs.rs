//! Runs of several tasks, and of commits: lists, states, and the graph as it goes.

#![expect(clippy::unwrap_used, reason = "these functions are called by tests only")]

use ocelot_core::frame::{Body, Exit};
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::{Outcome, Skipped};
use ocelot_proto::wire::task_state::State;

use crate::fleet::{
    Change, Fleet, Script, attempt, built, exited, log, outcome, project, queued, run, running, succeeded,
};

fn task(run: &wire::RunSummary, index: u32, name: &str, state: State) -> wire::Task {
    let attempts = match &state {
        State::Running(_) => vec![attempt(run, 1, None)],
        State::Finished(wire::Outcome { outcome: Some(Outcome::Skipped(_)) }) => Vec::new(),
        State::Finished(end) => vec![attempt(run, 1, Some(end.clone()))],
        _ => Vec::new(),
    };
    wire::Task {
        id: Some(wire::TaskId { run: run.id.clone(), index }),
        name: name.into(),
        state: Some(wire::TaskState { state: Some(state) }),
        attempts,
        ..wire::Task::default()
    }
}

fn waiting(needs: &[&str]) -> State {
    let needs = needs.iter().map(|&name| name.to_owned()).collect();
    State::Waiting(wire::task_state::Waiting { needs, approval: false })
}

fn ended(end: wire::Outcome) -> State {
    State::Finished(end)
}

fn skipped(why: &str) -> State {
    ended(outcome(Outcome::Skipped(Skipped { why: why.into() })))
}

fn tell(run: &wire::RunSummary, changed: Vec<wire::Task>) -> Change {
    Change::Tell(Box::new(wire::WatchRunResponse { run: Some(run.clone()), changed }))
}

/// A graph of six tasks, of which one fails.
fn six() -> Script {
    let of = |number, end| wire::RunSummary { tasks_total: 6, ..built(number, end) };
    let (open, over) = (of(7, None), of(7, Some(exited("unit", 1))));
    let names = ["lint", "test[node=18]", "test[node=20]", "build", "browser", "deploy"];
    let first = vec![
        task(&open, 0, names[0], running(1)),
        task(&open, 1, names[1], waiting(&["lint"])),
        task(&open, 2, names[2], waiting(&["lint"])),
        task(&open, 3, names[3], queued()),
        task(&open, 4, names[4], waiting(&["test[node=18]", "test[node=20]", "build"])),
        task(&open, 5, names[5], skipped("branch topic does not match main")),
    ];
    let then = vec![
        task(&open, 0, names[0], ended(succeeded())),
        task(&open, 1, names[1], running(1)),
        task(&open, 2, names[2], running(1)),
        task(&open, 3, names[3], running(1)),
    ];
    let last = vec![
        task(&over, 1, names[1], ended(exited("unit", 1))),
        task(&over, 2, names[2], ended(succeeded())),
        task(&over, 3, names[3], ended(succeeded())),
        task(&over, 4, names[4], skipped("it needs test[node=18], which failed")),
    ];
    let mut tasks = last.clone();
    tasks.extend([task(&over, 0, names[0], ended(succeeded())), first[5].clone()]);
    tasks.sort_by_key(|task| task.id.as_ref().unwrap().index);
    let one = |text: &'static [u8]| log(&[Body::Begin("unit"), Body::Stdout(text), Body::End(Exit::Code(0))]);
    let wrong = [Body::Begin("unit"), Body::Stdout(b"1 test failed\n"), Body::End(Exit::Code(1))];
    Script {
        runs: vec![over.clone(), built(6, Some(succeeded())), run(5, Some(succeeded()))],
        tasks,
        watches: [vec![tell(&open, first), tell(&open, then), tell(&over, last)]].into(),
        logs: [
            ((0, 1), one(b"no complaints\n")),
            ((1, 1), log(&wrong)),
            ((2, 1), one(b"all tests passed\n")),
            ((3, 1), one(b"built\n")),
        ]
        .into(),
        ..Script::default()
    }
}

#[test]
fn a_list_tells_of_commits_as_soon_as_there_are_some() {
    let fleet = Fleet::start(six());
    insta::assert_snapshot!(fleet.transcript(&["runs"]), @"
    [stdout]
    RUN          STATE      ACCEPTED  TOOK  BY             BRANCH  COMMIT   SUBJECT
    acme/shop#7  failed     12m ago   1.4s  ada (webhook)  main    1a2b3c4  Mend the cart^[[2J
    acme/shop#6  succeeded  12m ago   1.4s  ada (webhook)  main    1a2b3c4  Mend the cart^[[2J
    hello#5      succeeded  12m ago   1.4s  ada            -       -        -
    exit 0
    ");
}

#[test]
fn the_state_of_a_graph_is_its_tasks_and_then_what_went_wrong() {
    let fleet = Fleet::start(six());
    insta::assert_snapshot!(fleet.transcript(&["status", "acme/shop#7"]), @"
    [stdout]
    Run       acme/shop#7
    Id        01930000-0000-7000-8000-000000000007
    State     failed: stage unit exited with 1
    Branch    main
    Commit    1a2b3c4 Mend the cart^[[2J, by Ada
    Accepted  MOMENT by ada, webhook
    Finished  MOMENT, after 1.4s

    TASK           TOOK  EXECUTOR  STATE
    lint           1.4s  box-1     succeeded
    test[node=18]  1.4s  box-1     failed: stage unit exited with 1
    test[node=20]  1.4s  box-1     succeeded
    build          1.4s  box-1     succeeded
    browser        -     -         skipped: it needs test[node=18], which failed
    deploy         -     -         skipped: branch topic does not match main

    test[node=18]  failed: stage unit exited with 1

    ATTEMPT  EXECUTOR  STARTED  LOG    STATE
    1        box-1     12m ago  120 B  failed: stage unit exited with 1
    queued 1.2ms · taken 1.8ms · up 307ms · first output 2.0ms · ran 1.1s
    exit 0
    ");
}

#[test]
fn a_run_of_a_project_is_found_by_less_than_its_whole_name() {
    let fleet = Fleet::start(Script { projects: vec![project("acme/shop")], ..six() });
    let whole = fleet.transcript(&["status", "acme/shop#7"]);
    for less in [&["status", "shop#7"][..], &["describe", "acme/shop#7"]] {
        assert_eq!(fleet.transcript(less), whole);
    }
    fleet.run(&["runs", "acme/shop"]);
    assert_eq!(fleet.script().lists.pop().unwrap().project, "acme/shop");
    fleet.script().projects.push(project("other/shop"));
    assert_eq!(fleet.run(&["status", "shop#7"]).code, Some(1));
}

#[test]
fn logs_of_a_graph_stand_in_one_column_of_names() {
    let fleet = Fleet::start(six());
    insta::assert_snapshot!(fleet.transcript(&["getlogs", "acme/shop#7"]), @"
    [stdout]
    lint          | ▸ unit
    lint          | no complaints
    test[node=18] | ▸ unit
    test[node=18] | 1 test failed
    test[node=18] | ▸ unit exited with 1 after 2.0ms
    test[node=20] | ▸ unit
    test[node=20] | all tests passed
    build         | ▸ unit
    build         | built
    exit 0
    ");
}

#[test]
fn a_graph_is_followed_task_by_task_to_its_fate() {
    let fleet = Fleet::start(six());
    let build = ["build", "--project", "acme/shop", "--follow"];
    let seen = fleet.run(&build);
    // The logs of tasks that run side by side may come in any order.
    let mut lines: Vec<&str> = seen.stdout.lines().collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @"
    build         | built
    build         | ▸ unit
    lint          | no complaints
    lint          | ▸ unit
    test[node=18] | 1 test failed
    test[node=18] | ▸ unit
    test[node=18] | ▸ unit exited with 1 after 2.0ms
    test[node=20] | all tests passed
    test[node=20] | ▸ unit
    ");
    let mut told: Vec<&str> = seen.stderr.lines().collect();
    let summary = told.split_off(told.iter().position(|line| line.starts_with("TASK")).unwrap());
    told.sort_unstable();
    insta::assert_snapshot!(told.join("\n"), @"
    - browser skipped: it needs test[node=18], which failed
    - deploy skipped: branch topic does not match main
    acme/shop#7 1 of 6 tasks are done; running: lint; queued: build; waiting: test, browser
    acme/shop#7 2 of 6 tasks are done; running: test, build; waiting: browser
    acme/shop#7: 1a2b3c4 Mend the cart^[[2J, by Ada (main)
    · browser waits for test, build
    · build runs on box-1
    · lint runs on box-1
    · test[node=18] runs on box-1
    · test[node=18] waits for lint
    · test[node=20] runs on box-1
    · test[node=20] waits for lint
    ✓ build succeeded in 1.4s
    ✓ lint succeeded in 1.4s
    ✓ test[node=20] succeeded in 1.4s
    ✗ test[node=18] failed: stage unit exited with 1 in 1.4s
    ");
    insta::assert_snapshot!(summary.join("\n"), @"
    TASK           TOOK  EXECUTOR  STATE
    lint           1.4s  box-1     succeeded
    test[node=18]  1.4s  box-1     failed: stage unit exited with 1
    test[node=20]  1.4s  box-1     succeeded
    build          1.4s  box-1     succeeded
    browser        -     -         skipped: it needs test[node=18], which failed
    deploy         -     -         skipped: branch topic does not match main

    acme/shop#7 failed: stage unit exited with 1 in 1.4s
      look closer: ocelot status acme/shop#7    again: ocelot retry acme/shop#7
    ");
    assert_eq!(seen.code, Some(3));
}

#[test]
fn a_rejected_run_shows_what_is_wrong_with_its_file() {
    let why = wire::outcome::Rejected { why: "ocelot.yml is not good".into() };
    let rejected =
        "ocelot.yml:2:1: a pipeline has no key `stags`\n2 | stags:\n  | ^^^^^\nhint: did you mean `stages`?";
    let end = outcome(Outcome::Rejected(why));
    let run = wire::RunSummary { rejected: rejected.into(), tasks_total: 0, ..built(7, Some(end)) };
    let changes = vec![tell(&run, Vec::new())];
    let fleet = Fleet::start(Script { runs: vec![run], watches: [changes].into(), ..Script::default() });
    insta::assert_snapshot!(fleet.transcript(&["status", "acme/shop#7"]), @"
    [stdout]
    Run       acme/shop#7
    Id        01930000-0000-7000-8000-000000000007
    State     rejected: ocelot.yml is not good
    Branch    main
    Commit    1a2b3c4 Mend the cart^[[2J, by Ada
    Accepted  MOMENT by ada, webhook
    Finished  MOMENT, after 1.4s

    ocelot.yml:2:1: a pipeline has no key `stags`
    2 | stags:
      | ^^^^^
    hint: did you mean `stages`?
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["build", "--project", "acme/shop", "--follow"]), @"
    [stderr]
    acme/shop#7: 1a2b3c4 Mend the cart^[[2J, by Ada (main)
    acme/shop#7 rejected: ocelot.yml is not good in 1.4s
    ocelot.yml:2:1: a pipeline has no key `stags`
    2 | stags:
      | ^^^^^
    hint: did you mean `stages`?
      look closer: ocelot status acme/shop#7    again: ocelot retry acme/shop#7
    exit 3
    ");
    insta::assert_snapshot!(fleet.transcript(&["getlogs", "acme/shop#7"]), @"
    [stderr]
    acme/shop#7 wrote nothing: rejected: ocelot.yml is not good
    ocelot.yml:2:1: a pipeline has no key `stags`
    2 | stags:
      | ^^^^^
    hint: did you mean `stages`?
    exit 0
    ");
}

//! Each verb, and each class of error.

use ocelot_proto::wire;
use tonic::Code;

use crate::fleet::{
    Fleet, MINUTE, Script, ago, attempt, exited, fed, id, job, queued, refuse, run, succeeded, task,
};

fn jobs() -> Vec<wire::Job> {
    let argument = |name: &str, required, secret| wire::Argument {
        name: name.into(),
        description: format!("the {name}"),
        required,
        secret,
        ..Default::default()
    };
    let choices = vec!["red".to_owned(), "blue".to_owned()];
    let color = wire::Argument { choices, default: Some("red".into()), ..argument("COLOR", false, false) };
    let paint = wire::Job {
        arguments: vec![argument("WALL", true, false), color, argument("PASSWORD", true, true)],
        description: "Paints a wall\x1b[2J of the house, in one of two colours".into(),
        version: 3,
        ..job("paint")
    };
    vec![paint, job("hello")]
}

pub(crate) fn fleet() -> Fleet {
    let done = run(3, Some(exited("test", 1)));
    let over = wire::task_state::State::Finished(exited("test", 1));
    let stage = wire::Stage {
        name: "test".into(),
        began_unix_us: done.accepted_unix_us + 312_000,
        ended_unix_us: done.accepted_unix_us + 1_440_000,
        exit: Some(wire::StageExit { exit: Some(wire::stage_exit::Exit::Code(1)) }),
        r#use: Some(wire::ResourceUse {
            user_cpu_us: 800_000,
            system_cpu_us: 50_000,
            max_rss_bytes: 3 << 20,
        }),
        ..wire::Stage::default()
    };
    let failed = wire::Task {
        stages: vec![stage],
        ..task(&done, over, vec![attempt(&done, 1, Some(exited("test", 1)))])
    };
    let waiting = wire::RunSummary { started_unix_us: 0, ..run(4, None) };
    let held =
        wire::AttemptId { task: Some(wire::TaskId { run: id(4).into(), index: 0 }), number: 1, epoch: 1 };
    let executor = wire::Executor {
        id: id(0xe0).into(),
        name: "box-1".into(),
        labels: vec!["os=linux".into(), "gpu".into()],
        slots: 4,
        state: Some(wire::ExecutorState {
            state: Some(wire::executor_state::State::Draining(wire::executor_state::Draining {
                by: "ada".into(),
                reason: "new disk".into(),
            })),
        }),
        version: "0.1.0".into(),
        registered_unix_us: ago(MINUTE * 190),
        last_seen_unix_us: ago(MINUTE * 2),
        attempts: vec![held],
        disk_free_bytes: 150 << 30,
        ..wire::Executor::default()
    };
    let token = wire::ApiToken {
        name: "ci".into(),
        r#for: "ci-bot".into(),
        created_unix_us: ago(MINUTE * 190),
        last_used_unix_us: ago(MINUTE * 2),
        prefix: "ocelot_api_ab".into(),
        ..wire::ApiToken::default()
    };
    Fleet::start(Script {
        jobs: jobs(),
        tasks: vec![failed, task(&waiting, queued(), Vec::new())],
        runs: vec![waiting, done, run(2, Some(succeeded()))],
        reasons: vec![wire::TaskReason {
            task: Some(wire::TaskId { run: id(4).into(), index: 0 }),
            name: "main".into(),
            summary: "is queued: needs label gpu: 0 of 2 have it".into(),
            executors: vec![wire::ExecutorReason {
                executor: "box-1".into(),
                refusals: vec!["has no label gpu".into(), "disk below its floor".into()],
            }],
        }],
        executors: vec![executor],
        tokens: vec![token],
        secrets: crate::secrets::secrets(),
        ..Script::default()
    })
}

#[test]
fn list_shows_the_jobs() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["list"]), @"
    [stdout]
    JOB    ARGUMENTS            UPDATED  DESCRIPTION
    hello  -                    3h ago   Does hello
    paint  WALL COLOR PASSWORD  3h ago   Paints a wall^[[2J of the house, in one of two colours
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["ls", "--names"]), @"
    [stdout]
    hello
    paint
    exit 0
    ");
    assert!(fleet.script().tokens_seen.iter().all(|token| token.as_deref() == Some("Bearer the-token")));
}

#[test]
fn tables_fit_a_narrow_terminal() {
    let fleet = fleet();
    let seen = fleet.command(&["list"]).env("COLUMNS", "40").output().unwrap();
    insta::assert_snapshot!(String::from_utf8(seen.stdout).unwrap(), @"
    JOB    ARGUMENTS    UPDATED  DESCRIPTION
    hello  -            3h ago   Does hello
    paint  WALL COLOR…  3h ago   Paints a w…
    ");
}

#[test]
fn colours_are_there_when_they_are_asked_for() {
    let fleet = fleet();
    assert!(fleet.run(&["runs", "--color", "always"]).stdout.contains("\x1b[31mfailed\x1b[0m"));
    for quiet in [&["runs"][..], &["runs", "--color", "never"]] {
        assert!(!fleet.run(quiet).stdout.contains('\x1b'));
    }
}

#[test]
fn describe_says_how_a_job_is_executed() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["describe", "paint"]), @"
    [stdout]
    Job          paint
    Description  Paints a wall^[[2J of the house, in one of two colours
    Version      3, 3h ago by ada
    Execute      ocelot execute paint WALL=... --ask PASSWORD --follow

    ARGUMENT  REQUIRED  DEFAULT  TAKES        DESCRIPTION
    WALL      yes       -        any text     the WALL
    COLOR     no        red      red or blue  the COLOR
    PASSWORD  yes       -        a secret     the PASSWORD
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["describe", "hello", "--definition"]), @"
    [stdout]
    name: hello
    image: busybox:1
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["describe", "paint", "--history"]), @"
    [stdout]
    VERSION  WHEN    BY   DESCRIPTION
    3        3h ago  ada  Paints a wall^[[2J of the house, in one of two colours
    1        3h ago  ada  Does hello
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["describe", "nothing"]), @r#"
    [stderr]
    error: cannot describe the job nothing: there is no job "nothing"
    hint: see what there is: ocelot list
    exit 1
    "#);
}

#[test]
fn a_folder_is_created_as_a_whole_and_again_without_harm() {
    let fleet = fleet();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.yml", "name: fresh\nimage: busybox:1\nstages: [{name: a, script: ls}]\n");
    write("b.job.yaml", "name: hello\nimage: busybox:2\nstages: [{name: a, script: ls}]\n");
    write("c.yml", "image: busybox:1\nstages: [{name: a, script: ls}]\n");
    write("notes.txt", "not a job");
    let path = folder.path().to_str().unwrap();
    insta::assert_snapshot!(fleet.transcript(&["create", "-f", path, "--update"]), @"
    [stdout]
    created fresh
    updated hello, version 2
    exit 0
    ");
    write("d.yml", "name: wrong\nimag: busybox:1\nstages: [{name: a, script: ls}]\n");
    let before = fleet.script().puts.len();
    let transcript = fleet.transcript(&["create", "-f", path, "--update"]).replace(path, "FOLDER");
    insta::assert_snapshot!(transcript, @"
    [stderr]
    error: FOLDER/d.yml:2:1: a job file has no key `imag`
    2 | imag: busybox:1
      | ^^^^
    hint: did you mean `image`?
    exit 2
    ");
    assert_eq!(fleet.script().puts.len(), before);
}

#[test]
fn create_says_what_to_type_when_the_job_is_there() {
    let fleet = fleet();
    fleet.script().refusals.insert("put_job", refuse(Code::AlreadyExists, "job \"hello\" exists already"));
    let definition = b"name: hello\nimage: busybox:1\nstages: [{name: a, script: ls}]\n";
    let seen = fed(fleet.command(&["create", "-f", "-"]), definition);
    insta::assert_snapshot!(seen.transcript(), @r#"
    [stderr]
    error: cannot create the job hello from -: job "hello" exists already
    hint: if it is there already and should change: ocelot update -f -
    exit 1
    "#);
}

#[test]
fn update_does_not_make_a_job_by_accident() {
    let fleet = fleet();
    let definition = b"name: nothing\nimage: busybox:1\nstages: [{name: a, script: ls}]\n";
    let seen = fed(fleet.command(&["update", "-f", "-"]), definition);
    insta::assert_snapshot!(seen.transcript(), @r#"
    [stderr]
    error: cannot describe the job nothing: there is no job "nothing"
    hint: to create it: ocelot create -f -
    exit 1
    "#);
    assert!(fleet.script().puts.is_empty());
    insta::assert_snapshot!(fleet.transcript(&["delete", "hello"]), @"
    [stdout]
    deleted hello
    exit 0
    ");
}

#[test]
fn values_of_any_character_arrive_as_they_were_typed() {
    let fleet = fleet();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("args.yaml");
    std::fs::write(&file, "FILE: 3.10\nBOTH: from the file\n").unwrap();
    let value = "a,b=c\n\"'$(x) \u{1f406}@/etc/passwd";
    let seen = fed(
        fleet.command(&[
            "execute",
            "hello",
            &format!("TEXT={value}"),
            "BOTH=typed",
            "EMPTY=",
            "--file",
            file.to_str().unwrap(),
            "--value-file",
            "SECRET=-",
            "--env",
            "X=1=2",
        ]),
        b"from a pipe\n",
    );
    insta::assert_snapshot!(seen.transcript(), @"
    [stdout]
    hello#4
    [stderr]
    follow it: ocelot getlogs -f hello#4
    exit 0
    ");
    let script = fleet.script();
    let [request] = &script.executes[..] else { panic!("{:?}", script.executes) };
    let given = |name: &str| request.arguments[name].as_str();
    assert_eq!(
        [given("TEXT"), given("BOTH"), given("EMPTY"), given("FILE"), given("SECRET")],
        [value, "typed", "", "3.10", "from a pipe\n"]
    );
    assert_eq!(request.env["X"], "1=2");
}

#[test]
fn an_answer_that_is_lost_is_asked_for_again_with_the_same_id() {
    let fleet = fleet();
    let lost = ["it ends", "it ends"].map(tonic::Status::unavailable);
    fleet.script().refusals.insert("execute", lost.into());
    let seen = fleet.run(&["execute", "hello"]);
    assert_eq!((seen.stdout.as_str(), seen.code), ("hello#4\n", Some(0)));
    let script = fleet.script();
    assert_eq!(script.executes.len(), 3);
    assert!(script.executes.iter().all(|request| request.id == script.executes[0].id));
    assert_eq!(script.executes[0].id.len(), 16);
}

#[test]
fn every_class_of_error_has_its_exit_code_and_its_next_step() {
    let fleet = fleet();
    let errors = [
        (Code::InvalidArgument, "the argument COLOR must be red or blue"),
        (Code::FailedPrecondition, "the disk is nearly full"),
        (Code::Unauthenticated, "this call needs a valid token"),
        (Code::PermissionDenied, "only operators may"),
        (Code::ResourceExhausted, "the queue is at its limit of 100000"),
        (Code::Aborted, "somebody else changed it"),
        (Code::Internal, "a fault of the controller\x1b[2J"),
        (Code::Unimplemented, "unknown"),
    ];
    let mut all = String::new();
    for (code, message) in errors {
        fleet.script().refusals.insert("execute", refuse(code, message));
        all += &format!("{code:?}\n{}\n\n", fleet.transcript(&["execute", "paint"]));
    }
    insta::assert_snapshot!(all, @"
    InvalidArgument
    [stderr]
    error: cannot execute paint: the argument COLOR must be red or blue
    hint: see what it takes: ocelot describe paint
    exit 2

    FailedPrecondition
    [stderr]
    error: cannot execute paint: the disk is nearly full
    exit 1

    Unauthenticated
    [stderr]
    error: cannot execute paint: the controller at http://ADDRESS does not take your token
    hint: say the token: OCELOT_TOKEN=... ocelot ...
    exit 2

    PermissionDenied
    [stderr]
    error: cannot execute paint: only operators may
    hint: somebody with more rights can do it, or give you a token that may
    exit 1

    ResourceExhausted
    [stderr]
    error: cannot execute paint: the queue is at its limit of 100000
    hint: try again in a while
    exit 1

    Aborted
    [stderr]
    error: cannot execute paint: somebody else changed it
    hint: somebody else changed it at the same time; look at it and try again
    exit 1

    Internal
    [stderr]
    error: cannot execute paint: a fault of the controller^[[2J
    hint: this is a bug of ours: please report it with the lines above
    exit 70

    Unimplemented
    [stderr]
    error: cannot execute paint: this controller does not know that call
    hint: compare the versions: ocelot version
    exit 1
    ");
}

#[test]
fn a_run_is_found_or_its_likes_are_named() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["status", "hello#9"]), @r#"
    [stderr]
    error: cannot find the run hello#9: there is no run "hello#9"
    hint: see the newest: ocelot runs
    exit 1
    "#);
    insta::assert_snapshot!(fleet.transcript(&["status", "0193"]), @"
    [stderr]
    error: 0193 fits more than one run:
      01930000-0000-7000-8000-000000000004  hello#4
      01930000-0000-7000-8000-000000000003  hello#3
      01930000-0000-7000-8000-000000000002  hello#2
    hint: name it like this: NAME#NUMBER
    exit 2
    ");
}

#[test]
fn status_shows_phases_and_stages() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["status", "hello#3"]), @"
    [stdout]
    Run       hello#3
    Id        01930000-0000-7000-8000-000000000003
    State     failed: stage test exited with 1
    Accepted  MOMENT by ada, command line
    Finished  MOMENT, after 1.4s

    ATTEMPT  EXECUTOR  STARTED  LOG    STATE
    1        box-1     12m ago  120 B  failed: stage test exited with 1
    queued 1.2ms · taken 1.8ms · up 307ms · first output 2.0ms · ran 1.1s

    STAGE  TOOK  CPU    MEMORY  STATE
    test   1.1s  850ms  3 MiB   exited with 1
    exit 0
    ");
}

#[test]
fn the_last_run_is_meant_when_none_is_named() {
    let fleet = fleet();
    assert!(fleet.run(&["status"]).stderr.contains("the newest run of all: hello#4"));
    assert_eq!(fleet.run(&["execute", "hello"]).code, Some(0));
    let seen = fleet.run(&["status"]);
    assert!(seen.stdout.contains("hello#4") && seen.stderr.is_empty(), "{}", seen.transcript());
}

#[test]
fn a_list_without_runs_says_so_and_what_to_type() {
    let fleet = Fleet::start(Script::default());
    insta::assert_snapshot!(fleet.transcript(&["runs", "--failed"]), @"
    [stderr]
    no runs fit; execute a job: ocelot execute NAME; or build this commit: ocelot build
    exit 0
    ");
}

#[test]
fn runs_are_listed_with_their_fate() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["runs", "-n", "2"]), @"
    [stdout]
    RUN      STATE   ACCEPTED  TOOK    BY
    hello#4  queued  12m ago   12m..  ada
    hello#3  failed  12m ago   1.4s    ada
    [stderr]
    (there are older ones; see more of them: -n 20)
    exit 0
    ");
    let filters = ["runs", "hello", "--failed", "--by", "ada", "--branch", "main", "--since", "2h"];
    assert_eq!(fleet.run(&filters).code, Some(0));
    let script = fleet.script();
    let request = script.lists.last().unwrap();
    assert!(request.failed && request.by == "ada" && request.branch == "main" && request.job == "hello");
    assert!((ago(MINUTE * 120) - request.since_unix_us).abs() < 60_000_000);
}

#[test]
fn a_moment_that_is_none_is_refused_with_examples() {
    insta::assert_snapshot!(fleet().transcript(&["runs", "--since", "soon"]), @r#"
    [stderr]
    error: "soon" is no moment
    hint: say 2h, 3d, today, yesterday, 2026-11-20 or 2026-11-20T08:00
    exit 2
    "#);
}

#[test]
fn cancel_says_truly_how_far_it_is() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["cancel", "hello#4", "--reason", "wrong branch"]), @"
    [stdout]
    hello#4 is being cancelled
    [stderr]
    see it end: ocelot getlogs -f hello#4    without the executor's consent: ocelot cancel --force hello#4
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["cancel", "hello#3"]), @"
    [stdout]
    hello#3 was over already: failed: stage test exited with 1
    exit 0
    ");
}

#[test]
fn retry_makes_a_new_run() {
    insta::assert_snapshot!(fleet().transcript(&["retry", "hello#3", "--failed"]), @"
    [stdout]
    hello#4
    [stderr]
    follow it: ocelot getlogs -f hello#4
    exit 0
    ");
}

#[test]
fn why_tells_each_executors_reason() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["why", "hello#4"]), @"
    [stdout]
    hello#4 is queued: needs label gpu: 0 of 2 have it
      box-1  has no label gpu; disk below its floor
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["why", "hello#3"]), @"
    [stdout]
    hello#3 failed: stage test exited with 1
    exit 0
    ");
}

#[test]
fn executors_are_looked_after() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["executor", "list"]), @"
    [stdout]
    EXECUTOR  STATE                       BUSY  SEEN    VERSION  LABELS
    box-1     draining: new disk, by ada  1/4   2m ago  0.1.0    os=linux gpu
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["executor", "describe", "box-1"]), @"
    [stdout]
    Executor   box-1
    Id         01930000-0000-7000-8000-0000000000e0
    State      draining: new disk, by ada
    Slots      1 of 4 busy
    Seen       2m ago (registered 3h ago)
    Version    0.1.0
    Free disk  150 GiB
    Labels     os=linux gpu
      runs task 0 of 01930000-0000-7000-8000-000000000004, attempt 1
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["executor", "token", "--label", "gpu"]), @"
    [stdout]
    ocelot_reg_abc
    [stderr]
    good for one machine, ends in 15m; on the new machine:
      ocelot-executor register 'ocelot_reg_abc' && ocelot-executor start
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["executor", "resume", "box-1"]), @"
    [stdout]
    box-1 takes work again
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["executor", "quarantine", "box-1", "--reason", "odd"]), @"
    [stdout]
    box-1 is in quarantine until somebody resumes it
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["executor", "remove", "box-1"]), @"
    [stdout]
    removed box-1
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["executor", "drain", "box-9"]), @r#"
    [stderr]
    error: cannot drain the executor box-9: there is no executor "box-9"
    hint: see them: ocelot executor list
    exit 1
    "#);
}

#[test]
fn who_drains_can_wait_for_the_end() {
    let held = || wire::AttemptId::default();
    let fleet = Fleet::start(Script {
        executors: vec![wire::Executor {
            name: "box-1".into(),
            attempts: vec![held()],
            ..Default::default()
        }],
        ..Script::default()
    });
    insta::assert_snapshot!(fleet.transcript(&["executor", "drain", "box-1", "--wait"]), @"
    [stdout]
    box-1 is drained
    [stderr]
    box-1 still runs 1; it takes nothing new
    exit 0
    ");
}

#[test]
fn tokens_are_shown_once() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["token", "create", "ci", "--for", "ci-bot", "--expires", "30d"]), @"
    [stdout]
    ocelot_api_secret
    [stderr]
    the token, shown this once; keep it as OCELOT_TOKEN or with ocelot config add:
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["token", "list"]), @"
    [stdout]
    TOKEN  FOR     BEGINS WITH    CREATED  EXPIRES  LAST USED
    ci     ci-bot  ocelot_api_ab  3h ago   never    2m ago
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["token", "rotate", "ci", "--overlap", "1h"]), @"
    [stdout]
    ocelot_api_newer
    [stderr]
    the old value goes on working for 1h
    the token, shown this once; keep it as OCELOT_TOKEN or with ocelot config add:
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["token", "revoke", "ci"]), @"
    [stdout]
    revoked ci
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["token", "create", "ci", "--expires", "soon"]), @r#"
    [stderr]
    error: "soon" is no duration
    hint: say it like 15m, 12h, 30d or 1h30m
    exit 2
    "#);
}

#[test]
fn versions_are_told_of_both_sides() {
    insta::assert_snapshot!(fleet().transcript(&["version"]), @"
    [stdout]
    ocelot 0.1.0
    controller 0.1.0 at 10.0.0.1:7070
    store embedded
    executors 1 of 2 online
    exit 0
    ");
}

#[test]
fn what_predecessors_took_is_answered_with_ours() {
    let fleet = fleet();
    let mut all = String::new();
    for typed in [
        &["execute", "--job-name", "hello", "--args", "a=1,b=2"][..],
        &["create", "--job-path=x.json"],
        &["getlogs", "--job-id", "7"],
        &["config", "--cp-host", "h"],
        &["execute", "hello", "--args", "a=1"],
        &["template", "hello", "x.yaml"],
        &["register"],
    ] {
        all += &format!("{typed:?}\n{}\n", fleet.transcript(typed));
    }
    insta::assert_snapshot!(all, @r#"
    ["execute", "--job-name", "hello", "--args", "a=1,b=2"]
    [stderr]
    error: there is no --job-name here
    hint: name the job after the verb: ocelot execute NAME, ocelot describe NAME
    exit 2
    ["create", "--job-path=x.json"]
    [stderr]
    error: there is no --job-path here
    hint: ocelot create -f FILE
    exit 2
    ["getlogs", "--job-id", "7"]
    [stderr]
    error: there is no --job-id here
    hint: name the run after the verb: ocelot getlogs NAME#NUMBER
    exit 2
    ["config", "--cp-host", "h"]
    [stderr]
    error: there is no --cp-host here
    hint: ocelot config add NAME URL; or OCELOT_SERVER=URL for one command
    exit 2
    ["execute", "hello", "--args", "a=1"]
    [stderr]
    error: there is no --args here
    hint: write each one by itself, with any letters in it: ocelot execute NAME key=value key2=value2
    exit 2
    ["template", "hello", "x.yaml"]
    [stderr]
    error: there is no template here
    hint: ocelot create --template
    exit 2
    ["register"]
    [stderr]
    error: there is no register here
    hint: on the new machine: ocelot-executor register TOKEN; the token: ocelot executor token
    exit 2
    "#);
}

#[test]
fn a_log_is_shown_once_or_only_its_end() {
    use ocelot_core::frame::{Body, Exit};
    let fleet = fleet();
    let whole = crate::fleet::log(&[
        Body::Begin("test"),
        Body::Stdout(b"one\ntwo\n"),
        Body::Stderr(b"\x1b[31mthree\x1b[0m\x1b[2J\nfour"),
        Body::End(Exit::Code(1)),
    ]);
    fleet.script().logs.insert((0, 1), whole);
    insta::assert_snapshot!(fleet.transcript(&["getlogs", "hello#3"]), @"
    [stdout]
    ▸ test
    one
    two
    three^[[2J
    four
    ▸ test exited with 1 after 3.0ms
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["logs", "hello#3", "--tail", "2"]), @"
    [stdout]
    four
    ▸ test exited with 1 after 3.0ms
    exit 0
    ");
    let raw = fleet.run(&["getlogs", "hello#3", "--raw"]);
    assert_eq!(raw.stdout, "one\ntwo\n\x1b[31mthree\x1b[0m\x1b[2J\nfour");
    insta::assert_snapshot!(fleet.transcript(&["getlogs", "hello#3", "--output=json"]), @r#"
    [stdout]
    {"task":"main","attempt":1,"time":"MOMENT","kind":"begin","stage":"test","text":"test"}
    {"task":"main","attempt":1,"time":"MOMENT","kind":"stdout","stage":"test","text":"one\ntwo\n"}
    {"task":"main","attempt":1,"time":"MOMENT","kind":"stderr","stage":"test","text":"\u001b[31mthree\u001b[0m\u001b[2J\nfour"}
    {"task":"main","attempt":1,"time":"MOMENT","kind":"end","stage":"test","text":"","exit":1}
    exit 0
    "#);
    insta::assert_snapshot!(fleet.transcript(&["getlogs", "hello#4"]), @"
    [stderr]
    hello#4 goes on; follow it: ocelot getlogs -f hello#4
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["getlogs", "hello#3", "--task", "web"]), @"
    [stderr]
    error: hello#3 has no task web
    hint: its tasks: main
    exit 2
    ");
}

//! The built program with real processes: what it captures, how it ends things, and who it obeys.
//!
//! Each test waits for what must happen. `PATIENCE` only bounds a test that has failed.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ocelot_core::frame::{Body, Decoder, Exit, Offset, encode, whole_frames};
use ocelot_supervisor::client::{Client, ClientError};
use ocelot_supervisor::clock::now;
use ocelot_supervisor::protocol::{
    Held, Leftovers, MaskValue, Moment, Notice, Outcome, Program, Refusal, Request, StageEnd, StageOrder,
    State, Stop,
};
use ocelot_supervisor::tail::Tail;
use rustix::event::{Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);
const LONG_MS: u64 = 3_600_000;

/// A supervisor with a control directory of its own, ended with the test.
struct Bench {
    directory: tempfile::TempDir,
    child: Child,
}

impl Bench {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let child = start_in(directory.path(), arguments);
        let bench = Self { directory, child };
        wait_until(|| Client::connect(bench.path(), PATIENCE).is_ok());
        bench
    }

    /// Starts one that has an attempt, and returns a connection to it.
    fn assigned(arguments: &[&str]) -> (Self, Client) {
        let bench = Self::start(arguments);
        let mut client = bench.connect().0;
        bench.assign(&mut client, now().after(LONG_MS));
        (bench, client)
    }

    fn assign(&self, client: &mut Client, deadline: Moment) {
        fs::write(self.path().join("identity"), "attempt 1").unwrap();
        client.ask(&Request::Assign { identity: "attempt 1".to_owned(), deadline }).unwrap();
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn connect(&self) -> (Client, State) {
        Client::connect(self.path(), PATIENCE).unwrap()
    }

    fn capture(&self) -> Vec<u8> {
        read_all(&mut Tail::at(self.path(), Offset(0)))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the program's end; its exit status.
    fn ended(mut self) -> (Option<i32>, tempfile::TempDir) {
        let status = self.child.wait().unwrap();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        (status.code(), directory)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Asked first, because it takes its stages along.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            self.signal(Signal::TERM);
        }
        let _ended = self.child.wait();
    }
}

fn start_in(directory: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ocelot-supervisor"))
        .arg(directory)
        .args(arguments)
        .env("LEAK", "must not be seen by a stage")
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits for a condition that gives no sign.
fn wait_until(mut condition: impl FnMut() -> bool) {
    let limit = now().after(PATIENCE.as_millis() as u64);
    while !condition() {
        assert!(now() < limit, "it never happened");
        // A moment for the others; what counts is the condition.
        poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 2_000_000 })).unwrap();
    }
}

fn read_all(tail: &mut Tail) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match tail.read(&mut buffer).unwrap() {
            0 => return bytes,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn script(stage: u16, script: &str) -> StageOrder {
    StageOrder {
        stage,
        name: format!("stage {stage}"),
        program: Program::Script { shell: vec!["/bin/sh".to_owned()], script: script.to_owned() },
        directory: "/".to_owned(),
        user: None,
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        timeout_ms: None,
        task_deadline: None,
        quiet_timeout_ms: None,
        grace_ms: 50,
        leftovers: Leftovers::Keep,
    }
}

fn command(stage: u16, argv: &[&str]) -> StageOrder {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    StageOrder { program: Program::Command(argv), env: BTreeMap::new(), ..script(stage, "") }
}

fn start(client: &mut Client, order: StageOrder) {
    client.ask(&Request::RunStage(Box::new(order))).unwrap();
}

fn ended(client: &mut Client) -> StageEnd {
    loop {
        if let Notice::Ended(end) = client.next_notice().unwrap() {
            return *end;
        }
    }
}

fn run(client: &mut Client, order: StageOrder) -> StageEnd {
    start(client, order);
    ended(client)
}

fn code(code: i32) -> Outcome {
    Outcome::Ended(Exit::Code(code))
}

/// What one stage wrote, and the order of what was not output.
#[derive(Debug, Default, PartialEq)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    platform: String,
    turns: Vec<String>,
}

fn said(capture: &[u8], stage: u16) -> Said {
    let mut said = Said::default();
    let mut decoder = Decoder::default();
    decoder.push(capture);
    while let Some(frame) = decoder.next_frame().unwrap() {
        if frame.stage != Some(stage) {
            continue;
        }
        match frame.body {
            Body::Stdout(bytes) => said.stdout.extend_from_slice(bytes),
            Body::Stderr(bytes) => said.stderr.extend_from_slice(bytes),
            Body::Platform(bytes) => said.platform.push_str(std::str::from_utf8(bytes).unwrap()),
            Body::Begin(name) => said.turns.push(format!("begin {name}")),
            Body::End(exit) => said.turns.push(format!("end {exit:?}")),
            Body::AddMask(value) => said.turns.push(format!("mask {}", value.len())),
            Body::Mark(..) => said.turns.push("mark".to_owned()),
        }
    }
    assert_eq!(whole_frames(capture), capture.len(), "the capture ends with a whole frame");
    said
}

/// Waits until the capture holds this text of a stage.
fn wait_for_text(bench: &Bench, text: &str) {
    wait_until(|| {
        let capture = bench.capture();
        capture.windows(text.len()).any(|window| window == text.as_bytes())
    });
}

/// Returns the number that a stage printed as `pid=N.`.
fn printed_pid(bench: &Bench) -> i32 {
    let mut found = None;
    wait_until(|| {
        let text = String::from_utf8_lossy(&bench.capture()).into_owned();
        let number = text.split_once("pid=").and_then(|(_, rest)| rest.split_once('.'));
        found = number.map(|(number, _)| number.parse().unwrap());
        found.is_some()
    });
    found.unwrap()
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

#[test]
fn a_stage_ends_with_its_own_exit_code_or_signal() {
    let (bench, mut client) = Bench::assigned(&[]);
    assert_eq!(run(&mut client, script(0, "exit 7")).outcome, code(7));
    assert_eq!(run(&mut client, script(1, "false\necho unreachable")).outcome, code(1));
    let killed = run(&mut client, script(2, "kill -SEGV $$"));
    assert_eq!(killed.outcome, Outcome::Ended(Exit::Signal(11)));
    assert_eq!((killed.stopped, run(&mut client, script(3, "exit 300")).outcome), (None, code(44)));
    assert_eq!(said(&bench.capture(), 0).turns, ["begin stage 0", "end Code(7)"]);
    assert_eq!(said(&bench.capture(), 1).stdout, b"", "a script stops at its first failure");
}

#[test]
fn output_is_kept_byte_for_byte_on_its_own_stream() {
    let (bench, mut client) = Bench::assigned(&["--segment-bytes", "1000000"]);
    let text = r"printf 'a\000b\377\r\n'; printf 'problem\000' >&2
        head -c 5242880 /dev/zero | tr '\0' x; head -c 300000 /dev/zero >&2";
    assert_eq!(run(&mut client, script(0, text)).outcome, code(0));
    let said = said(&bench.capture(), 0);
    let mut stdout = b"a\0b\xff\r\n".to_vec();
    stdout.resize(stdout.len() + 5_242_880, b'x');
    let mut stderr = b"problem\0".to_vec();
    stderr.resize(stderr.len() + 300_000, 0);
    assert!(said.stdout == stdout && said.stderr == stderr);
    assert_eq!(said.turns, ["begin stage 0", "end Code(0)"]);
}

#[test]
fn a_stage_has_the_environment_that_was_given_and_its_users_home_and_nothing_else() {
    let (bench, mut client) = Bench::assigned(&[]);
    let env = BTreeMap::from([
        ("A".to_owned(), "1 2".to_owned()),
        ("B".to_owned(), "é\n".to_owned()),
        ("HOME".to_owned(), "/own".to_owned()),
    ]);
    run(&mut client, StageOrder { env, ..command(0, &["/usr/bin/env", "-0"]) });
    assert_eq!(String::from_utf8(said(&bench.capture(), 0).stdout).unwrap(), "A=1 2\0B=é\n\0HOME=/own\0");
    let text = "ls /proc/self/fd | sort -n | tr '\\n' ' '; grep -E 'SigIgn|SigBlk' /proc/self/status";
    run(&mut client, script(1, text));
    let seen = String::from_utf8(said(&bench.capture(), 1).stdout).unwrap();
    assert!(seen.starts_with("0 1 2 3 Sig"), "3 is the folder that ls reads: {seen}");
    // Two numbers above 31 belong to the C library, which lets nobody touch them.
    let masks: Vec<u64> = seen
        .lines()
        .filter_map(|line| u64::from_str_radix(line.split_once('\t')?.1, 16).ok())
        .map(|mask| mask & 0x7fff_ffff)
        .collect();
    assert_eq!(masks, [0, 0], "{seen}");
    run(&mut client, script(2, "echo $HOME; pwd"));
    let home = String::from_utf8(said(&bench.capture(), 2).stdout).unwrap();
    assert!(home.starts_with('/') && home.ends_with("\n/\n"), "{home}");
}

#[test]
fn a_stage_runs_as_the_user_that_was_asked_for() {
    let (bench, mut client) = Bench::assigned(&[]);
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let own = StageOrder { user: Some(format!("{uid}:{gid}")), ..script(0, "id -u") };
    run(&mut client, own);
    assert_eq!(said(&bench.capture(), 0).stdout, format!("{uid}\n").as_bytes());
    let unknown = StageOrder { user: Some("no-such-user".to_owned()), ..script(1, "id -u") };
    let end = run(&mut client, unknown);
    let why = "cannot run as asked: the image has no user \"no-such-user\"".to_owned();
    assert_eq!(end.outcome, Outcome::NotStarted(why));
    let other = StageOrder { user: Some("4242:4343".to_owned()), ..script(2, "id -u; id -g; id -G") };
    let end = run(&mut client, other);
    if uid == 0 {
        assert_eq!(said(&bench.capture(), 2).stdout, b"4242\n4343\n4343\n");
    } else {
        assert!(matches!(end.outcome, Outcome::NotStarted(_)), "only root can be somebody else: {end:?}");
    }
}

#[test]
fn what_cannot_be_started_says_why() {
    let (bench, mut client) = Bench::assigned(&[]);
    let missing = run(&mut client, command(0, &["/no/such/program"]));
    let Outcome::NotStarted(why) = &missing.outcome else { panic!("{missing:?}") };
    assert!(why.starts_with("cannot start /no/such/program: No such file"), "{why}");
    let nowhere = StageOrder { directory: "/no/such/folder".to_owned(), ..script(1, "true") };
    let Outcome::NotStarted(why) = run(&mut client, nowhere).outcome else { panic!("it started") };
    assert!(why.starts_with("cannot start in /no/such/folder: No such file"), "{why}");
    assert!(matches!(run(&mut client, command(2, &[])).outcome, Outcome::NotStarted(_)));
    let said = said(&bench.capture(), 1);
    assert_eq!((said.platform, &said.turns[1]), (format!("{why}\n"), &"end Code(127)".to_owned()));
}

#[test]
fn a_command_needs_no_shell_and_a_script_may_be_longer_than_an_argument() {
    let (bench, mut client) = Bench::assigned(&[]);
    assert_eq!(run(&mut client, command(0, &["/bin/echo", "$HOME", "a  b"])).outcome, code(0));
    assert_eq!(said(&bench.capture(), 0).stdout, b"$HOME a  b\n");
    let long = format!("# {}\necho long\nfalse\necho unreachable", "x".repeat(200_000));
    assert_eq!(run(&mut client, script(1, &long)).outcome, code(1));
    assert_eq!(said(&bench.capture(), 1).stdout, b"long\n");
}

#[test]
fn a_stage_that_reads_its_input_is_at_its_end_at_once() {
    let (bench, mut client) = Bench::assigned(&[]);
    let reads = "cat; echo over; if read -r line; then exit 9; fi";
    assert_eq!(run(&mut client, script(0, reads)).outcome, code(0));
    assert_eq!(said(&bench.capture(), 0).stdout, b"over\n");
}

#[test]
fn a_cancel_kills_what_ignores_the_first_signal() {
    let (bench, mut client) = Bench::assigned(&[]);
    let stubborn = "trap '' TERM; sleep 3600 & echo pid=$!.; wait";
    start(&mut client, script(0, stubborn));
    let pid = printed_pid(&bench);
    client.ask(&Request::Cancel { through: 0, grace_ms: 50 }).unwrap();
    let end = ended(&mut client);
    assert_eq!((end.outcome, end.stopped), (Outcome::Ended(Exit::Signal(9)), Some(Stop::Cancelled)));
    wait_until(|| !is_alive(pid));
    assert_eq!(run(&mut client, script(1, "echo always")).outcome, code(0));
}

#[test]
fn a_cancelled_child_has_its_grace_even_if_its_shell_is_dead() {
    let (bench, mut client) = Bench::assigned(&[]);
    let careful = "trap 'echo saved; exit' TERM; echo ready; while :; do sleep 0.01; done";
    let mut order = script(0, "sh -c \"$CAREFUL\"; true");
    order.env.insert("CAREFUL".to_owned(), careful.to_owned());
    start(&mut client, order);
    wait_for_text(&bench, "ready");
    client.ask(&Request::Cancel { through: 0, grace_ms: LONG_MS }).unwrap();
    assert_eq!(ended(&mut client).outcome, Outcome::Ended(Exit::Signal(15)));
    let said = said(&bench.capture(), 0);
    assert_eq!(said.stdout, b"ready\nsaved\n");
    assert_eq!(said.turns, ["begin stage 0", "end Signal(15)"]);
}

#[test]
fn timeouts_end_a_stage_and_name_themselves() {
    let (_bench, mut client) = Bench::assigned(&[]);
    // Long enough for the shell to have set its trap.
    let late = StageOrder { timeout_ms: Some(2_000), ..script(0, "trap '' TERM; sleep 3600") };
    let end = run(&mut client, late);
    assert_eq!((end.outcome, end.stopped), (Outcome::Ended(Exit::Signal(9)), Some(Stop::Timeout)));
    let quiet = StageOrder { quiet_timeout_ms: Some(20), ..script(1, "exec sleep 3600") };
    let end = run(&mut client, quiet);
    assert_eq!((end.outcome, end.stopped), (Outcome::Ended(Exit::Signal(15)), Some(Stop::QuietTimeout)));
    let bound = StageOrder { task_deadline: Some(now().after(20)), ..script(2, "exec sleep 3600") };
    assert_eq!(run(&mut client, bound).stopped, Some(Stop::TaskTimeout));
}

#[test]
fn orphans_are_reaped_and_every_descendant_ends_with_the_attempt() {
    let (bench, mut client) = Bench::assigned(&[]);
    let forks = "i=0; while [ $i -lt 200 ]; do (setsid sh -c : &) ; i=$((i+1)); done; echo done";
    assert_eq!(run(&mut client, script(0, forks)).outcome, code(0));
    run(&mut client, script(1, "setsid sleep 3600 & echo pid=$!."));
    let pid = printed_pid(&bench);
    assert!(is_alive(pid));
    let children = format!("/proc/{0}/task/{0}/children", bench.child.id());
    if Path::new(&children).exists() {
        wait_until(|| fs::read_to_string(&children).unwrap().trim() == pid.to_string());
    }
    client.ask(&Request::Finish { grace_ms: 0 }).unwrap();
    assert_eq!(bench.ended().0, Some(0));
    assert!(!is_alive(pid));
}

#[test]
fn a_process_in_the_background_does_not_hold_up_the_end_and_is_still_heard() {
    let (bench, mut client) = Bench::assigned(&[]);
    let fifo = bench.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut order = script(0, "(read -r _ < \"$FIFO\"; echo late) & echo early; echo pid=$!.");
    order.env.insert("FIFO".to_owned(), fifo.to_str().unwrap().to_owned());
    assert_eq!(run(&mut client, order).outcome, code(0));
    let pid = printed_pid(&bench);
    assert_eq!(run(&mut client, script(1, "echo next")).outcome, code(0));
    assert!(is_alive(pid), "a server of one stage serves the next");
    fs::write(&fifo, "\n").unwrap();
    wait_for_text(&bench, "late");
    let said = said(&bench.capture(), 0);
    assert!(said.stdout.starts_with(b"early\npid=") && said.stdout.ends_with(b".\nlate\n"), "{said:?}");
}

#[test]
fn leftovers_of_a_stage_that_keeps_none_are_killed_at_its_end() {
    let (bench, mut client) = Bench::assigned(&[]);
    let order = StageOrder { leftovers: Leftovers::Kill, ..script(0, "yes & echo pid=$!. >&2") };
    assert_eq!(run(&mut client, order).outcome, code(0));
    let pid = printed_pid(&bench);
    wait_until(|| !is_alive(pid));
}

#[test]
fn past_the_guards_deadline_everything_ends_at_once() {
    let bench = Bench::start(&[]);
    let mut client = bench.connect().0;
    let deadline = now().after(3000);
    bench.assign(&mut client, deadline);
    let witness =
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do cut -d\" \" -f1 /proc/uptime; done' & wait";
    start(&mut client, script(0, witness));
    wait_until(|| said(&bench.capture(), 0).stdout.len() > 10);
    let (status, directory) = bench.ended();
    let over = now();
    assert_eq!(status, Some(3));
    assert!(over >= deadline, "not before the deadline: {over:?} {deadline:?}");
    let capture = read_all(&mut Tail::at(directory.path(), Offset(0)));
    let whole = &capture[..whole_frames(&capture)];
    let beats = String::from_utf8(said(whole, 0).stdout).unwrap();
    // The witness counts hundredths of a second; its last line may be torn, and is smaller then.
    let last = beats.lines().filter_map(|line| line.replace('.', "").parse::<u64>().ok()).max();
    let late = (last.unwrap() * 10).saturating_sub(deadline.0);
    // An idle machine takes one or two; what counts is that nothing goes on.
    assert!(late <= 5000, "alive {late} ms past the deadline");
}

#[test]
fn the_guard_ends_a_stage_even_if_the_loop_is_stuck() {
    let bench = Bench::start(&[]);
    let mut client = bench.connect().0;
    bench.assign(&mut client, now().after(3000));
    start(&mut client, script(0, "trap '' TERM; echo pid=$$.; while :; do sleep 3600; done"));
    let pid = printed_pid(&bench);
    // Nobody will ever write into it, so that opening it never returns.
    let identity = bench.path().join("identity");
    fs::remove_file(&identity).unwrap();
    assert!(Command::new("mkfifo").arg(&identity).status().unwrap().success());
    client.send(&Request::Assign { identity: "attempt 1".to_owned(), deadline: Moment(0) }).unwrap();
    assert_eq!(bench.ended().0, Some(3));
    assert!(!is_alive(pid));
}

#[test]
fn beats_put_the_deadline_off_and_never_back() {
    let bench = Bench::start(&[]);
    let (mut client, state) = bench.connect();
    assert!(state.deadline > now().after(590_000), "unassigned: ten minutes");
    let far = now().after(LONG_MS);
    client.ask(&Request::Beat { deadline: far }).unwrap();
    client.ask(&Request::Beat { deadline: Moment(1) }).unwrap();
    assert_eq!(bench.connect().1.deadline, far);
    let past = Bench::start(&["--deadline-ms", &now().after(5_000).0.to_string()]);
    assert_eq!(past.ended().0, Some(3), "unassigned ones end too");
}

#[test]
fn a_new_executor_is_told_everything_and_repeats_what_it_likes() {
    let (bench, mut first) = Bench::assigned(&[]);
    run(&mut first, script(0, "echo one; exit 3"));
    let gate = bench.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let mut waits = script(1, "echo two; read -r _ < \"$GATE\"; echo three");
    waits.env.insert("GATE".to_owned(), gate.to_str().unwrap().to_owned());
    start(&mut first, waits.clone());
    drop(first);
    let (mut second, state) = bench.connect();
    assert_eq!(state.identity.as_deref(), Some("attempt 1"));
    assert_eq!(state.running.as_ref().unwrap().stage, 1);
    assert_eq!(state.ended.iter().map(|end| &end.outcome).collect::<Vec<_>>(), [&code(3)]);
    bench.assign(&mut second, now().after(LONG_MS));
    start(&mut second, waits.clone());
    start(&mut second, script(0, "echo one; exit 3"));
    fs::write(&gate, "\n").unwrap();
    assert_eq!(ended(&mut second).outcome, code(0));
    start(&mut second, waits);
    let (_, state) = bench.connect();
    assert_eq!((state.running, state.ended.len()), (None, 2));
    assert_eq!(state.capture.end, Offset(bench.capture().len() as u64));
    assert_eq!(said(&bench.capture(), 0).stdout, b"one\n");
    assert_eq!(said(&bench.capture(), 1).stdout, b"two\nthree\n");
}

#[test]
fn an_executor_that_is_killed_in_the_middle_of_a_message_disturbs_nothing() {
    let (bench, mut client) = Bench::assigned(&[]);
    let socket = bench.path().join("supervisor.sock");
    for rude in [&b"\xff\xff\xff\xff"[..], b"\x10\0\0\0{\"beat\"", b"\x02\0\0\0{}"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(rude).unwrap();
    }
    let mut stranger = UnixStream::connect(&socket).unwrap();
    stranger.write_all(b"\x12\0\0\0{\"explode\":{\"\":1}}").unwrap();
    let mut told = Vec::new();
    stranger.read_to_end(&mut told).unwrap();
    let told = String::from_utf8_lossy(&told);
    assert!(told.ends_with("{\"refused\":\"not_understood\"}"), "{told}");
    assert_eq!(run(&mut client, script(0, "echo fine")).outcome, code(0));
}

#[test]
fn a_killed_supervisor_leaves_whole_frames_to_read() {
    let (bench, mut client) = Bench::assigned(&[]);
    start(&mut client, script(0, "echo pid=$$. >&2; while :; do echo line; done"));
    let pid = printed_pid(&bench);
    wait_until(|| bench.capture().len() > 10_000);
    bench.signal(Signal::KILL);
    let path = bench.path().to_owned();
    let mut bench = bench;
    assert_eq!(bench.child.wait().unwrap().signal(), Some(9));
    wait_until(|| !is_alive(pid));
    let capture = read_all(&mut Tail::at(&path, Offset(0)));
    let whole = whole_frames(&capture);
    let lines = String::from_utf8(said(&capture[..whole], 0).stdout).unwrap();
    assert!(lines.len() > 1000 && "line\n".repeat(lines.len() / 5 + 1).starts_with(&lines));
}

#[test]
fn a_directory_serves_one_supervisor_once() {
    let (mut bench, _client) = Bench::assigned(&[]);
    assert_eq!(start_in(bench.path(), &[]).wait().unwrap().code(), Some(1), "there is one");
    bench.signal(Signal::TERM);
    assert_eq!(bench.child.wait().unwrap().code(), Some(4));
    assert_eq!(start_in(bench.path(), &[]).wait().unwrap().code(), Some(1), "there was one");
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(start_in(open.path(), &[]).wait().unwrap().code(), Some(1), "others could look in");
}

#[test]
fn an_executor_may_connect() {
    // The test below starts this one again as a stage, and is glad that it fails.
    match std::env::var_os("OF_ANOTHER_TEST") {
        Some(directory) => drop(Client::connect(Path::new(&directory), PATIENCE).unwrap()),
        None => drop(Bench::start(&[]).connect()),
    }
}

#[test]
fn a_stage_may_not_connect() {
    let (bench, mut client) = Bench::assigned(&[]);
    let own = std::env::current_exe().unwrap();
    let again = [own.to_str().unwrap(), "--exact", "an_executor_may_connect"];
    let mut probe = command(0, &again);
    probe.env.insert("OF_ANOTHER_TEST".to_owned(), bench.path().to_str().unwrap().to_owned());
    assert_eq!(run(&mut client, probe.clone()).outcome, code(101), "{:?}", said(&bench.capture(), 0));
    let outside = Command::new(&own).args(&again[1..]).envs(&probe.env).output().unwrap();
    assert!(outside.status.success(), "{outside:?}");
}

#[test]
fn the_first_byte_does_not_wait_for_a_line() {
    let (bench, mut client) = Bench::assigned(&[]);
    start(&mut client, script(0, "printf x; exec sleep 3600"));
    wait_until(|| said(&bench.capture(), 0).stdout == b"x");
}

#[test]
fn what_is_captured_while_another_word_is_told_is_told_with_it() {
    let (bench, mut client) = Bench::assigned(&[]);
    client.send(&Request::RunStage(Box::new(script(0, "exec sleep 3600")))).unwrap();
    // The stage's beginning is captured as the order is answered, and then nothing happens for an hour.
    loop {
        match client.next_notice().unwrap() {
            Notice::Capture(state) if state.end > Offset(0) => break,
            Notice::Ended(end) => panic!("{end:?}"),
            _ => {}
        }
    }
    assert_eq!(said(&bench.capture(), 0).turns, ["begin stage 0"]);
}

#[test]
fn output_waits_for_the_executor_and_none_is_lost() {
    let (bench, mut client) = Bench::assigned(&["--segment-bytes", "100000", "--ahead-bytes", "300000"]);
    let numbers =
        "i=0; while [ $i -lt 40 ]; do head -c 50000 /dev/zero | tr '\\0' \"$((i % 10))\"; i=$((i+1)); done";
    start(&mut client, script(0, numbers));
    let mut tail = Tail::at(bench.path(), Offset(0));
    let mut capture = Vec::new();
    let mut was_held = false;
    loop {
        match client.next_notice().unwrap() {
            Notice::Capture(state) if state.held == Some(Held::Ahead) => {
                was_held = true;
                capture.extend(read_all(&mut tail));
                client.send(&Request::Taken { offset: tail.offset() }).unwrap();
            }
            Notice::Ended(_) => break,
            _ => {}
        }
        let kept: u64 = fs::read_dir(bench.path())
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.metadata().ok().map(|found| found.len()))
            .sum();
        assert!(kept < 800_000, "the disk is bounded: {kept}");
    }
    capture.extend(read_all(&mut tail));
    assert!(was_held);
    let expected: Vec<u8> = (0..40u8).flat_map(|i| vec![b'0' + i % 10; 50_000]).collect();
    assert!(said(&capture, 0).stdout == expected);
    let beyond = client.ask(&Request::Taken { offset: Offset(u64::MAX) });
    assert!(matches!(beyond, Err(ClientError::Refused(Refusal::BeyondEnd))), "{beyond:?}");
}

#[test]
fn a_mask_stands_in_the_sequence() {
    let (bench, mut client) = Bench::assigned(&[]);
    run(&mut client, script(0, "echo before"));
    client.ask(&Request::AddMask { stage: Some(0), value: MaskValue(b"hunter2".to_vec()) }).unwrap();
    run(&mut client, script(1, "echo after"));
    assert_eq!(said(&bench.capture(), 0).turns, ["begin stage 0", "end Code(0)", "mask 7"]);
}

#[test]
fn a_terminated_supervisor_ends_its_stage_with_grace_and_tells_what_it_said_last() {
    let (bench, mut client) = Bench::assigned(&[]);
    let order = StageOrder {
        grace_ms: LONG_MS,
        ..script(0, "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done")
    };
    start(&mut client, order);
    wait_for_text(&bench, "ready");
    bench.signal(Signal::TERM);
    let end = ended(&mut client);
    assert_eq!((end.outcome, end.stopped), (code(5), Some(Stop::Terminated)));
    let (status, directory) = bench.ended();
    assert_eq!(status, Some(4));
    let capture = read_all(&mut Tail::at(directory.path(), Offset(0)));
    assert_eq!(said(&capture, 0).stdout, b"ready\nbye\n");
}

#[test]
fn what_a_stage_used_is_reported() {
    let (_bench, mut client) = Bench::assigned(&[]);
    let end = run(&mut client, script(0, "head -c 20000000 /dev/zero | tail -c 20000000 | wc -c"));
    assert!(end.usage.resident_bytes_max > 500_000, "{end:?}");
    assert!(end.usage.user_us + end.usage.system_us > 0 && end.until >= end.since, "{end:?}");
}

#[test]
fn frames_of_one_reading_are_what_the_format_says() {
    let (bench, mut client) = Bench::assigned(&[]);
    run(&mut client, script(0, "printf x"));
    let capture = bench.capture();
    let mut decoder = Decoder::default();
    decoder.push(&capture);
    let mut again = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        assert!(frame.unix_us > 1_700_000_000_000_000);
        encode(&frame, &mut again);
    }
    assert_eq!(again, capture);
}

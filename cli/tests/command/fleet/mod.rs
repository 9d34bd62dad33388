//! A fleet that does what a test says, over a real connection, and the real command run against it.

#![expect(clippy::unwrap_used, reason = "these functions are called by tests only")]

mod projects;
mod schedules;
mod secrets;
mod services;

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ocelot_core::frame::{Body, Frame, encode};
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;
use tempfile::TempDir;
use tonic::{Code, Status};

pub(crate) use services::serve;

/// What the fleet has, what it will answer, and what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) jobs: Vec<wire::Job>,
    pub(crate) runs: Vec<wire::RunSummary>,
    pub(crate) tasks: Vec<wire::Task>,
    pub(crate) reasons: Vec<wire::TaskReason>,
    pub(crate) executors: Vec<wire::Executor>,
    pub(crate) tokens: Vec<wire::ApiToken>,
    pub(crate) secrets: Vec<wire::Secret>,
    pub(crate) sets: Vec<wire::SetSecretRequest>,
    pub(crate) schedules: Vec<wire::Schedule>,
    pub(crate) schedule_runs: Vec<wire::RunScheduleRequest>,
    /// Errors that the next calls of a method end with; it goes through once they are used up.
    pub(crate) refusals: HashMap<&'static str, VecDeque<Status>>,
    /// The changes that each next watch tells; the last one holds on to its end.
    pub(crate) watches: VecDeque<Vec<Change>>,
    /// Whole logs by task and attempt.
    pub(crate) logs: HashMap<(u32, u32), Vec<u8>>,
    /// Logs of these are not at their end.
    pub(crate) unfinished: Vec<(u32, u32)>,
    /// What runs kept, with its bytes.
    pub(crate) artifacts: Vec<(wire::Artifact, Vec<u8>)>,
    /// From where artifacts were asked for.
    pub(crate) artifact_offsets: Vec<u64>,
    /// Where the next reads of a log, or of an artifact, break off.
    pub(crate) cuts: VecDeque<u64>,
    /// Bytes of each answer of a log.
    pub(crate) piece_bytes: usize,
    pub(crate) executes: Vec<wire::ExecuteRequest>,
    pub(crate) reads: Vec<wire::ReadLogRequest>,
    pub(crate) puts: Vec<wire::PutJobRequest>,
    pub(crate) lists: Vec<wire::ListRunsRequest>,
    pub(crate) projects: Vec<wire::Project>,
    pub(crate) events: Vec<wire::ProjectEvent>,
    /// What is left to do by hand after the next change of a project.
    pub(crate) left_to_do: Vec<String>,
    pub(crate) project_puts: Vec<wire::PutProjectRequest>,
    pub(crate) builds: Vec<wire::BuildRequest>,
    pub(crate) tokens_seen: Vec<Option<String>>,
}

/// What a watch tells next.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Tell(Box<wire::WatchRunResponse>),
    Break,
    /// Nothing more, and no end.
    Hold,
}

pub(crate) struct Fleet {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    pub(crate) home: TempDir,
}

/// What a person saw.
pub(crate) struct Seen {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl Fleet {
    pub(crate) fn start(script: Script) -> Self {
        let script = Arc::new(Mutex::new(script));
        let address = serve(Arc::clone(&script));
        Self { address, script, home: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ocelot(self.home.path(), arguments);
        command.env("OCELOT_SERVER", format!("http://{}", self.address)).env("OCELOT_TOKEN", "the-token");
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Seen {
        seen(self.command(arguments).output().unwrap())
    }

    /// Runs the command to its end and returns everything as one text.
    pub(crate) fn transcript(&self, arguments: &[&str]) -> String {
        let transcript = self.run(arguments).transcript();
        scrubbed(&transcript.replace(&self.address.to_string(), "ADDRESS"))
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Seen {
    pub(crate) fn transcript(&self) -> String {
        let part = |name: &str, text: &str| {
            if text.is_empty() {
                String::new()
            } else {
                format!("[{name}]\n{}\n", text.trim_end_matches('\n'))
            }
        };
        format!(
            "{}{}exit {}",
            part("stdout", &self.stdout),
            part("stderr", &self.stderr),
            self.code.unwrap_or(-1)
        )
    }
}

/// The command with nothing of the caller's environment.
pub(crate) fn ocelot(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelot"));
    command.args(arguments).env_clear().env("HOME", home).env("TZ", "UTC").stdin(Stdio::null());
    command
}

pub(crate) fn seen(output: Output) -> Seen {
    // Whether a call takes so long that this is said is the machine's matter.
    let stderr = String::from_utf8(output.stderr).unwrap().replace("waiting for the controller\n", "");
    Seen { stdout: String::from_utf8(output.stdout).unwrap(), stderr, code: output.status.code() }
}

/// Runs a command that is given something on standard input.
pub(crate) fn fed(mut command: Command, input: &[u8]) -> Seen {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    seen(child.wait_with_output().unwrap())
}

/// Takes out of a text what is another each time: moments.
pub(crate) fn scrubbed(text: &str) -> String {
    const SHAPES: [(&str, &str); 3] = [
        ("dddd-dd-ddTdd:dd:dd.ddddddZ", "MOMENT"),
        ("dddd-dd-dd dd:dd:dd UTC", "MOMENT"),
        ("12mdds", "12m.."),
    ];
    let mut rest = text;
    let mut clean = String::new();
    while let Some(letter) = rest.chars().next() {
        let found = SHAPES.iter().find(|(shape, _)| {
            rest.len() >= shape.len()
                && shape
                    .bytes()
                    .zip(rest.bytes())
                    .all(|(want, is)| if want == b'd' { is.is_ascii_digit() } else { want == is })
        });
        match found {
            Some((shape, word)) => {
                clean.push_str(word);
                rest = &rest[shape.len()..];
            }
            None => {
                clean.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    clean
}

pub(crate) fn ago(duration: Duration) -> i64 {
    i64::try_from(SystemClock.wall().0).unwrap() - i64::try_from(duration.as_micros()).unwrap()
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn id(last: u8) -> Vec<u8> {
    let mut id = vec![0x01, 0x93, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
    id[15] = last;
    id
}

pub(crate) fn outcome(outcome: wire::outcome::Outcome) -> wire::Outcome {
    wire::Outcome { outcome: Some(outcome) }
}

pub(crate) fn succeeded() -> wire::Outcome {
    outcome(wire::outcome::Outcome::Succeeded(wire::outcome::Succeeded {}))
}

pub(crate) fn exited(stage: &str, code: i32) -> wire::Outcome {
    let failure = Some(wire::outcome::failed::Failure::Exit(code));
    outcome(wire::outcome::Outcome::Failed(wire::outcome::Failed { stage: stage.into(), failure }))
}

pub(crate) fn job(name: &str) -> wire::Job {
    let created = ago(MINUTE * 190);
    wire::Job {
        name: name.into(),
        version: 1,
        definition: format!("name: {name}\nimage: busybox:1\n"),
        description: format!("Does {name}"),
        created_unix_us: created,
        updated_unix_us: created,
        updated_by: "ada".into(),
        ..wire::Job::default()
    }
}

pub(crate) fn run(number: u64, end: Option<wire::Outcome>) -> wire::RunSummary {
    let accepted = ago(MINUTE * 12 + MINUTE / 2);
    let finished = end.is_some();
    let state = match end {
        Some(end) => wire::run_state::State::Finished(end),
        None => wire::run_state::State::Active(wire::run_state::Active { cancelling: false }),
    };
    wire::RunSummary {
        id: id(number as u8).into(),
        of: Some(wire::run_summary::Of::Job("hello".into())),
        number,
        state: Some(wire::RunState { state: Some(state) }),
        trigger: Some(wire::Trigger {
            kind: wire::trigger::Kind::CommandLine.into(),
            by: "ada".into(),
            schedule: String::new(),
        }),
        accepted_unix_us: accepted,
        started_unix_us: accepted + 3_000,
        finished_unix_us: if finished { accepted + 1_450_000 } else { 0 },
        tasks_finished: u32::from(finished),
        tasks_total: 1,
        group: String::new(),
        commit: None,
        rejected: String::new(),
    }
}

/// A run of a project's commit.
pub(crate) fn built(number: u64, end: Option<wire::Outcome>) -> wire::RunSummary {
    let commit = wire::Commit {
        id: "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d".into(),
        branch: "main".into(),
        subject: "Mend the cart\x1b[2J".into(),
        author: "Ada".into(),
        ..wire::Commit::default()
    };
    wire::RunSummary {
        of: Some(wire::run_summary::Of::Project("acme/shop".into())),
        trigger: Some(wire::Trigger {
            kind: wire::trigger::Kind::Webhook.into(),
            by: "ada".into(),
            schedule: String::new(),
        }),
        commit: Some(commit),
        ..run(number, end)
    }
}

pub(crate) fn project(name: &str) -> wire::Project {
    let created = ago(MINUTE * 190);
    wire::Project {
        name: name.into(),
        url: format!("https://github.com/{name}"),
        forge: "github".into(),
        default_branch: "main".into(),
        enabled: true,
        hook_url: format!("https://ci.acme.example/hooks/github/{name}"),
        created_unix_us: created,
        updated_unix_us: created,
        updated_by: "ada".into(),
        ..wire::Project::default()
    }
}

/// The one task of a run, with its attempts.
pub(crate) fn task(
    run: &wire::RunSummary,
    state: wire::task_state::State,
    attempts: Vec<wire::Attempt>,
) -> wire::Task {
    wire::Task {
        id: Some(wire::TaskId { run: run.id.clone(), index: 0 }),
        name: "main".into(),
        state: Some(wire::TaskState { state: Some(state) }),
        tries: attempts.len() as u32,
        queued_unix_us: run.accepted_unix_us,
        attempts,
        ..wire::Task::default()
    }
}

pub(crate) fn attempt(run: &wire::RunSummary, number: u32, end: Option<wire::Outcome>) -> wire::Attempt {
    let begun = run.accepted_unix_us;
    wire::Attempt {
        number,
        executor: id(0xe0).into(),
        executor_name: "box-1".into(),
        offered_unix_us: begun + 1_200,
        acknowledged_unix_us: begun + 3_000,
        up_unix_us: begun + 310_000,
        first_byte_unix_us: begun + 312_000,
        ended_unix_us: if end.is_some() { begun + 1_440_000 } else { 0 },
        outcome: end,
        log_bytes: 120,
        ..wire::Attempt::default()
    }
}

pub(crate) fn queued() -> wire::task_state::State {
    wire::task_state::State::Queued(wire::task_state::Queued { delay_ms: 0 })
}

pub(crate) fn running(attempt: u32) -> wire::task_state::State {
    wire::task_state::State::Running(wire::task_state::Running { attempt, ..Default::default() })
}

pub(crate) fn tell(run: &wire::RunSummary, task: wire::Task) -> Change {
    Change::Tell(Box::new(wire::WatchRunResponse { run: Some(run.clone()), changed: vec![task] }))
}

pub(crate) fn log(bodies: &[Body<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, body) in bodies.iter().enumerate() {
        let frame =
            Frame { unix_us: 1_795_238_400_000_000 + place as u64 * 1_000, stage: Some(0), body: *body };
        encode(&frame, &mut bytes);
    }
    bytes
}

pub(crate) fn refuse(code: Code, message: &str) -> VecDeque<Status> {
    VecDeque::from([Status::new(code, message)])
}

//! The whole way: from `execute` to the first byte of output, and from a run's end to the next one's.
//!
//! Controller and executors are processes of their own over TCP, as people start them; the client is
//! this program, which is connected, or the command, which is not.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ocelot_e2e::fleet::{Build, Caller, Fleet, RunId, Settings, new_run_id, reference};
use ocelot_e2e::wait::wait_until;
use ocelot_proto::wire;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::engine::Engine;
use super::{Measuring, Row};
use crate::measure::{Effort, Round, in_turns};

/// Runs in one round of a latency row; with the usual seven rounds they are more than 200.
const RUNS: usize = 30;
/// Of the executor of a latency row.
const SLOTS: u32 = 4;
/// Between two runs of a latency row.
const IDLE: Duration = Duration::from_millis(250);
const IMAGE: &str = "ocelot-test/busybox:1";

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "fleet.first_byte.process",
        about: "execute to the first byte at a follower, no container, embedded store, TLS; beside docker run",
        measure: |effort| first_byte(effort, Ground { etcd: 0, tls: true }, Kind::Process),
    },
    Row {
        name: "fleet.first_byte.process_plain",
        about: "the same without TLS",
        measure: |effort| first_byte(effort, Ground { etcd: 0, tls: false }, Kind::Process),
    },
    Row {
        name: "fleet.first_byte.process_etcd",
        about: "the same with etcd and TLS",
        measure: |effort| first_byte(effort, Ground { etcd: 1, tls: true }, Kind::Process),
    },
    Row {
        name: "fleet.first_byte.warm",
        about: "the same in a container that waits, embedded store, TLS; beside docker run",
        measure: |effort| first_byte(effort, Ground { etcd: 0, tls: true }, Kind::Container),
    },
    Row {
        name: "fleet.first_byte.warm_etcd",
        about: "the same with etcd and TLS",
        measure: |effort| first_byte(effort, Ground { etcd: 1, tls: true }, Kind::Container),
    },
    Row {
        name: "fleet.gap.process",
        about: "from a run's end to the next one's first byte, one slot, no container; beside docker run",
        measure: |effort| gap(effort, Kind::Process),
    },
    Row {
        name: "fleet.gap.container",
        about: "the same in containers, of which one waits; beside docker run",
        measure: |effort| gap(effort, Kind::Container),
    },
    Row {
        name: "fleet.first_byte.docker",
        about: "execute to the first byte at a follower, cold container, TLS; beside the engine's own create and start",
        measure: cold_container,
    },
    Row {
        name: "fleet.first_line.command",
        about: "`ocelot execute --follow` from its start to its first line, no container; beside docker run",
        measure: first_line,
    },
];

pub(super) const PROCESS: &str =
    "name: speak\nruntime: process\nstages: [{name: speak, script: echo spoken}]\n";
const CONTAINER: &str =
    "name: speak\nimage: ocelot-test/busybox:1\npull: never\nstages: [{name: speak, script: echo spoken}]\n";

/// What a fleet stands on.
#[derive(Debug, Clone, Copy)]
struct Ground {
    /// Members of an etcd cluster; 0 is the embedded store.
    etcd: usize,
    tls: bool,
}

/// What a job runs in.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Process,
    Container,
}

impl Kind {
    fn job(self) -> &'static str {
        match self {
            Self::Process => PROCESS,
            Self::Container => CONTAINER,
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Process => &[],
            Self::Container => &["--runtime", "docker", "--warm", "4"],
        }
    }

    /// Between two runs of a latency row: the fleet is idle when a person comes, what the run before left
    /// is cleared by then, and the next container waits.
    fn idle(self) -> Duration {
        match self {
            Self::Process => IDLE,
            Self::Container => 4 * IDLE,
        }
    }
}

fn first_byte(effort: Effort, ground: Ground, kind: Kind) -> Measuring {
    Box::pin(async move {
        let fleet = fleet(ground, SLOTS, kind.flags(), kind.job()).await?;
        let caller = fleet.caller(0)?;
        let last = Mutex::new(warmed_up(&caller, kind.idle()).await?);
        let ours = async || spoken_round(&caller, &last, kind.idle()).await;
        let figure = in_turns(&effort, "run/s", "docker run --rm", ours, docker_round).await?;
        eprintln!("{}", phases(&caller, *last.lock().await).await?);
        Ok(figure)
    })
}

fn cold_container(effort: Effort) -> Measuring {
    Box::pin(async move {
        let cold = ["--runtime", "docker", "--warm", "0"];
        let fleet = fleet(Ground { etcd: 0, tls: true }, SLOTS, &cold, CONTAINER).await?;
        let caller = fleet.caller(0)?;
        let idle = Kind::Container.idle();
        let last = Mutex::new(warmed_up(&caller, idle).await?);
        let engine = Engine::isolated().await?;
        let ours = async || spoken_round(&caller, &last, idle).await;
        let figure = in_turns(&effort, "run/s", "the engine's create and start", ours, async || {
            let mut busy = Duration::ZERO;
            let mut round = Round::default();
            for _ in 0..RUNS {
                let took = engine.create_and_start(IMAGE).await?;
                busy += took;
                round.latencies_ms.push(took.as_secs_f64() * 1000.0);
                // An engine that had nothing to do is slower, too.
                tokio::time::sleep(idle).await;
            }
            round.rate = RUNS as f64 / busy.as_secs_f64();
            Ok(round)
        });
        let figure = figure.await;
        engine.remove().await?;
        eprintln!("{}", phases(&caller, *last.lock().await).await?);
        figure
    })
}

/// Runs a few times before anything is measured; returns the last run.
async fn warmed_up(caller: &Caller, idle: Duration) -> Result<RunId> {
    let mut last = new_run_id();
    for _ in 0..3 {
        last = speak(caller).await?.0;
        tokio::time::sleep(idle).await;
    }
    Ok(last)
}

/// Measures the gaps between the runs of a full queue.
fn gap(effort: Effort, kind: Kind) -> Measuring {
    Box::pin(async move {
        let fleet = fleet(Ground { etcd: 0, tls: true }, 1, kind.flags(), kind.job()).await?;
        let caller = fleet.caller(0)?;
        warmed_up(&caller, kind.idle()).await?;
        in_turns(&effort, "run/s", "docker run --rm", async || gaps_round(&caller).await, docker_round).await
    })
}

async fn gaps_round(caller: &Caller) -> Result<Round> {
    let began = Instant::now();
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let run = new_run_id();
        caller.execute_as(run, "speak", &[]).await?;
        runs.push(run);
    }
    let mut phases = Vec::new();
    for run in runs {
        wait_until("the run to end", || caller.outcome(run)).await?;
        let answer = caller.run(run).await?;
        let attempt = answer.tasks.first().and_then(|task| task.attempts.last()).context("an attempt")?;
        phases.push((attempt.first_byte_unix_us, attempt.ended_unix_us));
    }
    phases.sort_unstable();
    let gaps = phases.windows(2).map(|two| (two[1].0 - two[0].1) as f64 / 1000.0);
    let rate = RUNS as f64 / began.elapsed().as_secs_f64();
    Ok(Round { rate, latencies_ms: gaps.collect() })
}

async fn spoken_round(caller: &Caller, last: &Mutex<RunId>, idle: Duration) -> Result<Round> {
    let mut busy = Duration::ZERO;
    let mut round = Round::default();
    for _ in 0..RUNS {
        let began = Instant::now();
        let (run, after) = speak(caller).await?;
        busy += began.elapsed();
        *last.lock().await = run;
        round.latencies_ms.push(after.as_secs_f64() * 1000.0);
        tokio::time::sleep(idle).await;
    }
    round.rate = RUNS as f64 / busy.as_secs_f64();
    Ok(round)
}

async fn fleet(ground: Ground, slots: u32, more: &[&str], job: &str) -> Result<Fleet> {
    let Ground { etcd, tls: beyond } = ground;
    let mut fleet = Fleet::start(Settings { etcd, beyond, ..Settings::embedded(Build::Plain) }).await?;
    fleet.add_executor("bench", slots, more).await?;
    let caller = fleet.caller(0)?;
    caller.online(1).await?;
    caller.put_job(job).await?;
    Ok(fleet)
}

/// Executes, follows, and returns when the first byte came; then waits for the end.
async fn speak(caller: &Caller) -> Result<(RunId, Duration)> {
    let run = new_run_id();
    let began = Instant::now();
    caller.execute_as(run, "speak", &[]).await?;
    let request =
        wire::ReadLogRequest { run: Some(reference(run)), follow: true, ..wire::ReadLogRequest::default() };
    let mut log = caller.runs().read_log(request).await?.into_inner();
    let mut first = None;
    while let Some(piece) = log.message().await? {
        if first.is_none() && contains(&piece.frames, b"spoken") {
            first = Some(began.elapsed());
        }
    }
    let ended = wait_until("the run to end", || caller.outcome(run)).await?;
    ensure!(matches!(ended, wire::outcome::Outcome::Succeeded(_)), "it ended {ended:?}");
    Ok((run, first.context("nothing was spoken")?))
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Returns where the milliseconds of one run went, from its phase record.
async fn phases(caller: &Caller, run: RunId) -> Result<String> {
    let answer = caller.run(run).await?;
    let accepted = answer.run.context("a run")?.accepted_unix_us;
    let task = answer.tasks.first().context("a task")?;
    let attempt = task.attempts.last().context("an attempt")?;
    let after = |at: i64| (at - accepted) as f64 / 1000.0;
    Ok(format!(
        "  after acceptance, ms: offered {:.1}, acknowledged {:.1}, up {:.1}, first byte {:.1}, ended {:.1}",
        after(attempt.offered_unix_us),
        after(attempt.acknowledged_unix_us),
        after(attempt.up_unix_us),
        after(attempt.first_byte_unix_us),
        after(attempt.ended_unix_us)
    ))
}

async fn docker_round() -> Result<Round> {
    let mut round = Round::default();
    let runs = RUNS / 5;
    let began = Instant::now();
    for _ in 0..runs {
        let at = Instant::now();
        let arguments = ["run", "--rm", "--pull", "never", IMAGE, "sh", "-c", "echo spoken"];
        first_line_of("docker", &arguments, &[]).await?;
        round.latencies_ms.push(at.elapsed().as_secs_f64() * 1000.0);
    }
    round.rate = runs as f64 / began.elapsed().as_secs_f64();
    Ok(round)
}

/// Runs a command and waits for the first line on its output; then for its end.
async fn first_line_of(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Duration> {
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut output = BufReader::new(child.stdout.take().context("its output")?);
    let mut line = String::new();
    while !line.contains("spoken") {
        line.clear();
        ensure!(output.read_line(&mut line).await? > 0, "{program} said nothing");
    }
    let after = began.elapsed();
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut output, &mut rest).await?;
    ensure!(child.wait().await?.success(), "{program} failed");
    Ok(after)
}

fn first_line(effort: Effort) -> Measuring {
    Box::pin(async move {
        let fleet = fleet(Ground { etcd: 0, tls: false }, SLOTS, &[], PROCESS).await?;
        let program = Build::Plain.program("ocelot")?.display().to_string();
        let (url, token) = (fleet.url(0), fleet.token().to_owned());
        let environment = [("OCELOT_SERVER", url.as_str()), ("OCELOT_TOKEN", token.as_str())];
        let arguments = ["execute", "speak", "--follow"];
        in_turns(
            &effort,
            "run/s",
            "docker run --rm",
            async || {
                let mut round = Round::default();
                let began = Instant::now();
                for _ in 0..RUNS {
                    let after = first_line_of(&program, &arguments, &environment).await?;
                    round.latencies_ms.push(after.as_secs_f64() * 1000.0);
                }
                round.rate = RUNS as f64 / began.elapsed().as_secs_f64();
                Ok(round)
            },
            docker_round,
        )
        .await
    })
}

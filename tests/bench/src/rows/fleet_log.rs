//! The way of a log: how soon a line is seen, and how much one build can print.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use ocelot_e2e::fleet::{Build, Caller, Fleet, RunId, Settings, new_run_id, reference};
use ocelot_proto::wire;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Measuring, Row};
use crate::measure::{Effort, Round, in_turns};

const MIB: usize = 128;
const LINES: usize = 100;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "fleet.log.rate",
        about: "MB/s of one build that prints as fast as it can, to a follower; beside cat through a pipe",
        measure: rate,
    },
    Row {
        name: "fleet.log.latency",
        about: "from a build's write to the follower; beside a pipe",
        measure: latency,
    },
];

async fn fleet(job: &str) -> Result<Fleet> {
    let mut fleet = Fleet::start(Settings::embedded(Build::Plain)).await?;
    fleet.add_executor("bench", 2, &[]).await?;
    let caller = fleet.caller(0)?;
    caller.online(1).await?;
    caller.put_job(job).await?;
    Ok(fleet)
}

fn rate(effort: Effort) -> Measuring {
    Box::pin(async move {
        let source = tempfile::Builder::new().prefix("ocelot-bench-").tempdir_in(&effort.directory)?;
        let path = source.path().join("text");
        let line = b"   Compiling a-crate-of-some-length v0.1.0 (/build/a-crate-of-some-length)\n";
        std::fs::write(&path, line.repeat((MIB << 20) / line.len()))?;
        let script = format!("cat {}", path.display());
        let job = format!("name: print\nruntime: process\nstages: [{{name: print, script: {script}}}]\n");
        let fleet = fleet(&job).await?;
        let caller = fleet.caller(0)?;
        let used = Mutex::new(Used::default());
        let rounds = Effort { rounds: effort.rounds.min(3), ..effort };
        let figure = in_turns(
            &rounds,
            "MB/s",
            "cat through a pipe",
            async || {
                let before = Used::of(&fleet)?;
                let began = Instant::now();
                let bytes = follow_all(&caller).await?;
                let round =
                    Round { rate: bytes as f64 / 1e6 / began.elapsed().as_secs_f64(), latencies_ms: vec![] };
                *used.lock().await = Used::of(&fleet)?.since(&before);
                Ok(round)
            },
            async || {
                let began = Instant::now();
                let command = format!("cat {} | cat >/dev/null", path.display());
                ensure!(Command::new("sh").args(["-c", &command]).status().await?.success(), "no pipe");
                let bytes = std::fs::metadata(&path)?.len();
                Ok(Round { rate: bytes as f64 / 1e6 / began.elapsed().as_secs_f64(), latencies_ms: vec![] })
            },
        )
        .await?;
        eprintln!("  {}", used.into_inner().line());
        Ok(figure)
    })
}

/// Executes the printing job and returns how many bytes of its log came.
async fn follow_all(caller: &Caller) -> Result<usize> {
    let mut log = follow(caller).await?.1;
    let mut bytes = 0;
    while let Some(piece) = log.message().await? {
        bytes += piece.frames.len();
    }
    Ok(bytes)
}

async fn follow(caller: &Caller) -> Result<(RunId, tonic::Streaming<wire::ReadLogResponse>)> {
    let run = new_run_id();
    caller.execute_as(run, "print", &[]).await?;
    let request =
        wire::ReadLogRequest { run: Some(reference(run)), follow: true, ..wire::ReadLogRequest::default() };
    let mut request = tonic::Request::new(request);
    request.set_timeout(Duration::from_secs(300));
    Ok((run, caller.runs().read_log(request).await?.into_inner()))
}

/// Processor time of the two programs, and the most memory they held.
#[derive(Debug, Default)]
struct Used {
    controller: (f64, u64),
    executor: (f64, u64),
}

impl Used {
    fn of(fleet: &Fleet) -> Result<Self> {
        let of = |pid: Option<u32>| process(pid.context("it does not run")?);
        Ok(Self { controller: of(fleet.controllers[0].pid())?, executor: of(fleet.executors[0].pid())? })
    }

    fn since(self, before: &Self) -> Self {
        let Self { controller, executor } = self;
        Self {
            controller: (controller.0 - before.controller.0, controller.1),
            executor: (executor.0 - before.executor.0, executor.1),
        }
    }

    fn line(&self) -> String {
        let per_gb = |seconds: f64| seconds * 1000.0 / (MIB as f64 * 1.048_576);
        let Self { controller, executor } = self;
        format!(
            "CPU s per GB and most memory: controller {:.1} s {} MB, executor {:.1} s {} MB",
            per_gb(controller.0),
            controller.1 / 1024,
            per_gb(executor.0),
            executor.1 / 1024
        )
    }
}

/// Returns a process's processor seconds and its peak of memory in KiB.
fn process(pid: u32) -> Result<(f64, u64)> {
    let place = Path::new("/proc").join(pid.to_string());
    let stat = std::fs::read_to_string(place.join("stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().context("a stat")?.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    let status = std::fs::read_to_string(place.join("status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a peak")?;
    Ok((ticks / 100.0, peak.trim().trim_end_matches(" kB").parse()?))
}

fn latency(effort: Effort) -> Measuring {
    Box::pin(async move {
        let script =
            format!("i=0; while [ $i -lt {LINES} ]; do date +at:%s%N:; sleep 0.02; i=$((i+1)); done");
        let job = format!("name: print\nruntime: process\nstages: [{{name: print, script: '{script}'}}]\n");
        let fleet = fleet(&job).await?;
        let caller = fleet.caller(0)?;
        in_turns(
            &effort,
            "line/s",
            "the same through a pipe",
            async || {
                let mut log = follow(&caller).await?.1;
                let mut latencies_ms = Vec::new();
                while let Some(piece) = log.message().await? {
                    latencies_ms.extend(ages(&piece.frames));
                }
                ensure!(latencies_ms.len() >= LINES, "{} lines came", latencies_ms.len());
                Ok(Round { rate: 1.0, latencies_ms })
            },
            async || {
                let child =
                    Command::new("sh").args(["-c", &script]).stdout(std::process::Stdio::piped()).spawn();
                let mut output = child?.stdout.take().context("its output")?;
                let mut latencies_ms = Vec::new();
                let mut bytes = [0; 4096];
                while let read @ 1.. = tokio::io::AsyncReadExt::read(&mut output, &mut bytes).await? {
                    latencies_ms.extend(ages(&bytes[..read]));
                }
                Ok(Round { rate: 1.0, latencies_ms })
            },
        )
        .await
    })
}

/// Returns how old the stamps in a piece of output are.
#[expect(clippy::disallowed_methods, reason = "the stamps are of the wall clock of this very machine")]
fn ages(bytes: &[u8]) -> Vec<f64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let text = String::from_utf8_lossy(bytes);
    let stamps = text.split("at:").skip(1).filter_map(|rest| rest.split(':').next()?.parse::<u128>().ok());
    stamps.map(|stamp| now.saturating_sub(stamp) as f64 / 1e6).collect()
}

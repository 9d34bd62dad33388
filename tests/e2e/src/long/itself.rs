//! Ocelot builds itself on two executors, twice: what the caches are worth, and that artifacts arrive.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ocelot_e2e::fleet::{Build, Caller, Ground, Newcomer, RunId, Settings, finished};
use ocelot_e2e::wait::wait_long;
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::Outcome;
use tokio::time::Instant;

const PROJECT: &str = "ocelot/ocelot";
/// A cold build of everything, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

pub(super) async fn row(times: u64) -> Result<()> {
    let mut ground = Ground::start(Settings::embedded(Build::Plain)).await?;
    let done = built(&mut ground, times).await;
    super::kept(ground.fleet, done)
}

async fn built(ground: &mut Ground, times: u64) -> Result<()> {
    let repository = ground.repository(PROJECT, &[])?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = repository.bare.display().to_string();
    let mut push = Command::new("git");
    push.arg("-C").arg(source).args(["push", "--quiet", "--force", &target, "HEAD:refs/heads/main"]);
    ensure!(push.status()?.success(), "this checkout cannot be pushed");
    ground.add_project(PROJECT, wire::ProjectSettings::default()).await?;
    for name in ["one", "two"] {
        ground.add_executor(Newcomer { name, slots: 1, ..Newcomer::default() }).await?;
    }
    let caller = ground.fleet.caller(0)?;
    caller.online(2).await?;
    for time in 1..=times {
        let began = Instant::now();
        let run = ground.build(PROJECT, "").await?;
        let seen = end(&caller, run).await?;
        eprintln!("build {time}: {:.1} s", began.elapsed().as_secs_f64());
        tell(&seen);
        let outcome = finished(&seen);
        if !matches!(outcome, Some(Outcome::Succeeded(_))) {
            for (index, task) in (0..).zip(&seen.tasks).filter(|(_, task)| task.tries > 0) {
                eprintln!("-- {}\n{}", task.name, last_lines(&caller, run, index).await?);
            }
        }
        ensure!(matches!(outcome, Some(Outcome::Succeeded(_))), "it ended {outcome:?}");
    }
    Ok(())
}

async fn end(caller: &Caller, run: RunId) -> Result<wire::GetRunResponse> {
    wait_long("the build to end", PATIENCE, || async {
        let seen = caller.run(run).await?;
        finished(&seen).map(|_| seen).context("it goes on")
    })
    .await
}

fn tell(seen: &wire::GetRunResponse) {
    for task in &seen.tasks {
        let Some(attempt) = task.attempts.last() else {
            eprintln!("  {:<10} {}", task.name, task.note);
            continue;
        };
        let seconds = |from: i64, to: i64| (to - from).max(0) as f64 / 1e6;
        let first_stage = task.stages.first().map_or(0, |stage| stage.began_unix_us);
        let last_stage = task.stages.iter().map(|stage| stage.ended_unix_us).max().unwrap_or(0);
        eprintln!(
            "  {:<10} on {:<4} {:>7.1} s: {:.1} s before its first stage, {:.1} s of stages, {:.1} s after them",
            task.name,
            attempt.executor_name,
            seconds(attempt.acknowledged_unix_us, attempt.ended_unix_us),
            seconds(attempt.acknowledged_unix_us, first_stage),
            seconds(first_stage, last_stage),
            seconds(last_stage, attempt.ended_unix_us),
        );
    }
}

async fn last_lines(caller: &Caller, run: RunId, task: u32) -> Result<String> {
    let reference = Some(ocelot_e2e::fleet::reference(run));
    let request = wire::ReadLogRequest { run: reference, task, ..wire::ReadLogRequest::default() };
    let mut stream = caller.runs().read_log(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await? {
        bytes.extend_from_slice(&piece.frames);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<_> = text.lines().rev().take(20).collect();
    Ok(lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

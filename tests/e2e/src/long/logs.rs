//! Logs under kills: what a build wrote is what a reader gets, byte for byte.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ocelot_core::frame::{Body, Decoder, Offset};
use ocelot_e2e::fleet::{Build, Fleet, RunId};
use ocelot_proto::wire::outcome::Outcome;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Chance;

/// An executor is killed and started within five seconds while a build prints for `seconds`.
pub(super) async fn readopt(seconds: u64) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    let copy = fleet.path("copy");
    let script = format!(
        "i=0; while [ $i -lt {} ]; do n=0; while [ $n -lt 100 ]; do echo \"line $i $n of a build that prints\"; \
         n=$((n+1)); done | tee -a {}; i=$((i+1)); sleep 0.1; done",
        seconds * 10,
        copy.display()
    );
    caller
        .put_job(&format!("name: print\nruntime: process\nstages: [{{name: print, script: '{script}'}}]\n"))
        .await?;
    fleet.add_executor("one", 1, &[]).await?;
    caller.online(1).await?;
    let run = caller.execute("print", &[]).await?;
    let attempt = caller.running(run).await?;
    tokio::time::sleep(Duration::from_secs(seconds / 3)).await;
    fleet.executors[0].kill()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.executors[0].start()?;
    let outcome = loop {
        if let Ok(outcome) = caller.outcome(run).await {
            break outcome;
        }
    };
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "it ended {outcome:?}");
    let now = caller.run(run).await?.tasks[0].attempts.last().map(|last| last.number);
    ensure!(now == Some(attempt), "it was attempt {attempt} and is {now:?}");
    let (written, read) = (std::fs::read(&copy)?, output(&fleet, run).await?);
    eprintln!(
        "attempt {attempt} before and after; {} lines, {} bytes written, {} read, equal: {}",
        written.iter().filter(|byte| **byte == b'\n').count(),
        written.len(),
        read.len(),
        written == read
    );
    ensure!(written == read, "the log is not what the build wrote");
    Ok(())
}

/// Builds print `MIB` each under kills of executor and controller.
pub(super) async fn row(count: u64, seed: u64) -> Result<()> {
    const MIB: usize = 16;
    let began = Instant::now();
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    let source = fleet.path("source");
    let mut chance = Chance(seed);
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789 \n";
    let text: Vec<u8> = (0..MIB << 20).map(|_| letters[chance.below(letters.len())]).collect();
    std::fs::write(&source, &text)?;
    let digest = Sha256::digest(&text);
    let script = format!("dd if={} bs=64k 2>/dev/null", source.display());
    caller
        .put_job(&format!("name: print\nruntime: process\nstages: [{{name: print, script: '{script}'}}]\n"))
        .await?;
    fleet.add_executor("one", 2, &[]).await?;
    caller.online(1).await?;
    let mut open: Vec<RunId> = Vec::new();
    for _ in 0..count {
        open.push(caller.execute("print", &[]).await?);
    }
    let mut kills = 0;
    let mut equal = 0;
    while let Some(run) = open.first().copied() {
        if kills < 20 {
            tokio::time::sleep(Duration::from_millis(300 + chance.below(900) as u64)).await;
            if chance.below(2) == 0 {
                fleet.executors[0].kill_and_start()?;
            } else {
                fleet.controllers[0].kill_and_start()?;
            }
            kills += 1;
            let Ok(answer) = caller.run(run).await else { continue };
            if ocelot_e2e::fleet::finished(&answer).is_none() {
                continue;
            }
        }
        let outcome = caller.outcome(run).await.with_context(|| fleet.last_words())?;
        ensure!(matches!(outcome, Outcome::Succeeded(_)), "it ended {outcome:?}");
        equal += usize::from(Sha256::digest(output(&fleet, run).await?) == digest);
        open.remove(0);
    }
    eprintln!(
        "{count} runs of {MIB} MiB, seed {seed}, {kills} kills, {:.0} s: sha256 equal in {equal}",
        began.elapsed().as_secs_f64()
    );
    ensure!(equal as u64 == count, "a log is not what its build wrote");
    Ok(())
}

/// Returns what the stages wrote, out of the frames of the newest attempt's log.
async fn output(fleet: &Fleet, run: RunId) -> Result<Vec<u8>> {
    let bytes = fleet.caller(0)?.log(run, 0).await?;
    let mut decoder = Decoder::at(Offset(0));
    decoder.push(&bytes);
    let mut output = Vec::new();
    while let Some(frame) = decoder.next_frame()? {
        if let Body::Stdout(bytes) | Body::Stderr(bytes) = frame.body {
            output.extend_from_slice(bytes);
        }
    }
    Ok(output)
}

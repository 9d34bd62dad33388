//! Logs under kills: what a build wrote is what a reader gets, byte for byte.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use ocelot_core::frame::{Body, Decoder, Offset};
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Fleet, RunId, finished};
use ocelot_e2e::wait::{wait_long, wait_until};
use ocelot_proto::wire::Attempt;
use ocelot_proto::wire::outcome::Outcome;
use tokio::time::Instant;

use super::{Chance, kept};

const MIB: usize = 16;
const KILLS: usize = 20;

/// An executor is killed and started within five seconds while a build prints for `seconds`.
pub(super) async fn readopt(seconds: u64) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let done = killed_once(&mut fleet, seconds).await;
    kept(fleet, done)
}

async fn killed_once(fleet: &mut Fleet, seconds: u64) -> Result<()> {
    let caller = fleet.caller(0)?;
    let copy = fleet.path("copy");
    // A hundred lines, and a wait until their tenth of a second is over by the machine's uptime.
    let script = format!(
        "now() {{ IFS=\". \" read s c rest < /proc/uptime; up=$((s*100+1$c-100)); }}; now; due=$up; i=0; \
         while [ $i -lt {} ]; do n=0; while [ $n -lt 100 ]; do echo \"line $i $n of a build that prints\"; \
         n=$((n+1)); done | tee -a {}; i=$((i+1)); due=$((due+10)); \
         while now; [ $up -lt $due ]; do sleep 0.01; done; done",
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
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds / 3)).await;
    let at = Instant::now();
    fleet.executors[0].kill()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.executors[0].start()?;
    let away = at.elapsed();
    let last = succeeded(fleet, run, Duration::from_secs(120 + 4 * seconds)).await?;
    let took = began.elapsed().as_secs_f64();
    let (written, read) = (std::fs::read(&copy)?, output(fleet, run).await?);
    let lines = written.iter().filter(|byte| **byte == b'\n').count();
    eprintln!(
        "executor away for {:.1} s; attempt {attempt} before and {} after; {lines} lines in {took:.0} s ({:.0} a \
         second), {} bytes written, {} read, equal: {}",
        away.as_secs_f64(),
        last.number,
        lines as f64 / took,
        written.len(),
        read.len(),
        written == read
    );
    ensure!(last.number == attempt, "it was attempt {attempt} and is {}", last.number);
    ensure!(lines as u64 == seconds * 1000, "the build wrote {lines} lines");
    ensure!(written == read, "the log is not what the build wrote: {}", difference(&written, &read));
    Ok(())
}

/// Builds print `MIB` each under kills of executor and controller.
pub(super) async fn row(count: u64, seed: u64) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let done = under_kills(&mut fleet, count, seed).await;
    kept(fleet, done)
}

async fn under_kills(fleet: &mut Fleet, count: u64, seed: u64) -> Result<()> {
    let began = Instant::now();
    let mut chance = Chance(seed);
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789 \n";
    let text: Vec<u8> = (0..MIB << 20).map(|_| letters[chance.below(letters.len())]).collect();
    let source = fleet.path("source");
    std::fs::write(&source, &text)?;
    let written = digest(&SHA256, &text);
    // Bursts of a mebibyte as fast as they go, with pauses, so that the kills spread over all builds.
    let script = format!(
        "i=0; while [ $i -lt {MIB} ]; do dd if={} bs=1M skip=$i count=1 2>/dev/null; i=$((i+1)); sleep 0.4; done",
        source.display()
    );
    let caller = fleet.caller(0)?;
    caller
        .put_job(&format!("name: print\nruntime: process\nstages: [{{name: print, script: '{script}'}}]\n"))
        .await?;
    fleet.add_executor("one", 2, &[]).await?;
    caller.online(1).await?;
    let mut runs: Vec<RunId> = Vec::new();
    for _ in 0..count {
        runs.push(caller.execute("print", &[]).await?);
    }
    let over = Cell::new(false);
    let ended = async {
        for run in &runs {
            let ask = || async { finished(&caller.run(*run).await?).context("it goes on") };
            wait_long("the run to end", Duration::from_secs(60 + 30 * count), ask).await?;
        }
        over.set(true);
        anyhow::Ok(())
    };
    let ((), kills) = tokio::try_join!(ended, kill(fleet, &mut chance, &over))?;
    let mut equal = 0;
    let mut first = 0;
    for run in &runs {
        let last = succeeded(fleet, *run, Duration::from_secs(60)).await?;
        first += usize::from(last.number == 1);
        let read = output(fleet, *run).await?;
        match digest(&SHA256, &read).as_ref() == written.as_ref() {
            true => equal += 1,
            false => eprintln!("  {}: {}", Id::from_bytes(*run), difference(&text, &read)),
        }
    }
    eprintln!(
        "{count} runs of {MIB} MiB, seed {seed}, {kills:?} kills of (executor, controller), {:.0} s: sha256 equal \
         in {equal}, by their first attempt {first}",
        began.elapsed().as_secs_f64()
    );
    ensure!(equal as u64 == count, "a log is not what its build wrote");
    Ok(())
}

/// Kills and starts executor and controller at random times until all is over or so many were killed.
async fn kill(fleet: &mut Fleet, chance: &mut Chance, over: &Cell<bool>) -> Result<(usize, usize)> {
    let mut kills = (0, 0);
    while kills.0 + kills.1 < KILLS {
        tokio::time::sleep(Duration::from_millis(2000 + chance.below(4000) as u64)).await;
        if over.get() {
            break;
        }
        if chance.below(2) == 0 {
            fleet.executors[0].kill_and_start()?;
            kills.0 += 1;
        } else {
            fleet.controllers[0].kill_and_start()?;
            kills.1 += 1;
        }
    }
    Ok(kills)
}

/// Waits for the run's end, which must be a good one with a whole log, and returns its last attempt.
async fn succeeded(fleet: &Fleet, run: RunId, limit: Duration) -> Result<Attempt> {
    let caller = fleet.caller(0)?;
    let ended = wait_long("the run to end", limit, || async {
        let answer = caller.run(run).await?;
        let outcome = finished(&answer).context("it goes on")?;
        anyhow::Ok((outcome, answer.tasks[0].attempts.last().cloned()))
    });
    let (outcome, last) = ended.await.with_context(|| fleet.last_words())?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "it ended {outcome:?}\n{}", fleet.last_words());
    let last = last.context("an attempt")?;
    ensure!(last.loss.is_none(), "its log has a loss: {:?}", last.loss);
    Ok(last)
}

/// Returns what the stages wrote, out of the frames of the newest attempt's log.
async fn output(fleet: &Fleet, run: RunId) -> Result<Vec<u8>> {
    let caller = fleet.caller(0)?;
    let bytes = wait_until("the log", || caller.log(run, 0)).await?;
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

/// Tells where two logs part.
fn difference(written: &[u8], read: &[u8]) -> String {
    let at = written.iter().zip(read).take_while(|(one, other)| one == other).count();
    let near = |bytes: &[u8]| {
        let piece = &bytes[at.saturating_sub(40)..(at + 40).min(bytes.len())];
        String::from_utf8_lossy(piece).into_owned()
    };
    format!(
        "{} bytes written, {} read, equal up to {at}: {:?} is {:?}",
        written.len(),
        read.len(),
        near(written),
        near(read)
    )
}

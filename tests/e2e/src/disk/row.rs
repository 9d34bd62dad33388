//! What happens while the disks of an executor and of its controller fill and are freed, told ten
//! seconds by ten seconds.

use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ocelot_e2e::fleet::{Build, Fleet, Ground, Newcomer, RunId, Settings, finished};
use ocelot_e2e::wait::wait_long;
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::Outcome;
use tokio::time::Instant;

use super::small::SmallDisk;
use super::{BUILD, MARKS, Printer, ask, leave, noise, output, refusing, whole};
use crate::long::kept;

const TICK: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Prints half a mebibyte.
const LOAD: &str = "name: load\nruntime: process\nstages: [{name: print, script: 'head -c 393216 /dev/urandom | \
                    base64 | tee DIR/load-$OCELOT_RUN_ID'}]\n";

/// What is done to the disks, in thirds of a quarter of the time.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Nothing,
    ExecutorBelowItsMark,
    ExecutorToTheBrim,
    ExecutorFreed,
    ControllerNearlyFull,
    ControllerToTheBrim,
    ControllerFreed,
}

const DEEDS: [(Deed, &str); 7] = [
    (Deed::Nothing, "both disks have room"),
    (Deed::ExecutorBelowItsMark, "somebody fills the executor's disk to 44 MiB free: below its mark of 48"),
    (Deed::ExecutorToTheBrim, "somebody fills the executor's disk to the brim"),
    (Deed::ExecutorFreed, "the executor's disk is freed"),
    (Deed::ControllerNearlyFull, "somebody fills the controller's disk to 1 GiB free"),
    (Deed::ControllerToTheBrim, "somebody fills the controller's disk to the brim"),
    (Deed::ControllerFreed, "the controller's disk is freed"),
];

struct Disks {
    executor: SmallDisk,
    controller: SmallDisk,
}

impl Disks {
    fn suffer(&mut self, deed: Deed) -> Result<()> {
        match deed {
            Deed::Nothing => Ok(()),
            Deed::ExecutorBelowItsMark => self.executor.fill_to(44),
            Deed::ExecutorToTheBrim => self.executor.fill_to_the_brim(),
            Deed::ExecutorFreed => self.executor.clear(),
            Deed::ControllerNearlyFull => self.controller.fill_to(1024),
            Deed::ControllerToTheBrim => self.controller.fill_to_the_brim(),
            Deed::ControllerFreed => self.controller.clear(),
        }
    }
}

/// Takes about so many minutes.
pub(crate) async fn row(minutes: u64) -> Result<()> {
    let mut disks = Disks { executor: SmallDisk::new(192)?, controller: SmallDisk::new(4096)? };
    let data = Some(disks.controller.mount().join("controller"));
    let mut ground = Ground::start(Settings { data, ..Settings::embedded(Build::Plain) }).await?;
    let done = filled(&mut ground, &mut disks, minutes).await;
    kept(ground.fleet, done)
}

async fn filled(ground: &mut Ground, disks: &mut Disks, minutes: u64) -> Result<()> {
    prepare(ground, disks).await?;
    let fleet = &ground.fleet;
    let caller = fleet.caller(0)?;
    let printer = Printer { folder: fleet.folder().to_owned(), name: "print" };
    caller.put_job(&printer.job()).await?;
    let long = caller.execute("print", &[]).await?;
    caller.running(long).await?;
    let began = Instant::now();
    let ticks = minutes * 6;
    let (mut runs, mut refused, mut said) = (Vec::new(), 0, Said::default());
    let mut deed = None;
    for tick in 0..ticks {
        let now = usize::try_from(tick * DEEDS.len() as u64 / ticks)?;
        if deed != Some(now) {
            deed = Some(now);
            let (what, words) = DEEDS[now];
            eprintln!("{:>4} s  {words}", began.elapsed().as_secs());
            disks.suffer(what)?;
        }
        let part = usize::try_from(tick)?;
        printer.let_print(part)?;
        let until = Instant::now() + TICK;
        let before = (runs.len(), refused);
        let mut why = String::new();
        while Instant::now() < until {
            match ask(&caller, "load").await {
                Ok(run) => runs.push(run),
                Err(status) => {
                    refused += 1;
                    why = status.message().chars().take(60).collect();
                }
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        let counts = (runs.len() - before.0, refused - before.1);
        tell(fleet, disks, began, &runs, counts, &why).await?;
        said.tell(fleet, began);
    }
    printer.let_print_all()?;
    judge(fleet, &runs, refused, long, &printer, began).await
}

/// A mirror and something left on the executor's disk.
async fn prepare(ground: &mut Ground, disks: &Disks) -> Result<()> {
    symlink(disks.executor.mount(), ground.fleet.path("one"))?;
    ground.add_executor(Newcomer { name: "one", slots: 3, more: &MARKS, ..Newcomer::default() }).await?;
    let caller = ground.fleet.caller(0)?;
    caller.online(1).await?;
    let repository = ground.repository("acme/app", &[("small", "words\n")])?;
    std::fs::write(repository.work.join("large"), (0..12 << 10).flat_map(noise).collect::<Vec<u8>>())?;
    repository.commit("Grow")?;
    repository.push("main")?;
    ground.add_project("acme/app", wire::ProjectSettings::default()).await?;
    let run = ground.build("acme/app", BUILD).await?;
    let outcome = caller.outcome(run).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    leave(&disks.executor)?;
    caller.put_job(&LOAD.replace("DIR", &ground.fleet.folder().display().to_string())).await
}

async fn tell(
    fleet: &Fleet,
    disks: &Disks,
    began: Instant,
    runs: &[RunId],
    (accepted, refused): (usize, usize),
    why: &str,
) -> Result<()> {
    let caller = fleet.caller(0)?;
    let mut ended = 0;
    for run in runs {
        ended += usize::from(finished(&caller.run(*run).await?).is_some());
    }
    let takes = refusing(&caller).await.unwrap_or_else(|error| Some(error.to_string()));
    eprintln!(
        "{:>4} s  free: executor {:>3} MiB, controller {:>4} MiB; runs: {accepted} accepted, {refused} refused{}, {ended} \
         of {} ended; the executor {}",
        began.elapsed().as_secs(),
        disks.executor.free()? >> 20,
        disks.controller.free()? >> 20,
        if why.is_empty() { String::new() } else { format!(" ({why}..)") },
        runs.len(),
        takes.map_or_else(|| "takes work".to_owned(), |why| format!("refuses: {why}")),
    );
    Ok(())
}

/// What both programs said of their disks, told once.
#[derive(Default)]
struct Said(usize, usize);

impl Said {
    fn tell(&mut self, fleet: &Fleet, began: Instant) {
        let words = ["freed", "disk", "mirror", "room"];
        let told = |who: &str, said: &str, from: &mut usize| {
            let new = said.get(*from..).unwrap_or_default();
            let lines = new.lines().filter(|line| words.iter().any(|word| line.contains(word)));
            for line in lines.take(6) {
                eprintln!("{:>4} s    {who} says: {}", began.elapsed().as_secs(), line.trim());
            }
            *from = said.len();
        };
        told("the executor", &fleet.executors[0].said(), &mut self.0);
        told("the controller", &fleet.controllers[0].said(), &mut self.1);
    }
}

async fn judge(
    fleet: &Fleet,
    runs: &[RunId],
    refused: usize,
    long: RunId,
    printer: &Printer,
    began: Instant,
) -> Result<()> {
    let caller = fleet.caller(0)?;
    let (mut good, mut same) = (0, 0);
    for run in runs {
        let ask = || async { finished(&caller.run(*run).await?).context("it goes on") };
        let outcome = wait_long("a run to end", Duration::from_secs(180), ask).await?;
        good += usize::from(matches!(outcome, Outcome::Succeeded(_)));
        let id = ocelot_core::id::RunId::from_bytes(*run).to_string();
        let copy = std::fs::read(fleet.path(&format!("load-{id}"))).unwrap_or_default();
        same += usize::from(!copy.is_empty() && output(&caller, *run).await? == copy);
        if !matches!(outcome, Outcome::Succeeded(_)) {
            eprintln!("        {id}: {outcome:?}");
        }
    }
    whole(fleet, long, printer).await?;
    eprintln!(
        "{:.0} s: {} runs accepted, {refused} refused; {good} succeeded, {same} with their whole log; the one that \
         ran through it all took one attempt, and its log is whole",
        began.elapsed().as_secs_f64(),
        runs.len()
    );
    ensure!(good == runs.len() && same == runs.len(), "a run or its log was lost");
    Ok(())
}

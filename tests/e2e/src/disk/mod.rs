//! Disks that fill to the brim under real processes: an executor's and a controller's, each a small one
//! of its own. New work is refused with that reason, what runs goes on, and nobody has to help.

mod row;
mod small;

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use ocelot_core::frame::{Body, Decoder, Offset};
use ocelot_e2e::fleet::{Build, Caller, Fleet, Ground, Newcomer, RunId, Settings, finished, new_run_id};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::{wait_long, wait_until};
use ocelot_proto::wire;
use ocelot_proto::wire::executor_state::State;
use ocelot_proto::wire::outcome::Outcome;

use small::SmallDisk;

pub(crate) use row::row;

/// Collection goes on twice a minute.
const PATIENCE: Duration = Duration::from_secs(120);
const LINES: usize = 40;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("disk::an_executor_whose_disk_is_full_makes_room_and_takes_work_again_by_itself", executor),
        trial("disk::a_controller_whose_disk_is_full_keeps_what_it_has_and_goes_on_by_itself", controller),
        trial("disk::collection_by_hand_says_what_goes_and_takes_only_that", by_hand),
    ]
}

/// Prints many lines whenever it is let, and keeps a copy of them elsewhere.
struct Printer {
    folder: PathBuf,
    name: &'static str,
}

impl Printer {
    /// Of each part: 64 KiB.
    fn job(&self) -> String {
        let folder = self.folder.display();
        let name = self.name;
        let script = format!(
            "i=0; while [ $i -lt {LINES} ]; do until [ -e {folder}/{name}-$i ] || [ -e {folder}/{name}-all ]; do \
             sleep 0.05; done; n=0; while [ $n -lt 1024 ]; do \
             echo \"part $i line $n of {name}, with as many words as make sixty-four bytes\"; n=$((n+1)); done \
             | tee -a {folder}/{name}-copy; i=$((i+1)); done"
        );
        format!("name: {name}\nruntime: process\nstages: [{{name: print, script: '{script}'}}]\n")
    }

    /// Lets it print one part.
    fn let_print(&self, part: usize) -> Result<()> {
        Ok(std::fs::write(self.folder.join(format!("{}-{part}", self.name)), "")?)
    }

    fn let_print_all(&self) -> Result<()> {
        Ok(std::fs::write(self.folder.join(format!("{}-all", self.name)), "")?)
    }

    fn copy(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.folder.join(format!("{}-copy", self.name)))?)
    }
}

/// Returns what stages wrote, out of the frames of a run's log.
async fn output(caller: &Caller, run: RunId) -> Result<Vec<u8>> {
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

/// Waits for a good end by the first attempt, with every byte of the log.
async fn whole(fleet: &Fleet, run: RunId, printer: &Printer) -> Result<()> {
    let caller = fleet.caller(0)?;
    let ended = wait_long("the run to end", PATIENCE, || async {
        let answer = caller.run(run).await?;
        let outcome = finished(&answer).context("it goes on")?;
        anyhow::Ok((outcome, answer.tasks[0].attempts.last().cloned().context("an attempt")?))
    });
    let (outcome, last) = ended.await.with_context(|| fleet.last_words())?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "it ended {outcome:?}\n{}", fleet.last_words());
    ensure!(last.number == 1, "it took {} attempts", last.number);
    ensure!(last.loss.is_none(), "its log has a loss: {:?}", last.loss);
    let (written, read) = (printer.copy()?, output(&caller, run).await?);
    ensure!(written.iter().filter(|byte| **byte == b'\n').count() == LINES * 1024, "the copy is not whole");
    ensure!(written == read, "{} bytes were written and {} read", written.len(), read.len());
    Ok(())
}

/// Why the executor takes nothing just now; none: it does.
async fn refusing(caller: &Caller) -> Result<Option<String>> {
    let all = caller.executors().await?;
    let state = all.first().context("an executor")?.state.clone().and_then(|state| state.state);
    match state {
        Some(State::Online(_)) => Ok(None),
        Some(State::Refusing(refusing)) => Ok(Some(refusing.reason)),
        other => bail!("it is {other:?}"),
    }
}

async fn until_refusing(caller: &Caller, words: &str) -> Result<String> {
    wait_long("the executor to refuse", PATIENCE, || async {
        let why = refusing(caller).await?.context("it takes work")?;
        ensure!(why.contains(words), "it refuses: {why}");
        Ok(why)
    })
    .await
}

async fn until_taking(fleet: &Fleet) -> Result<()> {
    let caller = fleet.caller(0)?;
    let taking = wait_long("the executor to take work", PATIENCE, || async {
        ensure!(refusing(&caller).await?.is_none(), "it refuses");
        Ok(())
    });
    taking.await.with_context(|| fleet.last_words())
}

/// Asks once for a run; the error is why it was refused.
async fn ask(caller: &Caller, job: &str) -> Result<RunId, tonic::Status> {
    let id = new_run_id();
    let request = wire::ExecuteRequest {
        id: id.to_vec().into(),
        job: job.to_owned(),
        ..wire::ExecuteRequest::default()
    };
    caller.runs().execute(request).await.map(|_| id)
}

const QUICK: &str = "name: quick\nruntime: process\nstages: [{name: say, script: echo quick}]\n";
const BUILD: &str =
    "version: 1\ntasks:\n  look:\n    runtime: process\n    stages: [{name: look, script: cat small}]\n";
/// How much of its disk the executor of these trials wants.
const MARKS: [&str; 6] = ["--disk-floor", "32MiB", "--collect-below", "48MiB", "--collect-until", "64MiB"];

/// A fleet whose executor has a small disk, with a mirror on it and with something that is left.
async fn small_executor(disk: &SmallDisk) -> Result<Ground> {
    let mut ground = Ground::start(Settings::embedded(Build::Plain)).await?;
    symlink(disk.mount(), ground.fleet.path("one"))?;
    ground.add_executor(Newcomer { name: "one", slots: 2, more: &MARKS, ..Newcomer::default() }).await?;
    let caller = ground.fleet.caller(0)?;
    caller.online(1).await?;
    let repository = ground.repository("acme/app", &[("small", "words\n")])?;
    // Nothing of it can be packed.
    let noise: Vec<u8> = (0..8 << 10).flat_map(|part: u64| noise(part)).collect();
    std::fs::write(repository.work.join("large"), noise)?;
    repository.commit("Grow")?;
    repository.push("main")?;
    ground.add_project("acme/app", wire::ProjectSettings::default()).await?;
    let run = ground.build("acme/app", BUILD).await?;
    let outcome = caller.outcome(run).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    Ok(ground)
}

/// A kibibyte that looks random.
fn noise(seed: u64) -> Vec<u8> {
    let mut chance = crate::long::Chance(seed);
    (0..1024).map(|_| chance.below(256) as u8).collect()
}

fn mirrors(disk: &SmallDisk) -> Result<usize> {
    Ok(std::fs::read_dir(disk.mount().join("mirrors"))?.count())
}

/// Leaves what an earlier process of the executor could have left.
fn leave(disk: &SmallDisk) -> Result<PathBuf> {
    let left = disk.mount().join("attempts/ready-0-1");
    std::fs::create_dir_all(left.join("workspace"))?;
    std::fs::write(left.join("workspace/large"), vec![1; 4 << 20])?;
    Ok(left)
}

async fn executor() -> Result<()> {
    let mut disk = SmallDisk::new(128)?;
    let ground = small_executor(&disk).await?;
    let fleet = &ground.fleet;
    let caller = fleet.caller(0)?;
    let printer = Printer { folder: fleet.folder().to_owned(), name: "print" };
    caller.put_job(&printer.job()).await?;
    caller.put_job(QUICK).await?;
    let left = leave(&disk)?;
    ensure!(mirrors(&disk)? == 1);
    let run = caller.execute("print", &[]).await?;
    caller.running(run).await?;
    printer.let_print(0)?;
    prints(&caller, run, &printer, 1).await?;

    // Full: it refuses, says why, and gives back what it can of its own.
    disk.fill_to_the_brim()?;
    let why = until_refusing(&caller, "MiB of disk are free, and its floor is 32 MiB").await?;
    ensure!(why.starts_with(char::is_numeric), "{why}");
    wait_long("the mirror and what is left to go", PATIENCE, || async {
        ensure!(!left.exists() && mirrors(&disk)? == 0, "{} MiB free", disk.free()? >> 20);
        Ok(())
    })
    .await
    .with_context(|| fleet.last_words())?;
    wait_until("the report of both", || async {
        let said = fleet.executors[0].said();
        let freed = said.lines().find(|line| line.contains("freed 1 ")).context("no report")?;
        ensure!(freed.contains("1 mirror") || said.contains("freed 1 mirror"), "{said}");
        Ok(())
    })
    .await?;

    // It was not enough, and the disk fills again: a run waits, and the one that runs goes on or waits.
    disk.fill_to_the_brim()?;
    let waiting = caller.execute("quick", &[]).await?;
    printer.let_print_all()?;
    until_refusing(&caller, "0 MiB of disk are free").await?;
    ensure!(finished(&caller.run(waiting).await?).is_none(), "it ran on a disk below its floor");
    ensure!(finished(&caller.run(run).await?).is_none(), "it ended on a full disk");

    // Room again: nobody has to say so.
    disk.clear()?;
    until_taking(fleet).await?;
    let outcome = caller.outcome(waiting).await.with_context(|| fleet.last_words())?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    whole(fleet, run, &printer).await?;
    // The mirror is made again.
    let run = ground.build("acme/app", BUILD).await?;
    let outcome = caller.outcome(run).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    ensure!(mirrors(&disk)? == 1);
    Ok(())
}

async fn controller() -> Result<()> {
    let mut disk = SmallDisk::new(4096)?;
    let data = Some(disk.mount().join("controller"));
    let mut fleet = Fleet::start(Settings { data, ..Settings::embedded(Build::Plain) }).await?;
    let done = full_controller(&mut fleet, &mut disk).await;
    done.with_context(|| fleet.last_words())
}

async fn full_controller(fleet: &mut Fleet, disk: &mut SmallDisk) -> Result<()> {
    let caller = fleet.caller(0)?;
    let printer = Printer { folder: fleet.folder().to_owned(), name: "print" };
    caller.put_job(&printer.job()).await?;
    caller.put_job(QUICK).await?;
    fleet.add_executor("one", 2, &["--disk-floor", "0"]).await?;
    caller.online(1).await?;
    let pid = fleet.controllers[0].pid();
    let run = caller.execute("print", &[]).await?;
    caller.running(run).await?;
    printer.let_print(0)?;
    prints(&caller, run, &printer, 1).await?;

    // Nearly full: no new runs, and what runs goes on.
    disk.fill_to(1024)?;
    until_refused(&caller).await?;
    printer.let_print(1)?;
    prints(&caller, run, &printer, 2).await?;

    // To the brim: the executor keeps what the controller cannot take.
    disk.fill_to_the_brim()?;
    printer.let_print_all()?;
    wait_until("all to be printed", || async {
        let printed = lines(&printer)?;
        ensure!(printed == LINES * 1024, "{printed} lines");
        Ok(())
    })
    .await?;
    let had = output(&caller, run).await?;
    ensure!(printer.copy()?.starts_with(&had), "what was acknowledged changed");
    ensure!(finished(&caller.run(run).await?).is_none(), "its end was recorded on a full disk");
    until_refused(&caller).await?;

    // Room again, and no restart.
    disk.clear()?;
    let quick = wait_long("a new run", PATIENCE, || ask(&caller, "quick")).await?;
    whole(fleet, run, &printer).await?;
    let outcome = caller.outcome(quick).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    ensure!(fleet.controllers[0].pid() == pid && fleet.controllers[0].is_running());
    Ok(())
}

fn lines(printer: &Printer) -> Result<usize> {
    Ok(printer.copy()?.iter().filter(|byte| **byte == b'\n').count())
}

/// Waits until the controller has so many parts.
async fn prints(caller: &Caller, run: RunId, printer: &Printer, parts: usize) -> Result<()> {
    wait_until("the log to grow", || async {
        let read = output(caller, run).await?;
        let count = read.iter().filter(|byte| **byte == b'\n').count();
        ensure!(count == parts * 1024 && printer.copy()? == read, "{count} lines");
        Ok(())
    })
    .await
}

async fn until_refused(caller: &Caller) -> Result<()> {
    wait_until("runs to be refused", || async {
        match ask(caller, "quick").await {
            Ok(_) => bail!("it was accepted"),
            Err(status) => {
                ensure!(status.code() == tonic::Code::ResourceExhausted, "{status:?}");
                ensure!(status.message().contains("the controller's disk is nearly full"), "{status:?}");
                Ok(())
            }
        }
    })
    .await
}

async fn by_hand() -> Result<()> {
    let mut disk = SmallDisk::new(128)?;
    let mut ground = small_executor(&disk).await?;
    let left = leave(&disk)?;
    let (done, said) = collect(&ground.fleet, &[])?;
    ensure!(!done && said.contains("nothing was collected"), "an executor runs there: {said}");
    ground.fleet.executors[0].terminate().await?;
    let fleet = &ground.fleet;
    let (done, said) = collect(fleet, &["--dry-run"])?;
    ensure!(done && said.starts_with("it would be: freed 1 left-over directory 4 MiB; "), "{said}");
    ensure!(left.exists());
    disk.fill_to(40)?;
    let (done, said) = collect(fleet, &[])?;
    ensure!(
        done && said.starts_with("freed 1 mirror ") && said.contains(", 1 left-over directory 4 MiB; "),
        "{said}"
    );
    ensure!(!left.exists() && mirrors(&disk)? == 0);
    ensure!(disk.mount().join("executor.key").exists());
    Ok(())
}

/// Collects by hand, and returns whether that worked and what it said.
fn collect(fleet: &Fleet, more: &[&str]) -> Result<(bool, String)> {
    let data = fleet.path("one").display().to_string();
    let words = [&["collect", "--data", &data, "--runtime", "process"][..], &MARKS, more].concat();
    let output = fleet.run("ocelot-executor", &words)?;
    Ok((output.status.success(), String::from_utf8([output.stdout, output.stderr].concat())?))
}

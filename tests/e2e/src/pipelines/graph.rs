//! A graph of twelve tasks on three machines, one of which is lost in the middle and comes back when
//! all is over.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Caller, Fleet, Ground, Newcomer, RunId, Settings, finished};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::{wait_long, wait_until};
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::Outcome;
use tokio::time::Instant;

use super::semantics::told;

const DEFINITION: &str = include_str!("graph.yml");
const PROJECT: &str = "acme/shop";
const EXECUTORS: [&str; 3] = ["one", "two", "three"];
/// Six slots for four tasks at the gate: no machine has more than two of them.
const SLOTS: u32 = 2;
/// A machine is missed only when its session has run out.
const PATIENCE: Duration = Duration::from_secs(180);
/// Each task, how it ends, and the tries that it takes if no machine of its is lost.
const ENDS: [(&str, &str, u32); 12] = [
    ("seed", "succeeded", 1),
    ("lint", "failed, stage work, exit 3", 1),
    ("build[arch=arm]", "succeeded", 1),
    ("build[arch=wasm]", "succeeded", 1),
    ("build[arch=x86]", "succeeded", 1),
    ("check[db=one,mode=fast]", "succeeded", 1),
    ("check[db=one,mode=slow]", "succeeded", 1),
    ("check[db=two,mode=fast]", "succeeded", 1),
    ("check[db=two,mode=slow]", "succeeded", 1),
    ("package", "succeeded", 1),
    ("publish", "succeeded", 1),
    ("mourn", "skipped", 0),
];

pub(super) fn trials() -> Vec<Trial> {
    let name =
        "pipelines::graph::a_machine_that_is_lost_costs_its_tasks_a_try_and_nothing_else_and_leaves_nothing";
    vec![trial(name, || async {
        let mut ground = ground(Settings::embedded(Build::Plain)).await?;
        lose_one(&mut ground).await.map(drop).with_context(|| ground.fleet.last_words())
    })]
}

/// The same on etcd with two controllers, again and again, with a table of each.
pub(crate) async fn row(times: u64) -> Result<()> {
    let mut ground = ground(Settings::etcd(Build::Plain, 2, 1)).await?;
    let mut done = Ok(());
    for time in 1..=times {
        done = lose_one(&mut ground).await.map(|seen| print(time, &seen));
        if done.is_err() {
            break;
        }
    }
    done.with_context(|| format!("what the fleet wrote is in {}", ground.fleet.keep_folder().display()))
}

async fn ground(settings: Settings) -> Result<Ground> {
    let mut ground = Ground::start(settings).await?;
    ground.repository(PROJECT, &[("README", "A shop.\n"), ("ocelot.yml", DEFINITION)])?;
    ground.add_project(PROJECT, wire::ProjectSettings::default()).await?;
    for name in EXECUTORS {
        let more = ["--runtime", "docker"];
        ground.add_executor(Newcomer { name, slots: SLOTS, more: &more, ..Newcomer::default() }).await?;
    }
    Ok(ground)
}

/// What was seen of one run.
struct Seen {
    tasks: Vec<wire::Task>,
    lost: &'static str,
    took: Duration,
    missed: Duration,
}

async fn lose_one(ground: &mut Ground) -> Result<Seen> {
    let caller = ground.fleet.caller(0)?;
    caller.online(EXECUTORS.len()).await?;
    let began = Instant::now();
    let run = ground.build(PROJECT, "").await?;
    let victim = all_at_the_gate(&ground.fleet, &caller, run).await?;
    let orphans = running_on(&caller, run, victim).await?;
    ground.fleet.executors[victim].kill()?;
    let killed = Instant::now();
    let others: Vec<usize> = (0..EXECUTORS.len()).filter(|&one| one != victim).collect();
    let missed = end(&ground.fleet, &caller, run, &others, killed).await?;
    let took = began.elapsed();
    let tasks = judge(&caller, run, &orphans).await?;
    let release = release(&ground.fleet, run, &tasks)?;
    for &executor in &others {
        nothing_is_left(&ground.fleet, executor).await?;
    }
    // The machine is still there: what works on it goes on, and nobody takes what it makes.
    let strays = orphans_go_on(&ground.fleet, victim, orphans.len()).await?;
    ground.fleet.executors[victim].start()?;
    caller.online(EXECUTORS.len()).await?;
    nothing_is_left(&ground.fleet, victim).await.with_context(|| format!("it had {strays:?}"))?;
    ensure!(judge(&caller, run, &orphans).await? == tasks, "its return changed the tasks");
    ensure!(self::release(&ground.fleet, run, &tasks)? == release, "its return changed what was kept");
    Ok(Seen { tasks, lost: EXECUTORS[victim], took, missed })
}

/// Waits until the four checks are held by their gates and nothing else runs; returns the machine that
/// has most of them.
async fn all_at_the_gate(fleet: &Fleet, caller: &Caller, run: RunId) -> Result<usize> {
    let at_gates = wait_long("four tasks at the gate", PATIENCE, || async {
        let gates: Vec<usize> =
            (0..EXECUTORS.len()).map(|one| Ok(gates(fleet, one)?.len())).collect::<Result<_>>()?;
        ensure!(gates.iter().sum::<usize>() == 4, "{gates:?}, {:?}", states(caller, run).await);
        let lint = task(&caller.run(run).await?, "lint")?;
        ensure!(outcome(&lint).is_ok(), "lint works");
        Ok(gates)
    })
    .await?;
    let most = at_gates.iter().enumerate().max_by_key(|(_, gates)| **gates);
    Ok(most.context("there are machines")?.0)
}

async fn states(caller: &Caller, run: RunId) -> Result<Vec<String>> {
    let tasks = caller.run(run).await?.tasks;
    Ok(tasks.iter().map(|task| format!("{}: {:?} {}", task.name, task.state, task.note)).collect())
}

/// Returns the workspaces of the machine in which a task waits at its gate.
fn gates(fleet: &Fleet, executor: usize) -> Result<Vec<PathBuf>> {
    let waits = |place: &PathBuf| place.join("at-the-gate").exists() && !place.join("go").exists();
    Ok(fleet.workspaces(executor)?.into_iter().filter(waits).collect())
}

fn open_gates(fleet: &Fleet, executor: usize) -> Result<Vec<PathBuf>> {
    let gates = gates(fleet, executor)?;
    for gate in &gates {
        fs::write(gate.join("go"), "")?;
    }
    Ok(gates)
}

/// Returns the names of the tasks that run on a machine.
async fn running_on(caller: &Caller, run: RunId, executor: usize) -> Result<BTreeSet<String>> {
    let tasks = caller.run(run).await?.tasks;
    let there = tasks.into_iter().filter(|task| {
        let last = task.attempts.last();
        last.is_some_and(|last| last.executor_name == EXECUTORS[executor]) && outcome(task).is_err()
    });
    Ok(there.map(|task| task.name).collect())
}

/// Lets the others go on until the run has ended; returns when the lost machine was missed.
async fn end(
    fleet: &Fleet,
    caller: &Caller,
    run: RunId,
    others: &[usize],
    killed: Instant,
) -> Result<Duration> {
    let missed = Cell::new(None);
    let ended = wait_long("the run to end", PATIENCE, || {
        let opened = others.iter().try_for_each(|&one| open_gates(fleet, one).map(drop));
        let missed = &missed;
        async move {
            opened?;
            let seen = caller.run(run).await?;
            let lost = |task: &wire::Task| task.attempts.iter().any(is_lost);
            if missed.get().is_none() && seen.tasks.iter().any(lost) {
                missed.set(Some(killed.elapsed()));
            }
            match finished(&seen) {
                Some(outcome) => Ok(outcome),
                None => bail!("{:?}", states(caller, run).await),
            }
        }
    });
    let ended = ended.await?;
    ensure!(matches!(ended, Outcome::Succeeded(_)), "it ended {}", told(&ended));
    missed.get().context("no attempt was lost")
}

fn is_lost(attempt: &wire::Attempt) -> bool {
    let outcome = attempt.outcome.as_ref().and_then(|outcome| outcome.outcome.as_ref());
    matches!(outcome, Some(Outcome::Lost(_)))
}

/// Compares each task with what it should have come to.
async fn judge(caller: &Caller, run: RunId, orphans: &BTreeSet<String>) -> Result<Vec<wire::Task>> {
    ensure!(!orphans.is_empty(), "the lost machine worked at nothing");
    let tasks = caller.run(run).await?.tasks;
    ensure!(tasks.len() == ENDS.len(), "{} tasks", tasks.len());
    for (name, end, tries) in ENDS {
        let task = tasks.iter().find(|task| task.name == name).with_context(|| format!("no task {name}"))?;
        let said = told(&outcome(task)?);
        ensure!(said.starts_with(end), "{name} should be {end} and is {said}");
        let was_lost = u32::from(orphans.contains(name));
        ensure!(task.tries == tries + was_lost, "{name} took {} tries", task.tries);
        let lost = task.attempts.iter().filter(|attempt| is_lost(attempt)).count();
        ensure!(lost == was_lost as usize, "{name}: {:?}", task.attempts);
    }
    Ok(tasks)
}

fn outcome(task: &wire::Task) -> Result<Outcome> {
    match task.state.clone().and_then(|state| state.state) {
        Some(wire::task_state::State::Finished(outcome)) => outcome.outcome.context("an end has an outcome"),
        state => bail!("{} is {state:?}", task.name),
    }
}

fn task(run: &wire::GetRunResponse, name: &str) -> Result<wire::Task> {
    run.tasks.iter().find(|task| task.name == name).cloned().with_context(|| format!("no task {name}"))
}

/// Fetches what went all along the graph: of each check it has the attempt that won, and of no other.
fn release(fleet: &Fleet, run: RunId, tasks: &[wire::Task]) -> Result<String> {
    let run = Id::from_bytes(run).to_string();
    let into = tempfile::tempdir()?;
    let folder = into.path().join("release").display().to_string();
    let output = fleet.run("ocelot", &["artifacts", "get", &run, "release", "--into", &folder])?;
    ensure!(output.status.success(), "artifacts get: {}", String::from_utf8_lossy(&output.stderr));
    let notes = fs::read_to_string(Path::new(&folder).join("release/notes"))?;
    for arch in ["arm", "wasm", "x86"] {
        ensure!(notes.lines().any(|line| line == arch), "{arch} is missing: {notes}");
    }
    let mut verdicts = notes.lines().filter(|line| line.contains("by attempt"));
    for task in tasks.iter().filter(|task| task.name.starts_with("check")) {
        let won = task.attempts.last().context("it ran")?.number;
        let (db, mode) = task
            .name
            .trim_start_matches("check[db=")
            .trim_end_matches(']')
            .split_once(",mode=")
            .context("a variant has two axes")?;
        let wanted = format!("{db} {mode} by attempt {won}");
        ensure!(verdicts.next() == Some(wanted.as_str()), "{wanted:?} is not next in {notes}");
    }
    ensure!(verdicts.next().is_none(), "more verdicts than tasks: {notes}");
    Ok(notes)
}

/// Opens the gates of the lost machine, and waits until its tasks have come to their verdicts.
async fn orphans_go_on(fleet: &Fleet, victim: usize, count: usize) -> Result<Vec<String>> {
    let strays = fleet.remains(victim)?;
    let opened = open_gates(fleet, victim)?;
    ensure!(opened.len() == count, "{} of {count} were at their gates: {strays:?}", opened.len());
    wait_until("the verdicts of the lost machine", || async {
        for place in &opened {
            let verdicts = fs::read_dir(place.join("verdict"))?.count();
            ensure!(verdicts == 1, "{verdicts} in {}", place.display());
        }
        Ok(())
    })
    .await?;
    Ok(strays)
}

async fn nothing_is_left(fleet: &Fleet, executor: usize) -> Result<()> {
    let what = format!("executor {} to have nothing left", EXECUTORS[executor]);
    wait_until(&what, || async {
        let left = fleet.remains(executor)?;
        ensure!(left.is_empty(), "{left:#?}");
        Ok(())
    })
    .await
}

fn print(time: u64, seen: &Seen) {
    eprintln!(
        "run {time}: executor {} killed for good with its tasks at work, missed after {:.1} s; \
         the run took {:.1} s; nothing was left on the others, nor on it after its return",
        seen.lost,
        seen.missed.as_secs_f64(),
        seen.took.as_secs_f64()
    );
    eprintln!("  {:<24} {:<16} {:>5}  {:<28} {:>7}", "task", "executors", "tries", "outcome", "time");
    for task in &seen.tasks {
        let executors: Vec<&str> = task.attempts.iter().map(|one| one.executor_name.as_str()).collect();
        let (first, last) = (task.attempts.first(), task.attempts.last());
        let time = match first.zip(last) {
            Some((first, last)) => {
                format!("{:.1} s", (last.ended_unix_us - first.offered_unix_us) as f64 / 1e6)
            }
            None => "-".to_owned(),
        };
        let outcome = outcome(task).map(|outcome| told(&outcome)).unwrap_or_default();
        let outcome: String = outcome.chars().take(28).collect();
        let executors = executors.join(", ");
        eprintln!("  {:<24} {executors:<16} {:>5}  {outcome:<28} {time:>7}", task.name, task.tries);
    }
}

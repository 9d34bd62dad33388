//! A fleet on three etcd members works while a process is killed every ten seconds.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Caller, Fleet, Life, RunId, Settings, finished};
use ocelot_e2e::wait::wait_until;
use ocelot_proto::wire::outcome::Outcome;
use tokio::time::Instant;

use super::{Chance, kept};

const EVERY: Duration = Duration::from_secs(10);
const CONTROLLER_EVERY: Duration = Duration::from_secs(40);
/// Dead for so long, well inside a session's time.
const AWAY: Duration = Duration::from_secs(2);
const SLOTS: u32 = 8;
/// A few more than the slots, so that some wait.
const IN_FLIGHT: usize = 20;
/// Fifths of a second that a build works: long enough that every kill meets builds at work.
const BEATS: u32 = 45;

pub(super) async fn row(count: u64, seed: u64) -> Result<()> {
    let mut fleet = Fleet::start(Settings::etcd(Build::Plain, 2, 3)).await?;
    fleet.caller(0)?.put_job(&fleet.witness.job("steady", BEATS, "")).await?;
    for name in ["one", "two"] {
        fleet.add_executor(name, SLOTS, &[]).await?;
    }
    fleet.caller(0)?.online(2).await?;
    let done = under_kills(&mut fleet, count, seed).await;
    kept(fleet, done)
}

async fn under_kills(fleet: &mut Fleet, count: u64, seed: u64) -> Result<()> {
    let callers = [fleet.caller(0)?, fleet.caller(1)?];
    let load = Load {
        began: Instant::now(),
        callers,
        chance: RefCell::new(Chance(seed)),
        open: Cell::new(0),
        over: Cell::new(false),
        table: RefCell::new(Vec::new()),
    };
    let worked = tokio::try_join!(load.work(count), load.kill(fleet, Chance(!seed)));
    load.print();
    let (ended, ()) = worked?;
    load.judge(fleet, &ended, seed).await
}

/// What works and what kills, beside each other.
struct Load {
    began: Instant,
    callers: [Caller; 2],
    chance: RefCell<Chance>,
    open: Cell<usize>,
    over: Cell<bool>,
    table: RefCell<Vec<String>>,
}

impl Load {
    fn any_caller(&self) -> &Caller {
        &self.callers[self.chance.borrow_mut().below(2)]
    }

    /// Keeps runs in flight until so many were accepted and all have ended.
    async fn work(&self, count: u64) -> Result<BTreeMap<RunId, Outcome>> {
        let mut open: Vec<RunId> = Vec::new();
        let mut ended = BTreeMap::new();
        let mut accepted = 0;
        while accepted < count || !open.is_empty() {
            while accepted < count && open.len() < IN_FLIGHT {
                open.push(self.any_caller().execute("steady", &[]).await?);
                accepted += 1;
            }
            let mut still = Vec::new();
            for run in open {
                match self.any_caller().run(run).await.ok().as_ref().and_then(finished) {
                    Some(outcome) => drop(ended.insert(run, outcome)),
                    None => still.push(run),
                }
            }
            open = still;
            self.open.set(open.len());
            let took = self.began.elapsed();
            ensure!(
                took < Duration::from_secs(120 + 2 * count),
                "{} did not end, {} did: {:?}",
                open.len(),
                ended.len(),
                open.iter().map(|run| Id::from_bytes(*run).to_string()).collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.over.set(true);
        Ok(ended)
    }

    /// Kills one process every ten seconds, and starts it again after a while.
    async fn kill(&self, fleet: &mut Fleet, mut chance: Chance) -> Result<()> {
        let mut controller: Option<Instant> = None;
        let mut member = 0;
        let mut next = Instant::now() + EVERY;
        loop {
            tokio::time::sleep_until(next.min(Instant::now() + Duration::from_millis(200))).await;
            if self.over.get() {
                return Ok(());
            }
            if Instant::now() < next {
                continue;
            }
            next += EVERY;
            let (at, open) = (self.began.elapsed(), self.open.get());
            let due = controller.is_none_or(|at| at.elapsed() >= CONTROLLER_EVERY);
            let victim = match chance.below(3) {
                0 if due => {
                    controller = Some(Instant::now());
                    kill_controller(fleet, chance.below(2)).await?
                }
                1 => kill_executor(fleet, chance.below(2)).await?,
                _ => {
                    member = (member + 1) % 3;
                    kill_member(fleet, member).await?
                }
            };
            let line = format!("{:>6.1} s  {open:>3} runs in flight  {victim}", at.as_secs_f64());
            self.table.borrow_mut().push(line);
        }
    }

    fn print(&self) {
        let table = self.table.borrow();
        eprintln!("{} kills:", table.len());
        for line in table.iter() {
            eprintln!("{line}");
        }
    }

    async fn judge(&self, fleet: &Fleet, ended: &BTreeMap<RunId, Outcome>, seed: u64) -> Result<()> {
        let took = self.began.elapsed();
        let mut lives: BTreeMap<String, Vec<Life>> = BTreeMap::new();
        for life in fleet.witness.lives()? {
            lives.entry(life.run.clone()).or_default().push(life);
        }
        let mut found = Found::default();
        for (run, outcome) in ended {
            let name = Id::from_bytes(*run).to_string();
            let own = lives.remove(&name).unwrap_or_default();
            found.count(&name, outcome, &own);
            for caller in &self.callers {
                let again = wait_until("the run's end again", || async {
                    let answer = caller.run(*run).await?;
                    anyhow::Ok((finished(&answer), answer.tasks))
                });
                let (again, tasks) = again.await?;
                if again.as_ref() != Some(outcome) {
                    found.other_ends += 1;
                    eprintln!("  {name} was {outcome:?} and is {again:?}");
                }
                if own.len() != 1 {
                    eprintln!("  {name}: {own:?}\n    {:?}", tasks.first().map(|task| &task.attempts));
                }
            }
        }
        eprintln!(
            "{} runs, seed {seed}, {:.0} s: {} succeeded, {} did not, {} with another end when asked again, \
             {} that nobody asked for; {} builds ended before their end, {} runs built twice, \
             {} attempts started twice",
            ended.len(),
            took.as_secs_f64(),
            found.succeeded,
            ended.len() - found.succeeded,
            found.other_ends,
            lives.len(),
            found.unfinished,
            found.built_twice,
            found.started_twice
        );
        let bad = found.other_ends + found.unfinished + found.built_twice + found.started_twice;
        ensure!(
            found.succeeded == ended.len() && bad + lives.len() == 0,
            "a promise is broken\n{}",
            fleet.last_words()
        );
        Ok(())
    }
}

/// What the witness and the records say of all runs.
#[derive(Debug, Default)]
struct Found {
    succeeded: usize,
    other_ends: usize,
    unfinished: usize,
    built_twice: usize,
    started_twice: usize,
}

impl Found {
    fn count(&mut self, name: &str, outcome: &Outcome, own: &[Life]) {
        match outcome {
            Outcome::Succeeded(_) if own.iter().any(|life| life.ended) => self.succeeded += 1,
            other => eprintln!("  {name} ended {other:?}; the witness saw {own:?}"),
        }
        self.unfinished += own.iter().filter(|life| !life.ended).count();
        self.built_twice += usize::from(own.len() > 1);
        self.started_twice += own.iter().filter(|life| life.starts > 1).count();
    }
}

async fn kill_controller(fleet: &mut Fleet, index: usize) -> Result<String> {
    fleet.controllers[index].kill()?;
    tokio::time::sleep(AWAY).await;
    fleet.controllers[index].start()?;
    Ok(format!("controller {index}"))
}

async fn kill_executor(fleet: &mut Fleet, index: usize) -> Result<String> {
    fleet.executors[index].kill()?;
    tokio::time::sleep(AWAY).await;
    fleet.executors[index].start()?;
    Ok(format!("executor {index}"))
}

async fn kill_member(fleet: &mut Fleet, member: usize) -> Result<String> {
    let etcd = fleet.etcd.as_mut().context("etcd")?;
    let leads = etcd.leader().await? == member;
    etcd.kill(member)?;
    tokio::time::sleep(AWAY).await;
    etcd.restart(member).await?;
    Ok(format!("etcd member {member}{}", if leads { ", the leader" } else { "" }))
}

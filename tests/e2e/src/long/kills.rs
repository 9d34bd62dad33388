//! A fleet on three etcd members works while a process is killed every ten seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Fleet, RunId, Settings, finished};
use ocelot_proto::wire::outcome::Outcome;
use tokio::time::Instant;

use super::Chance;

const EVERY: Duration = Duration::from_secs(10);
const CONTROLLER_EVERY: Duration = Duration::from_secs(40);
/// Dead for so long, well inside a session's time.
const AWAY: Duration = Duration::from_secs(2);
const SLOTS: u32 = 8;
const IN_FLIGHT: usize = 20;

pub(super) async fn row(count: u64, seed: u64) -> Result<()> {
    let began = Instant::now();
    let mut fleet = Fleet::start(Settings::etcd(Build::Plain, 2, 3)).await?;
    fleet.caller(0)?.put_job(&fleet.witness.job("steady", 20, "")).await?;
    for name in ["one", "two"] {
        fleet.add_executor(name, SLOTS, &[]).await?;
    }
    fleet.caller(0)?.online(2).await?;
    let mut chance = Chance(seed);
    let mut killer = Killer { next: Instant::now() + EVERY, controller: None, member: 0, table: Vec::new() };
    let mut open: Vec<RunId> = Vec::new();
    let mut ended: BTreeMap<RunId, Outcome> = BTreeMap::new();
    let mut accepted = 0;
    while accepted < count || !open.is_empty() {
        while accepted < count && open.len() < IN_FLIGHT {
            open.push(fleet.caller(chance.below(2))?.execute("steady", &[]).await?);
            accepted += 1;
        }
        if accepted < count && Instant::now() >= killer.next {
            killer.strike(&mut fleet, &mut chance, (began, open.len())).await?;
        }
        let mut still = Vec::new();
        for run in open {
            match fleet.caller(chance.below(2))?.run(run).await.ok().as_ref().and_then(finished) {
                Some(outcome) => drop(ended.insert(run, outcome)),
                None => still.push(run),
            }
        }
        open = still;
        ensure!(began.elapsed() < Duration::from_secs(20 + 3 * count), "{} never ended", open.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    killer.print();
    judge(&fleet, &ended, seed, began.elapsed())
}

fn judge(fleet: &Fleet, ended: &BTreeMap<RunId, Outcome>, seed: u64, took: Duration) -> Result<()> {
    let lives = fleet.witness.lives()?;
    let succeeded = ended.values().filter(|outcome| matches!(outcome, Outcome::Succeeded(_))).count();
    let twice = lives.iter().filter(|life| life.attempt > 1).count();
    let unfinished = lives.iter().filter(|life| !life.ended).count();
    let restarted = lives.iter().filter(|life| life.starts > 1).count();
    eprintln!(
        "{} runs, seed {seed}, {:.0} s: {succeeded} succeeded, {} lost or failed, {twice} second attempts, \
         {unfinished} builds ended before their end, {restarted} started twice",
        ended.len(),
        took.as_secs_f64(),
        ended.len() - succeeded
    );
    for (run, outcome) in ended.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Succeeded(_))) {
        eprintln!("  {} ended {outcome:?}", Id::from_bytes(*run));
    }
    ensure!(succeeded == ended.len() && twice + unfinished + restarted == 0, "a promise is broken");
    Ok(())
}

struct Killer {
    next: Instant,
    controller: Option<Instant>,
    member: usize,
    table: Vec<String>,
}

impl Killer {
    /// Kills one process and starts it again after a while.
    async fn strike(
        &mut self,
        fleet: &mut Fleet,
        chance: &mut Chance,
        (began, in_flight): (Instant, usize),
    ) -> Result<()> {
        let controllers = self.controller.is_none_or(|at| at.elapsed() >= CONTROLLER_EVERY);
        let victim = match chance.below(3) {
            0 if controllers => {
                self.controller = Some(Instant::now());
                let index = chance.below(2);
                fleet.controllers[index].kill()?;
                tokio::time::sleep(AWAY).await;
                fleet.controllers[index].start()?;
                format!("controller {index}")
            }
            1 => {
                let index = chance.below(2);
                fleet.executors[index].kill()?;
                tokio::time::sleep(AWAY).await;
                fleet.executors[index].start()?;
                format!("executor {index}")
            }
            _ => {
                let etcd = fleet.etcd.as_mut().context("etcd")?;
                self.member = (self.member + 1) % 3;
                let leads = etcd.leader().await? == self.member;
                etcd.kill(self.member)?;
                tokio::time::sleep(AWAY).await;
                etcd.restart(self.member).await?;
                format!("etcd member {}{}", self.member, if leads { ", the leader" } else { "" })
            }
        };
        self.table.push(format!(
            "{:>6.1} s  {in_flight:>3} runs in flight  {victim}",
            began.elapsed().as_secs_f64()
        ));
        self.next = Instant::now() + EVERY;
        Ok(())
    }

    fn print(&self) {
        eprintln!("{} kills:", self.table.len());
        for line in &self.table {
            eprintln!("{line}");
        }
    }
}

//! Schedules: whatever is due by the clock on the wall begins.
//!
//! It sleeps until the next moment of all, and looks at the wall clock once a second, because that may
//! jump; a look is one comparison. Which controller tries first is agreed by name and costs the others
//! nothing; correctness never depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use ocelot_core::id::RunId;
use ocelot_domain::schedule::Moment;

use super::{SWEEP, TICK, note};
use crate::records::Digest;
use crate::service::{Error, Rest, Result, Service, Turn};
use crate::store::keys::{Folder, Key};
use crate::store::view::Changed;

/// Jobs whose schedules are looked at side by side.
const LOOKS: usize = 16;
/// Steps of one job's schedules in one look.
const STEPS: usize = 300;
/// How long a controller leaves a moment to the one before it in the order.
const TURN_MS: u64 = 1000;
/// Places in that order that make a difference.
const RANKS: usize = 5;

/// When each job's schedules are to be looked at.
#[derive(Debug, Default)]
struct Alarms {
    jobs: BTreeMap<String, Rest>,
    order: BTreeSet<(Moment, String)>,
    /// Runs whose end somebody waits for.
    on: BTreeMap<RunId, String>,
}

impl Alarms {
    fn set(&mut self, job: &str, rest: Rest) {
        self.drop(job);
        self.order.extend(rest.at.map(|at| (at, job.to_owned())));
        self.on.extend(rest.on.iter().map(|run| (*run, job.to_owned())));
        self.jobs.insert(job.to_owned(), rest);
    }

    fn drop(&mut self, job: &str) {
        let Some(rest) = self.jobs.remove(job) else { return };
        if let Some(at) = rest.at {
            self.order.remove(&(at, job.to_owned()));
        }
        for run in rest.on {
            self.on.remove(&run);
        }
    }

    /// Returns the jobs that are due, and how long it is until the next.
    fn due(&self, now: Moment, delay: impl Fn(&str) -> u64) -> (Vec<String>, Duration) {
        let (mut due, mut left) = (Vec::new(), TICK);
        for (at, job) in &self.order {
            let wait = at.unix_ms.saturating_add(delay(job)).saturating_sub(now.unix_ms);
            if wait == 0 {
                due.push(job.clone());
            } else {
                left = left.min(Duration::from_millis(wait));
            }
            // Nobody is delayed by so much that one after this could come sooner.
            if at.unix_ms > now.unix_ms {
                break;
            }
        }
        (due, left)
    }
}

/// Lets schedules fire until it is dropped.
pub(super) async fn follow(service: &Service) {
    let mut changes = service.view.changes();
    let mut alarms = Alarms::default();
    let mut rests: BTreeMap<String, Duration> = BTreeMap::new();
    let mut sweep = service.now();
    loop {
        let ranks = if alarms.order.is_empty() { Ranks::default() } else { Ranks::of(service) };
        let (mut due, left) = alarms.due(service.moment_now(), |job| ranks.delay_ms(job));
        // A job in trouble rests, and holds up nobody else.
        due.retain(|job| rests.get(job).is_none_or(|until| service.now() >= *until));
        look(service, &mut alarms, &mut rests, due).await;
        // Both are cancel-safe.
        tokio::select! {
            biased;
            changed = changes.next() => match changed {
                Changed::Everything => take_all(service, &mut alarms).await,
                Changed::Keys(keys) => take_in(service, &mut alarms, &keys),
            },
            () = service.sleep(left.max(Duration::from_millis(1))) => {}
        }
        if service.now() >= sweep {
            sweep = service.now() + SWEEP;
            take_all(service, &mut alarms).await;
        }
    }
}

/// Does all that is due now, once.
#[cfg(test)]
pub(crate) async fn once(service: &Service) -> Result<()> {
    for job in jobs(service) {
        attend(service, &job).await?;
    }
    Ok(())
}

async fn look(
    service: &Service,
    alarms: &mut Alarms,
    rests: &mut BTreeMap<String, Duration>,
    due: Vec<String>,
) {
    let looks = stream::iter(due).map(async |job| {
        let attended = attend(service, &job).await;
        (job, attended)
    });
    let mut looks = pin!(looks.buffer_unordered(LOOKS));
    while let Some((job, attended)) = looks.next().await {
        match attended {
            Ok(rest) => {
                rests.remove(&job);
                alarms.set(&job, rest);
            }
            Err(error) => {
                rests.insert(job, service.now() + if error.is_retryable() { TICK } else { SWEEP });
                note("schedules", Err(error));
            }
        }
    }
}

/// Does what is due of one job's schedules; returns when to look again.
async fn attend(service: &Service, job: &str) -> Result<Rest> {
    for _ in 0..STEPS {
        if let Turn::Rests(rest) = service.turn(job).await? {
            return Ok(rest);
        }
    }
    Err(Error::NotNow { why: "a job's schedules have more to do than fits into one look" })
}

fn jobs(service: &Service) -> Vec<String> {
    let folder = Folder::Schedules.to_string();
    service.view.read(|items| {
        let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
        items.filter_map(|(_, entry)| Some(entry.known()?.schedules()?.job.clone())).collect()
    })
}

/// Sets every alarm as the view tells, and takes in jobs that a controller without schedules has put.
async fn take_all(service: &Service, alarms: &mut Alarms) {
    note("schedules", service.adopt_schedules().await);
    let jobs: BTreeSet<String> = jobs(service).into_iter().collect();
    for gone in alarms.jobs.keys().filter(|job| !jobs.contains(*job)).cloned().collect::<Vec<_>>() {
        alarms.drop(&gone);
    }
    for job in jobs {
        set(service, alarms, &job);
    }
}

fn take_in(service: &Service, alarms: &mut Alarms, keys: &BTreeSet<String>) {
    let folder = Folder::Schedules.to_string();
    for key in keys.range(folder.clone()..).take_while(|key| key.starts_with(&folder)) {
        if let Ok(Key::Schedule(job)) = key.parse() {
            set(service, alarms, &job);
        }
    }
    if alarms.on.is_empty() {
        return;
    }
    let awaited: Vec<(RunId, String)> = alarms.on.iter().map(|(run, job)| (*run, job.clone())).collect();
    for (run, job) in awaited {
        if keys.contains(&Key::Run(run).to_string()) {
            set(service, alarms, &job);
        }
    }
}

fn set(service: &Service, alarms: &mut Alarms, job: &str) {
    match service.schedules_rest(job) {
        Some(rest) => alarms.set(job, rest),
        None => alarms.drop(job),
    }
}

/// The controllers that run, as this one sees them.
#[derive(Debug, Default)]
struct Ranks {
    own: String,
    others: Vec<String>,
}

impl Ranks {
    fn of(service: &Service) -> Self {
        let others = service.controllers().into_iter().map(|one| one.name);
        let own = service.name().to_owned();
        Self { others: others.filter(|name| *name != own).collect(), own }
    }

    /// Returns how much later than its moment this controller tries a job's schedule.
    fn delay_ms(&self, job: &str) -> u64 {
        if self.others.is_empty() {
            return 0;
        }
        let weight = |name: &str| *Digest::of(format!("{name}\0{job}").as_bytes()).as_bytes();
        let own = weight(&self.own);
        let before = self.others.iter().filter(|name| weight(name) < own).count();
        u64::try_from(before.min(RANKS)).unwrap_or_default() * TURN_MS
    }
}

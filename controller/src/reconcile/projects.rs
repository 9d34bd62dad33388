//! Projects: pending events are decided, repositories are looked at, what is old is forgotten.
//!
//! Events of one project are tried one after the other in the order of their reception; projects go
//! side by side, those in trouble in places of their own, so that they hold up nobody else. Which
//! controller tries first is agreed by name and costs nothing; correctness never depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures_util::stream::{FuturesUnordered, StreamExt};
use ocelot_core::id::RunId;
use ocelot_proto::kit::backoff::Policy;

use super::{SWEEP, TICK, note};
use crate::records::{Digest, ProjectName, ProjectRecord};
use crate::service::{Error, ProjectFilter, Result, Service, Tried};
use crate::store::Revision;
use crate::store::keys::{Folder, Key};
use crate::store::view::Changed;

/// Projects whose events are tried side by side, and those of them that were in trouble before.
const SIDE_BY_SIDE: usize = 16;
const IN_TROUBLE: usize = 4;
/// Repositories that are looked at side by side, and those of them that were in trouble before.
const LOOKS: usize = 4;
const LOOKS_IN_TROUBLE: usize = 2;
/// How long a controller leaves an event to the one before it in the order.
const TURN: Duration = Duration::from_secs(5);
/// The same for looks, which nobody waits for.
const LOOK_TURN: Duration = Duration::from_secs(30);
/// Within this time after its start a controller looks at all that has a webhook.
const CATCH_UP: Duration = Duration::from_secs(60);
/// The tries that an event counts as having had which no try can decide.
const UNREADABLE: u32 = 9;
/// Mirrors are tidied so often.
const TIDY: Duration = Duration::from_secs(3600);

/// Decides events and looks at repositories until it is dropped.
pub(super) async fn follow(service: &Service) {
    tokio::join!(decide(service), look(service), tidy(service));
}

/// Decides all that can be decided now, once; returns how many events were.
#[cfg(test)]
pub(crate) async fn once(service: &Service) -> Result<usize> {
    let mut decided = 0;
    for (project, events) in service.pending_events() {
        let batch: Vec<RunId> = events.into_iter().map(|(_, id)| id).collect();
        let worked = work(service, project, batch).await;
        decided += worked.done.len();
        if let Some(error) = worked.failed {
            return Err(error);
        }
    }
    Ok(decided)
}

/// What this controller remembers of what is pending. All of it can be forgotten.
#[derive(Default)]
struct Queue {
    pending: BTreeMap<ProjectName, BTreeSet<(Revision, RunId)>>,
    /// When this controller saw an event first.
    seen: BTreeMap<RunId, Duration>,
    /// What is not tried before its time.
    rests: BTreeMap<RunId, Duration>,
    project_rests: BTreeMap<ProjectName, (u32, Duration)>,
    /// What is worked at, and whether it was in trouble when that began.
    busy: BTreeMap<ProjectName, bool>,
}

/// How one pass over a project's events went.
struct Worked {
    project: ProjectName,
    done: Vec<RunId>,
    stuck: Vec<(RunId, u32)>,
    /// Nothing of the repository can be had, after so many tries.
    all_stuck: Option<u32>,
    failed: Option<Error>,
}

type Look<'a> = Pin<Box<dyn Future<Output = (ProjectName, Result<()>)> + Send + 'a>>;
type Work<'a> = Pin<Box<dyn Future<Output = Worked> + Send + 'a>>;

async fn decide(service: &Service) {
    let mut changes = service.view.changes();
    let mut queue = Queue::default();
    let mut working: FuturesUnordered<Work<'_>> = FuturesUnordered::new();
    let mut sweep = service.now() + SWEEP;
    loop {
        for (project, events) in queue.due(service, working.len()) {
            working.push(Box::pin(work(service, project, events)));
        }
        // All three are cancel-safe: what works goes on in the next round.
        tokio::select! {
            biased;
            Some(worked) = working.next() => queue.worked(service, worked),
            changed = changes.next() => match changed {
                Changed::Everything => queue.take_all(service),
                Changed::Keys(keys) => queue.take_in(service, &keys),
            },
            () = service.sleep(TICK) => {}
        }
        if service.now() >= sweep {
            sweep = service.now() + SWEEP;
            queue.take_all(service);
        }
    }
}

/// Tries the events of one project in their order. One that is stuck lets the others pass; of a
/// repository of which nothing can be had, no other is tried.
async fn work(service: &Service, project: ProjectName, events: Vec<RunId>) -> Worked {
    let mut worked = Worked { project, done: Vec::new(), stuck: Vec::new(), all_stuck: None, failed: None };
    for id in events {
        match service.decide_event(&worked.project, id).await {
            Ok(Tried::Decided) => worked.done.push(id),
            Ok(Tried::Again) => worked.stuck.push((id, 0)),
            Ok(Tried::Stuck { tries, all: false }) => worked.stuck.push((id, tries)),
            Ok(Tried::Stuck { tries, all: true }) => {
                worked.all_stuck = Some(tries);
                return worked;
            }
            // A record that nobody can deal with holds up no other.
            Err(error) if !error.is_retryable() => {
                note("events", Err(error));
                worked.stuck.push((id, UNREADABLE));
            }
            Err(error) => {
                worked.failed = Some(error);
                return worked;
            }
        }
    }
    worked
}

impl Queue {
    fn take_all(&mut self, service: &Service) {
        self.pending = service.pending_events();
        let now = service.now();
        let all: BTreeSet<RunId> = self.pending.values().flatten().map(|(_, id)| *id).collect();
        self.seen.retain(|id, _| all.contains(id));
        self.rests.retain(|id, _| all.contains(id));
        self.project_rests.retain(|project, _| self.pending.contains_key(project));
        for id in all {
            self.seen.entry(id).or_insert(now);
        }
    }

    fn take_in(&mut self, service: &Service, keys: &BTreeSet<String>) {
        let folder = Folder::Events.to_string();
        for key in keys.range(folder.clone()..).take_while(|key| key.starts_with(&folder)) {
            match service.pending_event(key) {
                Some((project, place)) => {
                    self.seen.entry(place.1).or_insert_with(|| service.now());
                    self.pending.entry(project).or_default().insert(place);
                }
                None => {
                    let Ok(Key::Event { owner, name, id }) = key.parse() else { continue };
                    let Ok(project) = format!("{owner}/{name}").parse() else { continue };
                    self.forget(&project, id);
                }
            }
        }
    }

    fn forget(&mut self, project: &ProjectName, id: RunId) {
        // One that was never pending costs nothing here, and there are many of them.
        if self.seen.remove(&id).is_none() {
            return;
        }
        self.rests.remove(&id);
        if let Some(events) = self.pending.get_mut(project) {
            events.retain(|(_, one)| *one != id);
            if events.is_empty() {
                self.pending.remove(project);
            }
        }
    }

    /// Returns the projects whose turn it is, with the events to try.
    fn due(&mut self, service: &Service, working: usize) -> Vec<(ProjectName, Vec<RunId>)> {
        let now = service.now();
        let mut due = Vec::new();
        for (project, events) in &self.pending {
            let in_trouble = self.project_rests.contains_key(project);
            let rests = self.project_rests.get(project).is_some_and(|(_, until)| now < *until);
            let troubled = self.busy.values().filter(|in_trouble| **in_trouble).count();
            let full = working + due.len() >= SIDE_BY_SIDE || (in_trouble && troubled >= IN_TROUBLE);
            if self.busy.contains_key(project) || rests || full {
                continue;
            }
            let turn = TURN.saturating_mul(rank(service, project));
            let is_due = |id: &RunId| {
                let seen = self.seen.get(id).copied().unwrap_or(now);
                now >= seen + turn && self.rests.get(id).is_none_or(|until| now >= *until)
            };
            let events: Vec<RunId> = events.iter().map(|(_, id)| *id).filter(is_due).collect();
            if events.is_empty() {
                continue;
            }
            self.busy.insert(project.clone(), in_trouble);
            due.push((project.clone(), events));
        }
        due
    }

    fn worked(&mut self, service: &Service, worked: Worked) {
        let Worked { project, done, stuck, all_stuck, failed } = worked;
        let now = service.now();
        self.busy.remove(&project);
        for id in done {
            self.forget(&project, id);
        }
        for (id, tries) in stuck {
            self.rests.insert(id, now + wait(service, tries));
        }
        match (all_stuck, &failed) {
            (None, None) => drop(self.project_rests.remove(&project)),
            (Some(_), _) | (None, Some(_)) => {
                let before = self.project_rests.get(&project).map_or(0, |(tries, _)| *tries);
                let tries = all_stuck.unwrap_or_default().max(before.saturating_add(1));
                self.project_rests.insert(project, (tries, now + wait(service, tries)));
            }
        }
        if let Some(error) = failed {
            note("events", Err(error));
        }
    }
}

/// Returns how long to wait after so many tries.
fn wait(service: &Service, tries: u32) -> Duration {
    let policy = Policy::new(Duration::from_secs(1), Duration::from_secs(300), 0.5)
        .expect("one second is less than five minutes");
    policy.wait(tries, service.part_of_one())
}

/// Returns this controller's place in the order of those that run, which differs from project to
/// project.
fn rank(service: &Service, project: &ProjectName) -> u32 {
    let weight = |controller: &str| *Digest::of(format!("{controller}\0{project}").as_bytes()).as_bytes();
    let own = weight(service.name());
    let before = service.controllers().iter().filter(|one| weight(&one.name) < own).count();
    u32::try_from(before).unwrap_or(u32::MAX).min(8)
}

/// Looks at repositories when it is their time.
async fn look(service: &Service) {
    let started = service.now();
    let started_at = service.timestamp().unix_ms;
    let mut caught_up = BTreeSet::new();
    let mut busy = BTreeSet::new();
    let mut looking: FuturesUnordered<Look<'_>> = FuturesUnordered::new();
    loop {
        for project in projects(service) {
            let (last, trouble) = service
                .last_look(&project.name)
                .map_or((None, false), |look| (Some(look.at.unix_ms), look.trouble.is_some()));
            let late = service.now().saturating_sub(started) >= share(service, &project.name, CATCH_UP);
            let is_missed = late
                && (project.hook.is_some() || project.poll_every_ms.is_some())
                && last.is_none_or(|last| last < started_at)
                && !caught_up.contains(&project.name);
            let most = if trouble { LOOKS_IN_TROUBLE } else { LOOKS };
            let is_due = is_missed || is_time(service, &project, last);
            if !is_due || looking.len() >= most || !busy.insert(project.name.clone()) {
                continue;
            }
            caught_up.insert(project.name.clone());
            looking.push(Box::pin(async move {
                let looked = service.look_at(&project.name).await.map(drop);
                (project.name, looked)
            }));
        }
        tokio::select! {
            Some((project, looked)) = looking.next() => {
                busy.remove(&project);
                note("looks", looked);
            }
            () = service.sleep(TICK) => {}
        }
    }
}

fn is_time(service: &Service, project: &ProjectRecord, last: Option<u64>) -> bool {
    let Some(every) = project.poll_every_ms else { return false };
    let turn = LOOK_TURN.saturating_mul(rank(service, &project.name));
    let turn = u64::try_from(turn.as_millis()).unwrap_or(u64::MAX);
    let now = service.timestamp().unix_ms;
    last.is_none_or(|last| now >= last.saturating_add(every).saturating_add(turn))
}

/// Returns a part of a time that is a project's own, so that not all are looked at together.
fn share(service: &Service, project: &ProjectName, of: Duration) -> Duration {
    let digest = Digest::of(format!("{}\0{project}", service.name()).as_bytes());
    of.mul_f64(f64::from(digest.as_bytes()[0]) / 256.0)
}

fn projects(service: &Service) -> Vec<ProjectRecord> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = service.projects(&ProjectFilter::default(), after.as_ref(), usize::MAX);
        all.extend(page.projects.into_iter().filter(|project| project.enabled));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// Forgets what is old.
async fn tidy(service: &Service) {
    let mut mirrors = service.now() + TIDY;
    loop {
        service.sleep(SWEEP).await;
        note("events", service.sweep_events().await.map(drop));
        if service.now() >= mirrors {
            mirrors = service.now() + TIDY;
            let micros = Duration::from_millis(service.timestamp().unix_ms);
            if let Err(error) = service.tidy_mirrors(SystemTime::UNIX_EPOCH + micros).await {
                tracing::warn!(%error, "the mirrors could not be tidied");
            }
        }
    }
}

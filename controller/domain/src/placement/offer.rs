//! Offers: which executor gets which task now.
//!
//! The order of tasks decides first, the liking of executors second: the first task in order that
//! some executor with a free slot may take goes to the one of these that suits it best. Highest
//! priority first; within it the fair order of [`super`]; in that order a controller goes for a
//! task that the rendezvous hash gives it, within one band, and passes over any other at most
//! [`BAND`] times. Together the controllers so let at most one band of tasks go before it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use ocelot_core::id::{ExecutorId, TaskId};

use super::demand::{Executor, Fleet, QueuedTask};
use super::group::SlotClaim;
use super::index::Level;
use super::queue::Queue;
use super::refusal::{passing, personal};
use super::rendezvous::{BAND, Peers};
use super::round::DemandId;

/// What placement looks at besides the queue.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub fleet: &'a Fleet,
    pub peers: &'a Peers,
    /// On this controller's monotonic clock.
    pub now: Duration,
}

/// One task for one executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub task: TaskId,
    pub executor: ExecutorId,
    /// The group slots that the offer's transaction compares and takes; one that the holder has
    /// already is compared and stays as it is.
    pub slots: Vec<SlotClaim>,
}

/// The executors that may be given something, by what they fit.
#[derive(Debug, Default)]
struct Takers<'a> {
    all: Vec<Taker<'a>>,
    /// Places in `all`.
    by_demand: BTreeMap<DemandId, Vec<usize>>,
}

#[derive(Debug)]
struct Taker<'a> {
    executor: &'a Executor,
    live: u32,
    free: u32,
}

/// Where the search within one priority ended.
#[derive(Debug, Default)]
struct Found {
    /// A task, and the place of its taker.
    chosen: Option<(TaskId, usize)>,
    /// Those before it in order that were left to other controllers.
    passed: Vec<TaskId>,
}

impl Queue {
    /// Offers tasks to the executors that poll now, at most so many.
    ///
    /// The offered tasks count as live from here on. If the transaction of an offer fails, what the
    /// store says about task and groups is told with [`Queue::insert`] and the like.
    pub fn offers(&mut self, polling: &[ExecutorId], view: &View<'_>, at_most: usize) -> Vec<Offer> {
        self.wake(view.now);
        let mut takers = self.takers(polling, view);
        let mut offers = Vec::new();
        while offers.len() < at_most && !takers.by_demand.is_empty() {
            let Some((id, place)) = self.next(&takers, view) else { break };
            let executor = takers.all[place].executor.id;
            let Some(task) = self.take(&id, executor) else { break };
            takers.use_slot(place);
            offers.push(Offer { task: id, executor, slots: task.groups });
        }
        if offers.len() == at_most {
            self.look_at_everything();
        }
        offers
    }

    fn takers<'a>(&self, polling: &[ExecutorId], view: &View<'a>) -> Takers<'a> {
        let mut polling = polling.to_vec();
        polling.sort_unstable();
        polling.dedup();
        let mut takers = Takers::default();
        for executor in polling.iter().filter_map(|id| view.fleet.get(id)) {
            let live = self.live.on(&executor.id);
            if passing(executor, live, &self.limits).next().is_some() {
                continue;
            }
            let slots = self.limits.executor.map_or(executor.slots, |limit| limit.min(executor.slots));
            for demand in self.demands.fit(executor) {
                takers.by_demand.entry(demand).or_default().push(takers.all.len());
            }
            takers.all.push(Taker { executor, live, free: slots.saturating_sub(live) });
        }
        takers
    }

    fn next(&mut self, takers: &Takers<'_>, view: &View<'_>) -> Option<(TaskId, usize)> {
        let demands: Vec<DemandId> = takers.by_demand.keys().copied().collect();
        let mut found = self.levels.values().map(|level| self.search(level, &demands, takers, view));
        let found = found.find(|found| found.chosen.is_some())?;
        for passed in &found.passed {
            if let Some(entry) = self.tasks.get_mut(passed) {
                entry.passed += 1;
            }
        }
        found.chosen
    }

    fn search(&self, level: &Level, demands: &[DemandId], takers: &Takers<'_>, view: &View<'_>) -> Found {
        let mut passed = Vec::new();
        for id in self.in_order(level, demands, view.peers.count() > 1) {
            if passed.len() == BAND * view.peers.count() {
                break;
            }
            let Some(entry) = self.tasks.get(&id) else { continue };
            let best = || self.best(&entry.task, entry.demand, takers, view);
            if entry.passed >= BAND || view.peers.is_mine(&id) {
                if let Some(taker) = best() {
                    return Found { chosen: Some((id, taker)), passed };
                }
            } else if entry.task.avoid.is_empty() || best().is_some() {
                passed.push(id);
            }
        }
        let first = passed.first().and_then(|first| {
            let entry = self.tasks.get(first)?;
            Some((*first, self.best(&entry.task, entry.demand, takers, view)?))
        });
        Found { chosen: first, passed: Vec::new() }
    }

    /// The ready tasks of one priority with one of these demands, in fair order, leaving out
    /// projects and owners that are at their limit.
    pub(super) fn in_order<'a>(
        &'a self,
        level: &'a Level,
        demands: &'a [DemandId],
        several: bool,
    ) -> impl Iterator<Item = TaskId> + 'a {
        let limits = &self.limits;
        let projects = level.projects(demands);
        let open =
            projects.filter(move |(project, _)| self.live.project_hold(limits, project, several).is_none());
        let owners = open.flat_map(|(_, owners)| owners.in_turn(demands));
        let open = owners.filter(move |(owner, _)| self.live.owner_hold(limits, owner, several).is_none());
        open.flat_map(|(_, backlog)| backlog.by_age(demands)).map(|age| age.id)
    }

    /// Of the executors with a free slot that may take the task, the one that suits it best: not
    /// one on which it failed, with its image, with most of its caches, with the least to do.
    fn best(
        &self,
        task: &QueuedTask,
        demand: DemandId,
        takers: &Takers<'_>,
        view: &View<'_>,
    ) -> Option<usize> {
        let fit = takers.by_demand.get(&demand)?.iter().map(|place| (*place, &takers.all[*place]));
        let willing = fit.filter(|(_, taker)| {
            taker.free > 0 && personal(task, taker.executor, view.fleet, view.now).next().is_none()
        });
        let liking = |(_, taker): &(usize, &Taker<'_>)| {
            let executor = taker.executor;
            let failed = task.avoid.iter().any(|avoid| avoid.executor == executor.id);
            let is_cold = task.image.as_ref().is_some_and(|image| !executor.images.contains(image));
            let caches = task.caches.iter().filter(|cache| executor.caches.contains(*cache)).count();
            let load = u64::from(taker.live) * 1000 / u64::from(executor.slots.max(1));
            (failed, is_cold, Reverse(caches), load, executor.id)
        };
        willing.min_by_key(liking).map(|(place, _)| place)
    }
}

impl Takers<'_> {
    fn use_slot(&mut self, place: usize) {
        let taker = &mut self.all[place];
        (taker.live, taker.free) = (taker.live + 1, taker.free - 1);
        if taker.free > 0 {
            return;
        }
        let fit = |takers: &mut Vec<usize>| {
            if let Ok(at) = takers.binary_search(&place) {
                takers.remove(at);
            }
            !takers.is_empty()
        };
        self.by_demand.retain(|_, takers| fit(takers));
    }
}

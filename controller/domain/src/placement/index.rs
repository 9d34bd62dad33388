//! The index behind an offer: demands interned and found by label, tasks in fair order.
//!
//! What an offer costs grows with the number of different demands that the executor fits and with
//! the logarithm of the queue, not with the queue.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ocelot_core::id::TaskId;
use ocelot_core::plan::Label;

use super::demand::{Demand, Executor};
use super::refusal::lasting;
use super::round::{DemandId, Merge, Round};

/// A task's age: the order of acceptance, then the place in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    pub(super) accepted: u64,
    pub(super) id: TaskId,
}

/// What one owner has queued in one project.
#[derive(Debug, Clone, Default)]
pub(super) struct Backlog {
    tasks: BTreeMap<DemandId, BTreeSet<Age>>,
}

impl Backlog {
    fn insert(&mut self, demand: DemandId, age: Age) {
        self.tasks.entry(demand).or_default().insert(age);
    }

    fn remove(&mut self, demand: DemandId, age: &Age) {
        let Some(tasks) = self.tasks.get_mut(&demand) else { return };
        tasks.remove(age);
        if tasks.is_empty() {
            self.tasks.remove(&demand);
        }
    }

    pub(super) fn by_age(&self, demands: &[DemandId]) -> impl Iterator<Item = &Age> {
        Merge::of(demands.iter().filter_map(|demand| self.tasks.get(demand)).map(BTreeSet::iter))
    }
}

/// Where a task stands in the index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat<'a> {
    pub(super) project: &'a Arc<str>,
    pub(super) owner: &'a Arc<str>,
    pub(super) demand: DemandId,
    pub(super) age: Age,
    /// The share of its project.
    pub(super) weight: u32,
}

type Owners = Round<Arc<str>, Backlog>;

/// The tasks of one priority: projects take turns, and inside each project its owners.
#[derive(Debug, Clone, Default)]
pub(super) struct Level {
    projects: Round<Arc<str>, Owners>,
}

impl Level {
    pub(super) fn is_empty(&self) -> bool {
        self.projects.is_empty()
    }

    pub(super) fn add(&mut self, seat: &Seat<'_>) {
        let owners = self.projects.add(seat.project, seat.demand, seat.weight);
        owners.add(seat.owner, seat.demand, 1).insert(seat.demand, seat.age);
    }

    pub(super) fn remove(&mut self, seat: &Seat<'_>) {
        self.projects.remove(seat.project, seat.demand, |owners| {
            owners.remove(seat.owner, seat.demand, |backlog| backlog.remove(seat.demand, &seat.age));
        });
    }

    /// Charges project and owner for a task that was offered.
    pub(super) fn serve(&mut self, seat: &Seat<'_>) {
        if let Some(owners) = self.projects.serve(seat.project, seat.weight) {
            owners.serve(seat.owner, 1);
        }
    }

    pub(super) fn projects<'a>(
        &'a self,
        demands: &'a [DemandId],
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Owners)> {
        self.projects.in_turn(demands)
    }
}

/// All priorities, the highest first.
pub(super) type Levels = BTreeMap<Reverse<i8>, Level>;

#[derive(Debug)]
struct Interned {
    demand: Arc<Demand>,
    pin: Option<Label>,
    tasks: usize,
}

/// The different demands of the queued tasks. Each is filed under one of its labels, so that an
/// executor meets only those that ask for a label it has, or for none.
#[derive(Debug, Default)]
pub(super) struct Demands {
    issued: DemandId,
    ids: BTreeMap<Arc<Demand>, DemandId>,
    by_id: BTreeMap<DemandId, Interned>,
    pins: BTreeMap<Label, BTreeSet<DemandId>>,
    /// Those that ask for no label.
    unpinned: BTreeSet<DemandId>,
}

impl Demands {
    pub(super) fn add(&mut self, demand: &Demand) -> DemandId {
        let id = match self.ids.get(demand) {
            Some(id) => *id,
            None => self.intern(demand),
        };
        if let Some(interned) = self.by_id.get_mut(&id) {
            interned.tasks += 1;
        }
        id
    }

    pub(super) fn remove(&mut self, id: DemandId) {
        let Some(interned) = self.by_id.get_mut(&id) else { return };
        interned.tasks -= 1;
        if interned.tasks > 0 {
            return;
        }
        let Some(interned) = self.by_id.remove(&id) else { return };
        self.ids.remove(&interned.demand);
        self.unpinned.remove(&id);
        if let Some(pin) = &interned.pin
            && let Some(pinned) = self.pins.get_mut(pin)
        {
            pinned.remove(&id);
            if pinned.is_empty() {
                self.pins.remove(pin);
            }
        }
    }

    /// Returns the demands that this executor is fit for, in order of their ids.
    pub(super) fn fit(&self, executor: &Executor) -> Vec<DemandId> {
        // A fleet that idles meets few demands with many labels each.
        if self.by_id.len() <= executor.labels.len() {
            return self.by_id.keys().copied().filter(|id| self.is_fit(*id, executor)).collect();
        }
        let pinned = executor.labels.keys().filter_map(|label| self.pins.get(label)).flatten();
        let filed = pinned.chain(&self.unpinned);
        let mut fit: Vec<DemandId> = filed.copied().filter(|id| self.is_fit(*id, executor)).collect();
        fit.sort_unstable();
        fit
    }

    fn is_fit(&self, id: DemandId, executor: &Executor) -> bool {
        self.by_id.get(&id).is_some_and(|interned| lasting(&interned.demand, executor).next().is_none())
    }

    fn intern(&mut self, demand: &Demand) -> DemandId {
        self.issued += 1;
        let id = self.issued;
        let demand = Arc::new(demand.clone());
        // The label with the fewest demands so far is the one that tells most apart: `name=x86-3`, not `os=linux`.
        let filed = |label: &&Label| self.pins.get(*label).map_or(0, BTreeSet::len);
        let pin = demand.labels.iter().min_by_key(filed).cloned();
        match &pin {
            Some(pin) => self.pins.entry(pin.clone()).or_default().insert(id),
            None => self.unpinned.insert(id),
        };
        self.ids.insert(Arc::clone(&demand), id);
        self.by_id.insert(id, Interned { demand, pin, tasks: 0 });
        id
    }
}

//! Soft limits and weights, set by an operator, and the count of live tasks they are held against.
//!
//! Each controller counts what its own view shows it. With several controllers a limited project or
//! owner gets one offer at a time from each, until the controller's view shows that offer; so
//! together they exceed a limit by at most one task each. Concurrency groups are the hard ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use ocelot_core::id::{ExecutorId, TaskId};

use super::refusal::Hold;

/// What an operator allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// For each project that is not named in `projects`.
    pub project: Option<u32>,
    pub projects: BTreeMap<Arc<str>, u32>,
    /// For each owner that is not named in `owners`.
    pub owner: Option<u32>,
    pub owners: BTreeMap<Arc<str>, u32>,
    /// For each executor, whatever slots it says it has.
    pub executor: Option<u32>,
    /// Share of a project beside the others; 1 unless named.
    pub weights: BTreeMap<Arc<str>, u32>,
}

impl Limits {
    pub fn of_project(&self, project: &str) -> Option<u32> {
        self.projects.get(project).copied().or(self.project)
    }

    pub fn of_owner(&self, owner: &str) -> Option<u32> {
        self.owners.get(owner).copied().or(self.owner)
    }

    /// Tells whether the end of one task can let in another of the same project or owner.
    pub(super) fn bind_projects(&self) -> bool {
        let named = !self.projects.is_empty() || !self.owners.is_empty();
        named || self.project.is_some() || self.owner.is_some()
    }

    pub(super) fn weight(&self, project: &str) -> u32 {
        self.weights.get(project).copied().unwrap_or(1)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LiveTask {
    project: Arc<str>,
    owner: Arc<str>,
    executor: ExecutorId,
    proof: Proof,
}

/// How the controller knows that a task is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// It made the offer, and its view of the store does not show it yet.
    Ours,
    /// The store says so.
    Stored,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    live: u32,
    unproven: u32,
}

/// The live tasks, counted by project, owner and executor.
#[derive(Debug, Default)]
pub(super) struct Live {
    tasks: BTreeMap<TaskId, LiveTask>,
    projects: BTreeMap<Arc<str>, Count>,
    owners: BTreeMap<Arc<str>, Count>,
    executors: BTreeMap<ExecutorId, Count>,
}

impl Live {
    pub(super) fn insert(
        &mut self,
        id: TaskId,
        project: &Arc<str>,
        owner: &Arc<str>,
        executor: ExecutorId,
        proof: Proof,
    ) {
        self.remove(&id);
        let (project, owner) = (Arc::clone(project), Arc::clone(owner));
        for count in [
            self.projects.entry(Arc::clone(&project)).or_default(),
            self.owners.entry(Arc::clone(&owner)).or_default(),
            self.executors.entry(executor).or_default(),
        ] {
            count.live += 1;
            count.unproven += u32::from(proof == Proof::Ours);
        }
        self.tasks.insert(id, LiveTask { project, owner, executor, proof });
    }

    /// Returns the executor that had it.
    pub(super) fn remove(&mut self, id: &TaskId) -> Option<ExecutorId> {
        let task = self.tasks.remove(id)?;
        let LiveTask { project, owner, executor, proof } = task;
        uncount(&mut self.projects, &project, proof);
        uncount(&mut self.owners, &owner, proof);
        uncount(&mut self.executors, &executor, proof);
        Some(executor)
    }

    pub(super) fn on(&self, executor: &ExecutorId) -> u32 {
        self.executors.get(executor).map_or(0, |count| count.live)
    }

    /// What the project's limit says against one more task, if this is one of several controllers.
    pub(super) fn project_hold(&self, limits: &Limits, project: &Arc<str>, several: bool) -> Option<Hold> {
        let limit = limits.of_project(project)?;
        let live = reached(self.projects.get(project), limit, several)?;
        Some(Hold::ProjectLimit { project: Arc::clone(project), live, limit })
    }

    pub(super) fn owner_hold(&self, limits: &Limits, owner: &Arc<str>, several: bool) -> Option<Hold> {
        let limit = limits.of_owner(owner)?;
        let live = reached(self.owners.get(owner), limit, several)?;
        Some(Hold::OwnerLimit { owner: Arc::clone(owner), live, limit })
    }
}

fn uncount<K: Ord>(counts: &mut BTreeMap<K, Count>, key: &K, proof: Proof) {
    let Some(count) = counts.get_mut(key) else { return };
    count.live -= 1;
    count.unproven -= u32::from(proof == Proof::Ours);
    if *count == Count::default() {
        counts.remove(key);
    }
}

fn reached(count: Option<&Count>, limit: u32, several: bool) -> Option<u32> {
    let Count { live, unproven } = count.copied().unwrap_or_default();
    (live >= limit || (several && unproven > 0)).then_some(live)
}

//! Concurrency groups: at most n holders at a time, in acceptance order.
//!
//! The limit is hard because [`GroupRecord`] is compared and put in the transaction of the offer,
//! and released in the transaction that ends its holder. The order is kept by what a controller
//! goes for: of those that wait for a group, only the oldest that fit are in the queue's index at
//! all, so a long line before a full group costs an offer nothing. A holder keeps its slot from its
//! first offer to its end, retries included.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ocelot_core::id::{RunId, TaskId};
use ocelot_core::plan::{Concurrency, Plan, Supersede, TaskPlan};
use serde::{Deserialize, Serialize};

/// A group: a project's own, or one shared by all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupName {
    pub project: Option<Arc<str>>,
    pub name: Arc<str>,
}

impl GroupName {
    /// Reads the name as a plan writes it: `/name` is shared by all projects.
    pub fn new(project: &Arc<str>, written: &str) -> Self {
        match written.strip_prefix('/') {
            Some(name) => Self { project: None, name: name.into() },
            None => Self { project: Some(Arc::clone(project)), name: written.into() },
        }
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.project {
            Some(_) => f.write_str(&self.name),
            None => write!(f, "/{}", self.name),
        }
    }
}

/// Who holds a slot: a run until its end, for its own `concurrency`, or a task for the task's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    Run(RunId),
    Task(TaskId),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(run) => write!(f, "run {run}"),
            Self::Task(task) => write!(f, "task {task}"),
        }
    }
}

/// A slot that an offer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotClaim {
    pub group: GroupName,
    pub limit: u32,
    pub holder: Holder,
}

/// Returns the slots that a task needs. Where its own group is its run's too, the run's slot is
/// enough: it would wait for its own run for ever.
pub fn claims(plan: &Plan, task: &TaskPlan, id: TaskId, project: &Arc<str>) -> Vec<SlotClaim> {
    let claim = |concurrency: &Concurrency, holder| SlotClaim {
        group: GroupName::new(project, &concurrency.group),
        limit: concurrency.limit,
        holder,
    };
    let of_run = plan.concurrency.as_ref().map(|concurrency| claim(concurrency, Holder::Run(id.run)));
    let of_task = task.concurrency.as_ref().map(|concurrency| claim(concurrency, Holder::Task(id)));
    let same = |claim: &SlotClaim| of_run.as_ref().is_some_and(|of_run| of_run.group == claim.group);
    let of_task = of_task.filter(|claim| !same(claim));
    of_run.into_iter().chain(of_task).collect()
}

/// The stored state of a group: who is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    pub holders: BTreeSet<Holder>,
}

/// The group has no slot left for this holder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("group {group} admits {limit} at a time")]
pub struct GroupFull {
    pub group: GroupName,
    pub limit: u32,
}

impl GroupRecord {
    /// Returns the record with the slot taken; the same record if the holder has it already.
    pub fn take(&self, claim: &SlotClaim) -> Result<Self, GroupFull> {
        let mut next = self.clone();
        if next.holders.insert(claim.holder) && next.holders.len() > claim.limit as usize {
            return Err(GroupFull { group: claim.group.clone(), limit: claim.limit });
        }
        Ok(next)
    }

    /// Returns the record without this holder.
    pub fn release(&self, holder: &Holder) -> Self {
        let mut next = self.clone();
        next.holders.remove(holder);
        next
    }
}

/// A live member of a group, as far as superseding it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub holder: Holder,
    pub accepted: u64,
    pub phase: Phase,
    /// What this member does to older ones.
    pub cancel: Supersede,
}

/// How far a member of a group is. One that is being cancelled is no member any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Waiting,
    Running,
}

/// Returns the members that a newer one ends, each with the newest that does, oldest first.
pub fn superseded(members: &[Member]) -> Vec<(Holder, Holder)> {
    let ends = |newer: &Member, older: &Member| {
        newer.accepted > older.accepted
            && match (newer.cancel, older.phase) {
                (Supersede::Never, _) | (Supersede::Waiting, Phase::Running) => false,
                (Supersede::Waiting, Phase::Waiting) | (Supersede::Running, _) => true,
            }
    };
    let mut oldest_first: Vec<&Member> = members.iter().collect();
    oldest_first.sort_by_key(|member| (member.accepted, member.holder));
    let by = |older: &Member| oldest_first.iter().rev().find(|newer| ends(newer, older)).map(|by| by.holder);
    oldest_first.iter().filter_map(|older| Some((older.holder, by(older)?))).collect()
}

type Place = (u64, Holder);

#[derive(Debug, Default)]
struct Waiter {
    limit: u32,
    tasks: BTreeSet<TaskId>,
}

/// One group in the queue: who is in, and who waits in which order.
#[derive(Debug, Default)]
pub(super) struct Line {
    record: GroupRecord,
    /// Everybody with queued tasks, holders included.
    waiting: BTreeMap<Place, Waiter>,
    places: BTreeMap<Holder, u64>,
    /// The oldest that wait and fit beside the holders.
    next: BTreeSet<Holder>,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.record.holders.is_empty()
    }

    pub(super) fn holds(&self, holder: &Holder) -> bool {
        self.record.holders.contains(holder)
    }

    pub(super) fn admits(&self, holder: &Holder) -> bool {
        self.holds(holder) || self.next.contains(holder)
    }

    pub(super) fn holders(&self) -> Vec<Holder> {
        self.record.holders.iter().copied().collect()
    }

    /// How many that are no holders wait before this place.
    pub(super) fn ahead(&self, accepted: u64, holder: &Holder) -> usize {
        let before = self.waiting.range(..(accepted, *holder));
        before.filter(|((_, other), _)| !self.holds(other)).count()
    }

    /// Adds a task to the line; returns the tasks whose admission changed by it.
    pub(super) fn join(&mut self, claim: &SlotClaim, accepted: u64, task: TaskId) -> Vec<TaskId> {
        let accepted = *self.places.entry(claim.holder).or_insert(accepted);
        let waiter = self.waiting.entry((accepted, claim.holder)).or_default();
        waiter.limit = claim.limit;
        waiter.tasks.insert(task);
        self.settle()
    }

    /// Takes a task out of the line; returns the tasks whose admission changed by it.
    pub(super) fn quit(&mut self, holder: &Holder, task: &TaskId) -> Vec<TaskId> {
        let Some(accepted) = self.places.get(holder) else { return Vec::new() };
        let place = (*accepted, *holder);
        let Some(waiter) = self.waiting.get_mut(&place) else { return Vec::new() };
        waiter.tasks.remove(task);
        if !waiter.tasks.is_empty() {
            return Vec::new();
        }
        self.waiting.remove(&place);
        self.places.remove(holder);
        self.settle()
    }

    /// Replaces who is in; returns the tasks whose admission changed by it.
    pub(super) fn set(&mut self, record: GroupRecord) -> Vec<TaskId> {
        let before = std::mem::replace(&mut self.record, record);
        let mut changed = self.settle();
        for holder in before.holders.symmetric_difference(&self.record.holders) {
            changed.extend(tasks_of(&self.places, &self.waiting, holder));
        }
        changed
    }

    pub(super) fn record(&self) -> &GroupRecord {
        &self.record
    }

    /// Finds anew who is next. It looks at no more than the holders and the limit, however many wait.
    fn settle(&mut self) -> Vec<TaskId> {
        let mut next = BTreeSet::new();
        for ((_, holder), waiter) in &self.waiting {
            if self.record.holders.contains(holder) {
                continue;
            }
            if self.record.holders.len() + next.len() >= waiter.limit as usize {
                break;
            }
            next.insert(*holder);
        }
        let before = std::mem::replace(&mut self.next, next);
        let changed = before.symmetric_difference(&self.next);
        changed.flat_map(|holder| tasks_of(&self.places, &self.waiting, holder)).collect()
    }
}

fn tasks_of<'a>(
    places: &BTreeMap<Holder, u64>,
    waiting: &'a BTreeMap<Place, Waiter>,
    holder: &Holder,
) -> impl Iterator<Item = TaskId> + use<'a> {
    let waiter = places.get(holder).and_then(|accepted| waiting.get(&(*accepted, *holder)));
    waiter.into_iter().flat_map(|waiter| waiter.tasks.iter().copied())
}

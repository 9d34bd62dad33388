//! The queue as one controller sees it, derived from the tasks' records and never a second truth.
//!
//! Every operation takes what a record says and may be repeated: [`Queue::insert`] for a task that
//! is queued, [`Queue::live`] for one that is offered, running or cancelling, [`Queue::gone`] for
//! one that ended or waits again, [`Queue::set_group`] for a group. In the index are only *ready*
//! tasks: due, and admitted by their groups; the others are held aside until that changes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::{ExecutorId, TaskId};

use super::demand::QueuedTask;
use super::group::{GroupName, GroupRecord, Line, SlotClaim};
use super::index::{Age, Demands, Level, Levels, Seat};
use super::limits::{Limits, Live, Proof};
use super::round::DemandId;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: QueuedTask,
    pub(super) demand: DemandId,
    standing: Standing,
    /// How often this controller passed it over for a later one that is more its own.
    pub(super) passed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Aside: not due, or not admitted by a group.
    Held,
    /// In the index.
    Ready,
}

/// The queued tasks, indexed for offers, and the counts that limit them.
#[derive(Debug, Default)]
pub struct Queue {
    pub(super) limits: Limits,
    pub(super) tasks: BTreeMap<TaskId, Entry>,
    pub(super) demands: Demands,
    pub(super) levels: Levels,
    pub(super) lines: BTreeMap<GroupName, Line>,
    pub(super) live: Live,
    later: BTreeSet<(Duration, TaskId)>,
    /// The latest moment that an offer was made at; what was due by then is not in `later`.
    now: Duration,
    pub(super) news: News,
}

/// What has changed since offers were sought, and may let one be made that could not be before.
///
/// Time alone lets some in, too: who is avoided for a while. So everything is to be looked at now and
/// then, whatever the news.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum News {
    #[default]
    Everything,
    /// Only that these may have a slot free.
    Executors(BTreeSet<ExecutorId>),
}

impl Queue {
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Replaces limits and weights; a weight counts from a project's next turn on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.look_at_everything();
    }

    /// Tells that something changed which the queue does not know of: an executor, an offer.
    pub fn look_at_everything(&mut self) {
        self.news = News::Everything;
    }

    /// Takes what is new, for whoever seeks offers next. A search that finds fewer than it asked for
    /// has found all.
    pub fn take_news(&mut self, now: Duration) -> News {
        self.wake(now);
        std::mem::replace(&mut self.news, News::Executors(BTreeSet::new()))
    }

    /// Returns how many tasks are queued, ready or not.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Puts a queued task of an active run in, or takes over what changed in it. One that does not
    /// change keeps its turn.
    pub fn insert(&mut self, task: QueuedTask) {
        if self.tasks.get(&task.id).is_some_and(|entry| entry.task == task) {
            return;
        }
        self.gone(&task.id);
        let (id, accepted) = (task.id, task.accepted);
        let demand = self.demands.add(&task.demand);
        self.later.extend(task.after.filter(|after| *after > self.now).map(|after| (after, id)));
        let groups = task.groups.clone();
        self.tasks.insert(id, Entry { task, demand, standing: Standing::Held, passed: 0 });
        let mut changed = vec![id];
        for claim in &groups {
            let line = self.lines.entry(claim.group.clone()).or_default();
            changed.extend(line.join(claim, accepted, id));
        }
        self.settle(changed);
    }

    /// Notes that the store shows this task with an executor.
    pub fn live(&mut self, id: TaskId, project: &Arc<str>, owner: &Arc<str>, executor: ExecutorId) {
        // Somebody else's offer is charged as ours is: the share is the project's, not the controller's.
        self.serve(&id);
        self.hold_slots(&id);
        self.gone(&id);
        self.live.insert(id, project, owner, executor, Proof::Stored);
    }

    /// Takes out a task that is neither queued nor live any more; returns it if it was queued.
    pub fn gone(&mut self, id: &TaskId) -> Option<QueuedTask> {
        if let Some(executor) = self.live.remove(id) {
            self.let_go(executor);
        }
        // The next in line comes in before this one goes out, so that a project which has both keeps its turn.
        self.quit_lines(id);
        self.unseat(id);
        let entry = self.tasks.remove(id)?;
        self.demands.remove(entry.demand);
        if let Some(after) = entry.task.after {
            self.later.remove(&(after, *id));
        }
        Some(entry.task)
    }

    fn let_go(&mut self, executor: ExecutorId) {
        match &mut self.news {
            // A place under a limit is free for whoever polls.
            News::Executors(_) if self.limits.bind_projects() => self.news = News::Everything,
            News::Executors(executors) => _ = executors.insert(executor),
            News::Everything => {}
        }
    }

    /// Returns the groups that tasks of this queue wait for or hold.
    pub fn groups(&self) -> Vec<GroupName> {
        self.lines.keys().cloned().collect()
    }

    /// Takes over what the store says about a group, also after an offer that was lost to a compare.
    pub fn set_group(&mut self, group: &GroupName, record: GroupRecord) {
        let line = self.lines.entry(group.clone()).or_default();
        let changed = line.set(record);
        if line.is_empty() {
            self.lines.remove(group);
        }
        self.settle(changed);
    }

    /// Returns the moment at which a task becomes due that is not due yet.
    pub fn next_due(&self) -> Option<Duration> {
        self.later.first().map(|(after, _)| *after)
    }

    /// Lets tasks in whose time has come.
    pub(super) fn wake(&mut self, now: Duration) {
        self.now = self.now.max(now);
        let mut due = Vec::new();
        while let Some((after, id)) = self.later.first().copied().filter(|(after, _)| *after <= self.now) {
            self.later.remove(&(after, id));
            due.push(id);
        }
        self.settle(due);
    }

    /// Moves a task from the queue to the live ones by an offer of ours, and takes its slots.
    pub(super) fn take(&mut self, id: &TaskId, executor: ExecutorId) -> Option<QueuedTask> {
        self.serve(id);
        self.hold_slots(id);
        let task = self.gone(id)?;
        self.live.insert(*id, &task.project, &task.owner, executor, Proof::Ours);
        Some(task)
    }

    /// Counts the slots of a queued task as taken before the store shows it, so that the next in
    /// line does not come forward in vain.
    fn hold_slots(&mut self, id: &TaskId) {
        let Some(entry) = self.tasks.get(id) else { return };
        let mut changed = Vec::new();
        for claim in &entry.task.groups {
            let Some(line) = self.lines.get_mut(&claim.group) else { continue };
            if let Ok(record) = line.record().take(claim) {
                changed.extend(line.set(record));
            }
        }
        self.settle(changed);
    }

    /// The groups that do not let a task in now.
    pub(super) fn blocking<'a>(&'a self, task: &'a QueuedTask) -> impl Iterator<Item = &'a SlotClaim> {
        task.groups.iter().filter(|claim| {
            let line = self.lines.get(&claim.group);
            let is_in_line = self.tasks.contains_key(&task.id);
            !line.map_or(claim.limit > 0, |line| match is_in_line {
                true => line.admits(&claim.holder),
                false => line.record().take(claim).is_ok(),
            })
        })
    }

    fn quit_lines(&mut self, id: &TaskId) {
        let Some(entry) = self.tasks.get(id) else { return };
        let mut changed = Vec::new();
        for SlotClaim { group, holder, .. } in &entry.task.groups {
            let Some(line) = self.lines.get_mut(group) else { continue };
            changed.extend(line.quit(holder, id));
            if line.is_empty() {
                self.lines.remove(group);
            }
        }
        self.settle(changed);
    }

    fn serve(&mut self, id: &TaskId) {
        let Some(entry) = self.tasks.get(id) else { return };
        if let Some(level) = self.levels.get_mut(&Reverse(entry.task.priority)) {
            level.serve(&seat(entry, &self.limits));
        }
    }

    /// Puts each of these tasks into the index or takes it out, as its groups and its time have it.
    /// The oldest goes in first, so that turns are issued in one order whatever the cause.
    fn settle(&mut self, changed: Vec<TaskId>) {
        let age = |id: &TaskId| Some(Age { accepted: self.tasks.get(id)?.task.accepted, id: *id });
        let changed: BTreeSet<Age> = changed.iter().filter_map(age).collect();
        let (ready, held): (Vec<Age>, Vec<Age>) = changed.into_iter().partition(|age| self.is_ready(&age.id));
        ready.iter().for_each(|age| self.seat(&age.id));
        held.iter().for_each(|age| self.unseat(&age.id));
    }

    fn is_ready(&self, id: &TaskId) -> bool {
        self.tasks.get(id).is_some_and(|Entry { task, .. }| {
            let is_due = task.after.is_none_or(|after| !self.later.contains(&(after, *id)));
            is_due && self.blocking(task).next().is_none()
        })
    }

    fn seat(&mut self, id: &TaskId) {
        let Some(entry) = self.tasks.get_mut(id) else { return };
        if entry.standing == Standing::Held {
            entry.standing = Standing::Ready;
            self.news = News::Everything;
            let level = self.levels.entry(Reverse(entry.task.priority)).or_default();
            level.add(&seat(entry, &self.limits));
        }
    }

    fn unseat(&mut self, id: &TaskId) {
        let Some(entry) = self.tasks.get_mut(id) else { return };
        if entry.standing == Standing::Held {
            return;
        }
        entry.standing = Standing::Held;
        let key = Reverse(entry.task.priority);
        if let Some(level) = self.levels.get_mut(&key) {
            level.remove(&seat(entry, &self.limits));
            if level.is_empty() {
                self.levels.remove(&key);
            }
        }
    }

    /// The level of a queued task; none while it is held aside.
    pub(super) fn level(&self, id: &TaskId) -> Option<&Level> {
        let entry = self.tasks.get(id).filter(|entry| entry.standing == Standing::Ready)?;
        self.levels.get(&Reverse(entry.task.priority))
    }
}

pub(super) fn seat<'a>(entry: &'a Entry, limits: &Limits) -> Seat<'a> {
    let Entry { task, demand, .. } = entry;
    Seat {
        project: &task.project,
        owner: &task.owner,
        demand: *demand,
        age: Age { accepted: task.accepted, id: task.id },
        weight: limits.weight(&task.project),
    }
}

//! One controller's index of tasks and executors, kept from the view.
//!
//! It holds what placement and polls ask for, and since when this controller has seen each record
//! as it is. All of it is derived; news about a record counts only if its revision grows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::{ExecutorId, SessionId, TaskId};
use ocelot_core::plan::{Plan, Runtime};
use ocelot_domain::outcome::Outcome;
use ocelot_domain::placement::{
    Avoid, AvoidWhy, DECLINE_AVOIDED, Demand, Executor, FAILURE_AVOIDED, Fleet, Limits, Peers, Queue,
    QueuedTask, Trust, claims,
};
use ocelot_domain::task::state::{Session, Task, TaskState};

use super::ages::Ages;
use super::waits::Waits;
use crate::records::{RunRecord, Stage};
use crate::store::Revision;

#[derive(Debug)]
pub(super) struct Board {
    pub(super) queue: Queue,
    pub(super) fleet: Fleet,
    pub(super) peers: Peers,
    /// When everything is looked at, whatever the news.
    pub(super) look_again: Duration,
    /// The session of each executor that has one.
    pub(super) sessions: BTreeMap<ExecutorId, Session>,
    /// What the fleet counts for at least.
    #[cfg(test)]
    pub(super) fleet_least: u32,
    /// The groups that the queue was told of, as their keys write them.
    pub(super) groups: BTreeSet<String>,
    /// The executor of each of `sessions`.
    by_session: BTreeMap<SessionId, ExecutorId>,
    /// What is known of each task that has not ended.
    seen: BTreeMap<TaskId, Seen>,
    /// Those of them that wait for an executor or a person.
    waiting: Waits,
    /// Those of them that are offered.
    offered: BTreeSet<TaskId>,
    pub(super) ages: Ages,
    /// Tasks of which an offer is on its way to the store, with the revision that it compares.
    asked: BTreeMap<TaskId, Revision>,
    holdings: BTreeMap<SessionId, BTreeSet<TaskId>>,
}

#[derive(Debug, Default)]
struct Seen {
    revision: Revision,
    since: Duration,
    holder: Option<SessionId>,
    /// Until when each executor that declined it is not asked.
    declined: BTreeMap<ExecutorId, Duration>,
    /// Until when each executor on which it failed is avoided.
    failed: BTreeMap<ExecutorId, Duration>,
    ended: usize,
}

/// A run with its plan, as a task's demand is read off it.
#[derive(Debug, Clone)]
pub(super) struct RunOf<'a> {
    pub(super) record: &'a RunRecord,
    pub(super) plan: &'a Plan,
    /// The revision that accepted it.
    pub(super) accepted: Revision,
}

impl Board {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            queue: Queue::new(limits),
            fleet: Fleet::new(),
            peers: Peers::alone(),
            look_again: Duration::ZERO,
            sessions: BTreeMap::new(),
            #[cfg(test)]
            fleet_least: 0,
            groups: BTreeSet::new(),
            by_session: BTreeMap::new(),
            seen: BTreeMap::new(),
            waiting: Waits::default(),
            offered: BTreeSet::new(),
            ages: Ages::default(),
            asked: BTreeMap::new(),
            holdings: BTreeMap::new(),
        }
    }

    pub(super) fn fleet_size(&self) -> u32 {
        let size = u32::try_from(self.fleet.len()).unwrap_or(u32::MAX);
        #[cfg(test)]
        let size = size.max(self.fleet_least);
        size
    }

    /// Returns the tasks that the records give to this session.
    pub(super) fn held_by(&self, session: &SessionId) -> Vec<TaskId> {
        self.holdings.get(session).into_iter().flatten().copied().collect()
    }

    /// Returns the sessions that hold something.
    pub(super) fn holders(&self) -> Vec<SessionId> {
        self.holdings.keys().copied().collect()
    }

    /// Returns how long this controller has seen the task as it is at this revision.
    pub(super) fn seen_for(&self, id: &TaskId, revision: Revision, now: Duration) -> Duration {
        let seen = self.seen.get(id).filter(|seen| seen.revision == revision);
        seen.map_or(Duration::ZERO, |seen| now.saturating_sub(seen.since))
    }

    /// Takes over what the store says about a task; returns the sessions whose polls may have news.
    pub(super) fn task(
        &mut self,
        task: &Task,
        revision: Revision,
        run: Option<&RunOf<'_>>,
        now: Duration,
    ) -> Vec<SessionId> {
        let seen = self.seen.entry(task.id).or_insert_with(|| Seen { since: now, ..Seen::default() });
        if revision < seen.revision {
            return Vec::new();
        }
        if revision > seen.revision {
            seen.note(task, revision, now);
        }
        let holder = task.live().map(|live| live.session.id);
        let before = std::mem::replace(&mut seen.holder, holder);
        let news: Vec<SessionId> = before.into_iter().chain(holder).collect();
        if let Some(before) = before.filter(|before| Some(*before) != holder) {
            self.let_go(&before, &task.id);
        }
        if let Some(holder) = holder {
            self.holdings.entry(holder).or_default().insert(task.id);
        }
        self.sort(task);
        if self.asked.get(&task.id) != Some(&revision) {
            self.asked.remove(&task.id);
            self.place(task, run);
        }
        news
    }

    /// Files a task under what it is, so that nobody has to look through all of them.
    fn sort(&mut self, task: &Task) {
        let (waits, is_offered, is_over) = match &task.state {
            TaskState::Waiting { .. } | TaskState::Queued { .. } => (true, false, false),
            TaskState::Offered { .. } => (false, true, false),
            TaskState::Running { .. } | TaskState::Cancelling { .. } => (false, false, false),
            TaskState::Finished { .. } => (false, false, true),
        };
        if waits {
            let since = self.seen.get(&task.id).map_or(Duration::ZERO, |seen| seen.since);
            let most = task.waits_at_most();
            self.waiting.insert(task.id, most.map(|most| since.saturating_add(most)));
        } else {
            self.waiting.remove(&task.id);
        }
        if is_offered {
            self.offered.insert(task.id);
        } else {
            self.offered.remove(&task.id);
        }
        self.ages.note(task);
        if is_over {
            self.seen.remove(&task.id);
        }
    }

    /// Notes that an offer is on its way: until the store shows what became of it, the same record
    /// seen once more says nothing.
    pub(super) fn ask(&mut self, id: TaskId, revision: Revision) {
        self.asked.insert(id, revision);
    }

    /// Notes that an offer was not made, or that nobody knows.
    pub(super) fn not_made(&mut self, id: &TaskId) {
        self.queue.look_at_everything();
        self.asked.remove(id);
    }

    #[cfg(test)]
    pub(super) fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Takes over what the store says about an executor; none if it is gone.
    pub(super) fn executor(&mut self, id: ExecutorId, now: Option<(Executor, Option<Session>)>) {
        self.queue.look_at_everything();
        let (executor, session) = now.unzip();
        match executor {
            Some(executor) => drop(self.fleet.insert(id, executor)),
            None => drop(self.fleet.remove(&id)),
        }
        let before = match session.flatten() {
            Some(session) => {
                self.by_session.insert(session.id, id);
                self.sessions.insert(id, session).filter(|before| before.id != session.id)
            }
            None => self.sessions.remove(&id),
        };
        if let Some(before) = before {
            self.by_session.remove(&before.id);
        }
    }

    /// Returns the executor whose session this is, as far as it counts.
    pub(super) fn executor_of(&self, session: &SessionId) -> Option<ExecutorId> {
        self.by_session.get(session).copied()
    }

    /// Returns how many tasks wait (in a queue or not), how many are offered, and how many there are.
    pub(super) fn counts(&self) -> [usize; 3] {
        [self.waiting.len(), self.offered.len(), self.seen.len()]
    }

    /// Returns how many attempts an executor holds.
    pub(super) fn holds(&self, executor: &ExecutorId) -> usize {
        let session = self.sessions.get(executor);
        session.and_then(|session| self.holdings.get(&session.id)).map_or(0, BTreeSet::len)
    }

    /// Returns the tasks that have waited long enough.
    pub(super) fn overdue(&self, now: Duration) -> Vec<TaskId> {
        self.waiting.over(now)
    }

    pub(super) fn offered(&self) -> Vec<TaskId> {
        self.offered.iter().copied().collect()
    }

    fn place(&mut self, task: &Task, run: Option<&RunOf<'_>>) {
        let wanted = run.filter(|run| run.record.stage == Stage::Active && run.record.cancel.is_none());
        match (&task.state, run, wanted) {
            (TaskState::Queued { .. }, _, Some(run)) => match self.queued(task, run) {
                Some(queued) => self.queue.insert(queued),
                None => drop(self.queue.gone(&task.id)),
            },
            (
                TaskState::Offered { live }
                | TaskState::Running { live, .. }
                | TaskState::Cancelling { live, .. },
                Some(run),
                _,
            ) => {
                let owner: Arc<str> = run.record.trigger.by.0.as_str().into();
                self.queue.live(task.id, &run.record.project(), &owner, live.session.executor);
            }
            (
                TaskState::Offered { live }
                | TaskState::Running { live, .. }
                | TaskState::Cancelling { live, .. },
                None,
                _,
            ) => {
                let nobody: Arc<str> = "".into();
                self.queue.live(task.id, &nobody, &nobody, live.session.executor);
            }
            (TaskState::Waiting { .. } | TaskState::Queued { .. } | TaskState::Finished { .. }, _, _) => {
                drop(self.queue.gone(&task.id));
            }
        }
    }

    /// Returns a task as placement sees it; none if its plan does not know it.
    pub(super) fn queued(&self, task: &Task, run: &RunOf<'_>) -> Option<QueuedTask> {
        let plan = run.plan.tasks.get(task.id.index as usize)?;
        let project = run.record.project();
        let seen = self.seen.get(&task.id);
        let since = seen.map_or(Duration::ZERO, |seen| seen.since);
        let after = match &task.state {
            TaskState::Queued { after } if !after.is_zero() => Some(since.saturating_add(*after)),
            TaskState::Queued { .. }
            | TaskState::Waiting { .. }
            | TaskState::Offered { .. }
            | TaskState::Running { .. }
            | TaskState::Cancelling { .. }
            | TaskState::Finished { .. } => None,
        };
        let image = match &plan.environment.runtime {
            Runtime::Container { image, .. } => Some(image.as_str().into()),
            Runtime::Process => None,
        };
        Some(QueuedTask {
            id: task.id,
            demand: Demand::of(plan, &project, Trust::Trusted),
            owner: run.record.trigger.by.0.as_str().into(),
            priority: plan.priority,
            accepted: u64::try_from(run.accepted.0).unwrap_or(0),
            after,
            groups: claims(run.plan, plan, task.id, &project),
            avoid: seen.map(Seen::avoid).unwrap_or_default(),
            image,
            caches: plan.environment.caches.iter().map(|cache| cache.name.as_str().into()).collect(),
            project,
        })
    }

    /// Forgets a task whose record is gone.
    pub(super) fn forget(&mut self, id: &TaskId) {
        drop(self.queue.gone(id));
        self.waiting.remove(id);
        self.offered.remove(id);
        self.ages.forget(id);
        self.asked.remove(id);
        let holder = self.seen.remove(id).and_then(|seen| seen.holder);
        if let Some(holder) = holder {
            self.let_go(&holder, id);
        }
    }

    pub(super) fn known(&self) -> Vec<TaskId> {
        self.seen.keys().copied().collect()
    }

    fn let_go(&mut self, session: &SessionId, id: &TaskId) {
        if let Some(held) = self.holdings.get_mut(session) {
            held.remove(id);
            if held.is_empty() {
                self.holdings.remove(session);
            }
        }
    }
}

impl Seen {
    fn note(&mut self, task: &Task, revision: Revision, now: Duration) {
        (self.revision, self.since) = (revision, now);
        self.declined.retain(|executor, _| task.avoided.contains(executor));
        for executor in &task.avoided {
            self.declined.entry(*executor).or_insert(now + DECLINE_AVOIDED);
        }
        // The latest in the list has just declined, perhaps again.
        if let (Some(latest), TaskState::Queued { .. }) = (task.avoided.last(), &task.state) {
            self.declined.insert(*latest, now + DECLINE_AVOIDED);
        }
        for ended in task.ended.iter().skip(self.ended) {
            match &ended.outcome {
                Outcome::Succeeded | Outcome::Cancelled { .. } | Outcome::Skipped { .. } => {}
                Outcome::Failed { .. }
                | Outcome::TimedOut(_)
                | Outcome::Rejected { .. }
                | Outcome::Lost { .. } => {
                    self.failed.insert(ended.executor, now + FAILURE_AVOIDED);
                }
            }
        }
        self.ended = task.ended.len();
    }

    fn avoid(&self) -> Vec<Avoid> {
        let avoid = |why| {
            move |(executor, until): (&ExecutorId, &Duration)| Avoid {
                executor: *executor,
                why,
                until: *until,
            }
        };
        let declined = self.declined.iter().map(avoid(AvoidWhy::Declined));
        declined.chain(self.failed.iter().map(avoid(AvoidWhy::Failed))).collect()
    }
}

//! From the view to the board: news taken over, and the board's tasks looked up with their age.
//!
//! Nothing is decided here, and nothing is written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::{ExecutorId, RunId, SessionId, TaskId};
use ocelot_domain::task::state::{Task, TaskState};

use super::board::RunOf;
use super::facts::group_name;
use super::{AttemptRef, Service, fleet};
use crate::records::{RunRecord, Stored};
use crate::store::Revision;
use crate::store::keys::{Folder, Key};
use crate::store::view::{Changed, Entry};

impl Service {
    /// Takes over news of the view.
    pub(crate) async fn take_in(&self, changed: &Changed) {
        match changed {
            Changed::Everything => self.take_in_everything().await,
            Changed::Keys(keys) => {
                let (mut tasks, mut executors) = (BTreeSet::new(), BTreeSet::new());
                for key in keys {
                    match key.parse::<Key>() {
                        Ok(Key::Task(id)) => _ = tasks.insert(id),
                        Ok(Key::Run(run)) => tasks.extend(self.tasks_of(run)),
                        Ok(Key::Group(name)) => self.take_in_group(&name),
                        Ok(Key::Executor(id) | Key::ExecutorEpoch(id)) => _ = executors.insert(id),
                        Ok(Key::Session(id)) => executors.extend(self.executors_of(&id)),
                        Ok(Key::Controller(_)) => self.take_in_controllers(),
                        Ok(
                            Key::Epoch
                            | Key::Home
                            | Key::Job(_)
                            | Key::Progress(..)
                            | Key::JobNumber(_)
                            | Key::Project { .. }
                            | Key::Event { .. }
                            | Key::Head { .. }
                            | Key::Look { .. }
                            | Key::Tags { .. }
                            | Key::ExecutorName(_)
                            | Key::Token(_)
                            | Key::Secret(..)
                            | Key::SecretUse(..)
                            | Key::RunSecrets(_)
                            | Key::Seal
                            | Key::Schedule(_)
                            | Key::Outbox { .. }
                            | Key::Artifact(..)
                            | Key::Cache { .. },
                        )
                        | Err(_) => {}
                    }
                }
                if !executors.is_empty() {
                    self.take_in_executors(&executors);
                }
                self.take_in_tasks(tasks).await;
            }
        }
    }

    async fn take_in_everything(&self) {
        self.take_in_fleet();
        self.take_in_controllers();
        let (groups, tasks) = self.view.read(|items| {
            let keys = items.keys().filter_map(|key| key.parse::<Key>().ok());
            let (mut groups, mut tasks) = (BTreeSet::new(), BTreeSet::new());
            for key in keys {
                if let Key::Group(name) = key {
                    groups.insert(name);
                } else if let Key::Task(id) = key {
                    tasks.insert(id);
                }
            }
            (groups, tasks)
        });
        let (known, known_groups) = {
            let board = self.board();
            (board.known(), board.groups.clone())
        };
        // Those that are gone count too: nobody holds them any more.
        groups.union(&known_groups).for_each(|group| self.take_in_group(group));
        self.take_in_tasks(tasks.into_iter().chain(known).collect()).await;
    }

    /// Takes over all executors, those that are gone too.
    fn take_in_fleet(&self) {
        let folder = Folder::Executors.to_string();
        let mut executors: BTreeSet<ExecutorId> = self.view.read(|items| {
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            items.filter_map(|(_, entry)| Some(entry.known()?.executor()?.id)).collect()
        });
        executors.extend(self.board().fleet.keys());
        executors.extend(self.memory().admitted.keys());
        self.take_in_executors(&executors);
    }

    /// Takes over what the view says about these executors and their sessions.
    pub(super) fn take_in_executors(&self, executors: &BTreeSet<ExecutorId>) {
        let sighted: Vec<_> = self.view.read(|items| {
            let sight = |id: ExecutorId| {
                let record = items.get(&Key::Executor(id).to_string())?.known()?.executor()?;
                let session = (|| {
                    let epoch = items.get(&Key::ExecutorEpoch(id).to_string())?.known()?.epoch()?;
                    items.get(&Key::Session(epoch.session.id).to_string())?.known()?.session()
                })();
                Some((fleet::executor(record, session), session.map(|session| session.session)))
            };
            executors.iter().map(|id| (*id, sight(*id))).collect()
        });
        {
            let mut board = self.board();
            sighted.into_iter().for_each(|(id, sight)| board.executor(id, sight));
        }
        self.end_sessions(executors);
    }

    /// Returns whose session this is, and whose it was.
    fn executors_of(&self, session: &SessionId) -> BTreeSet<ExecutorId> {
        let entry = self.view.get(&Key::Session(*session).to_string());
        let now = entry.and_then(|entry| Some(entry.known()?.session()?.session.executor));
        let before = self.board().executor_of(session);
        now.into_iter().chain(before).collect()
    }

    /// Controllers share tasks out among those that run.
    fn take_in_controllers(&self) {
        let names: Vec<Arc<str>> = self.controllers().into_iter().map(|one| one.name.into()).collect();
        self.divide_among(&names);
    }

    pub(super) fn take_in_group(&self, written: &str) {
        let Some(group) = group_name(written) else { return };
        let entry = self.view.get(&Key::Group(written.to_owned()).to_string());
        let record = entry.and_then(|entry| entry.known()?.group().cloned());
        let mut board = self.board();
        if record.is_some() {
            board.groups.insert(written.to_owned());
        } else {
            board.groups.remove(written);
        }
        board.queue.set_group(&group, record.unwrap_or_default());
    }

    pub(super) async fn take_in_tasks(&self, tasks: BTreeSet<TaskId>) {
        let mut lacking = None;
        for id in tasks {
            let plan = match self.run_at_hand(id.run) {
                Some((_, record)) if lacking != Some(id.run) => match self.plan_of(&record).await {
                    Ok(plan) => Some(plan),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(run.id = %id.run, error, "the plan of a run could not be read");
                        lacking = Some(id.run);
                        None
                    }
                },
                Some(_) | None => None,
            };
            // Read after the wait for the plan: news that came meanwhile is not undone.
            let run = self.run_at_hand(id.run);
            let now = self.now();
            let entry = self.view.get(&Key::Task(id).to_string());
            let Some((revision, stored)) = known(entry.as_ref()) else {
                self.board().forget(&id);
                continue;
            };
            let Some(task) = stored.task() else { continue };
            self.note_lost_logs(task);
            if lacking == Some(id.run) && matches!(task.state, TaskState::Queued { .. }) {
                self.memory().without_plan.insert(id);
            }
            let run_of = match (&run, &plan) {
                (Some((entry, record)), Some(plan)) => {
                    Some(RunOf { record, plan, accepted: entry.create_revision })
                }
                (Some(_) | None, _) => None,
            };
            let news = self.board().task(task, revision, run_of.as_ref(), now);
            news.iter().for_each(|session| self.waiters.wake(session));
        }
    }

    /// Takes in again the queued tasks whose plans could not be read: no news would bring them back.
    pub(super) async fn take_in_without_plan(&self) {
        let tasks = std::mem::take(&mut self.memory().without_plan);
        self.take_in_tasks(tasks).await;
    }

    /// Notes attempts that nobody will complete, if the live end of their log is here.
    fn note_lost_logs(&self, task: &Task) {
        let lost = task.ended.iter().filter(|ended| ended.completion.is_none());
        for ended in lost {
            let attempt = AttemptRef { task: task.id, attempt: ended.attempt, epoch: task.epoch };
            if self.log_holder(&attempt).as_deref() == Some(&self.name) {
                self.memory().lost_logs.insert(attempt);
            }
        }
    }

    /// Ends the logs of attempts that were taken from their executors; returns how many.
    pub(crate) async fn end_lost_logs(&self) -> super::Result<usize> {
        let lost = std::mem::take(&mut self.memory().lost_logs);
        let (mut ended, mut failed) = (0, None);
        for attempt in lost {
            match self.parts.logs.lost(&attempt).await {
                Ok(()) => ended += 1,
                Err(error) => {
                    if error.is_retryable() {
                        self.memory().lost_logs.insert(attempt);
                    }
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(ended), Err)
    }

    /// Returns the tasks of a run that the view knows.
    pub(crate) fn tasks_of(&self, run: RunId) -> Vec<TaskId> {
        let folder = Folder::TasksOf(run).to_string();
        self.view.read(|items| {
            let keys = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            keys.filter_map(|(_, entry)| Some(entry.known()?.task()?.id)).collect()
        })
    }

    /// Returns a run as the view knows it.
    pub(crate) fn run_at_hand(&self, run: RunId) -> Option<(Entry<Stored>, RunRecord)> {
        let entry = self.view.get(&Key::Run(run).to_string())?;
        let record = entry.known()?.run()?.clone();
        Some((entry, record))
    }

    /// Returns every task that some session holds, with how long it has been as it is.
    pub(crate) fn held_tasks(&self) -> Vec<(Task, Duration)> {
        let sessions = self.board().holders();
        let ids = sessions.iter().flat_map(|session| self.board().held_by(session)).collect();
        self.tasks_with_age(ids, |_, _| true)
    }

    /// Returns every task that is offered, with how long it has been so.
    pub(crate) fn offered_tasks(&self) -> Vec<(Task, Duration)> {
        let ids = self.board().offered();
        self.tasks_with_age(ids, |_, _| true)
    }

    /// Returns those that have waited long enough for an executor or a person, with how long they did.
    pub(crate) fn overdue_tasks(&self) -> Vec<(Task, Duration)> {
        let ids = self.board().overdue(self.now());
        self.tasks_with_age(ids, |task, _| task.live().is_none() && task.outcome().is_none())
    }

    fn tasks_with_age(
        &self,
        ids: Vec<TaskId>,
        wanted: impl Fn(&Task, Duration) -> bool,
    ) -> Vec<(Task, Duration)> {
        let now = self.now();
        let tasks = ids.into_iter().filter_map(|id| {
            let (revision, stored) = known(self.view.get(&Key::Task(id).to_string()).as_ref())?;
            let task = stored.task()?;
            let age = self.board().seen_for(&id, revision, now);
            wanted(task, age).then(|| (task.clone(), age))
        });
        tasks.collect()
    }

    /// Returns the tasks whose session is not among those that are there.
    pub(crate) fn orphans(&self, present: &BTreeSet<SessionId>) -> Vec<Task> {
        let mut gone = self.board().holders();
        gone.retain(|session| !present.contains(session));
        let ids = gone.iter().flat_map(|session| self.board().held_by(session)).collect();
        self.tasks_with_age(ids, |_, _| true).into_iter().map(|(task, _)| task).collect()
    }

    pub(crate) fn polled_within(&self, session: &SessionId, time: Duration) -> bool {
        let now = self.now();
        let last = self.memory().last_poll.get(session).copied();
        last.is_some_and(|last| now.saturating_sub(last) < time)
    }

    /// Returns whether an answer of this controller carried the offer, and no list had it since.
    pub(crate) fn has_delivered(&self, attempt: &AttemptRef) -> bool {
        self.memory().delivered.contains_key(attempt)
    }

    pub(crate) fn undeliverable(&self) -> Vec<ExecutorId> {
        self.memory().undeliverable.iter().copied().collect()
    }

    /// Forgets what was remembered of attempts and sessions that are over.
    pub(crate) fn forget_the_past(&self) {
        let held = self.held_tasks();
        let live: BTreeSet<AttemptRef> =
            held.iter().filter_map(|(task, _)| Some(AttemptRef::of(task, task.live()?))).collect();
        let open: BTreeSet<SessionId> = self.board().sessions.values().map(|session| session.id).collect();
        let now = self.now();
        self.memory().forget(|attempt| live.contains(attempt), |session| open.contains(session), now);
    }
}

/// Returns a record of the view with its revision.
pub(super) fn known(entry: Option<&Entry<Stored>>) -> Option<(Revision, Arc<Stored>)> {
    let entry = entry?;
    Some((entry.mod_revision, Arc::clone(entry.known()?)))
}

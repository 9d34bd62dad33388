//! One event on one task: decided by `step`, carried out by one compare-and-swap.
//!
//! A decision is first tried on what the view has; it stands only if its transaction is committed.
//! Everything else is decided on a record that is read linearizably for this call, so a refusal from
//! here may be answered to an executor. Effects only wake what would find out by itself.

use ocelot_core::id::{Epoch, TaskId};
use ocelot_domain::outcome::Outcome;
use ocelot_domain::placement::{GroupName, Holder};
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::{TaskState, Timestamp};
use ocelot_domain::task::{Effect, Rejected, Require, Step, Task, step};

use ocelot_proto::kit::chaos;

use super::Service;
use super::error::{Error, Result, What};
use super::facts::{Beside, Facts, Obstacle, group_key};
use super::follow::known;
use crate::store::keys::Key;
use crate::store::update::{Edit, UpdateError, Updated};
use crate::store::{Compare, Expected, KeyValue, RangeRequest, Revision, Txn, Verdict};

/// How often facts beside the record are read anew before the caller is told *not now*.
const ROUNDS: usize = 8;

/// What became of an event.
#[derive(Debug)]
pub(crate) struct Transition {
    pub(crate) before: Task,
    pub(crate) after: Task,
    /// Where it was written; none if nothing had to be.
    pub(crate) written: Option<Revision>,
}

/// Why an event did not happen. Nothing was written.
#[derive(Debug)]
pub(crate) enum Refused {
    Absent,
    Rejected(Rejected),
    /// The session's key must be there, and is not.
    SessionGone,
    /// The session's key must be gone, and is not; or the executor's epoch has moved.
    Returned,
    /// What it needs beside the record is not so.
    NotNow(&'static str),
    Failed(Error),
}

enum Halt {
    Absent,
    Rejected(Rejected),
    Obstacle(Obstacle),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Absent | Refused::Rejected(Rejected::Fenced) => Self::Fenced,
            Refused::Rejected(Rejected::Unattached) => {
                Self::NotNow { why: "the attempt is being attached to a newer session" }
            }
            Refused::Rejected(rejected @ (Rejected::Early | Rejected::Illegal { .. })) => {
                Self::Conflict { why: rejected.to_string() }
            }
            Refused::SessionGone => Self::NotNow { why: "the session has lapsed; a heartbeat puts it back" },
            Refused::Returned => Self::NotNow { why: "the session has come back" },
            Refused::NotNow(why) => Self::NotNow { why },
            Refused::Failed(error) => error,
        }
    }
}

impl Service {
    /// Lets an event happen to a task.
    pub(crate) async fn transition(
        &self,
        id: TaskId,
        event: Event,
    ) -> std::result::Result<Transition, Refused> {
        self.transition_with(id, event, |_, _, _| Ok(Txn::new())).await
    }

    /// Lets an event happen to a task, and writes in the same transaction what `also` says.
    pub(crate) async fn transition_with(
        &self,
        id: TaskId,
        event: Event,
        also: impl Fn(&Facts, &Task, &Step) -> std::result::Result<Txn, Obstacle> + Send + Sync,
    ) -> std::result::Result<Transition, Refused> {
        let key = Key::Task(id).to_string();
        if let Some(done) = self.transition_as_seen(&key, &event, &also).await? {
            return Ok(done);
        }
        let mut facts = Facts::default();
        let mut is_view_stale = false;
        for _ in 0..ROUNDS {
            let epoch = self.epoch().await.map_err(Refused::Failed)?;
            let mut decided: Option<(Task, Step)> = None;
            let mut compared: Vec<Compare> = Vec::new();
            let now = self.timestamp();
            let updated = self.updater.update(&key, |task: Option<Task>| {
                let task = task.ok_or(Halt::Absent)?;
                let (step, beside) = decide(&task, event.clone(), now, (&facts, epoch), &also)?;
                compared = beside.compares().to_vec();
                let edit = if step.next == task { Edit::Keep } else { Edit::Put(step.next.clone()) };
                decided = Some((task, step));
                Ok(edit.beside(beside))
            });
            match updated.await {
                Ok(updated) => {
                    let written = match updated {
                        Updated::Written(revision) => Some(revision),
                        Updated::Kept(_) => None,
                    };
                    let (before, step) = decided.ok_or(Refused::NotNow("nothing was decided"))?;
                    return Ok(self.done(before, step, written, now));
                }
                Err(UpdateError::Rejected(halt)) => match halt {
                    Halt::Absent => return Err(Refused::Absent),
                    Halt::Rejected(rejected) => return Err(Refused::Rejected(rejected)),
                    Halt::Obstacle(Obstacle::Lacking(keys)) => {
                        self.learn(&mut facts, keys, is_view_stale).await?;
                    }
                    Halt::Obstacle(Obstacle::OtherEpoch) => self.forget_epoch(),
                    Halt::Obstacle(Obstacle::RunNotActive) => {
                        return Err(Refused::NotNow("the run is not active"));
                    }
                    Halt::Obstacle(Obstacle::GroupFull(_)) => {
                        return Err(Refused::NotNow("its group is full"));
                    }
                },
                Err(UpdateError::Beside { found }) => {
                    judge(&compared, &found, decided.as_ref().map(|(_, step)| step))?;
                    facts = Facts::default();
                    is_view_stale = true;
                    self.forget_epoch();
                }
                Err(UpdateError::Contended { .. }) => return Err(Refused::NotNow("the record is contended")),
                Err(UpdateError::Store(error)) => return Err(Refused::Failed(error.into())),
            }
        }
        Err(Refused::NotNow("what it depends on keeps changing"))
    }

    /// Lets an event happen to the task as the view has it, if it still is so: nothing is read. None if
    /// it is not, and for everything that no write proves: that is decided on what is read.
    async fn transition_as_seen(
        &self,
        key: &str,
        event: &Event,
        also: &impl Fn(&Facts, &Task, &Step) -> std::result::Result<Txn, Obstacle>,
    ) -> std::result::Result<Option<Transition>, Refused> {
        let seen = |key: &str| known(self.view.get(key).as_ref());
        let Some((revision, record)) = seen(key) else { return Ok(None) };
        let Some(task) = record.task() else { return Ok(None) };
        let epoch = self.epoch().await.map_err(Refused::Failed)?;
        let mut facts = Facts::default();
        for _ in 0..ROUNDS {
            let now = self.timestamp();
            match decide(task, event.clone(), now, (&facts, epoch), also) {
                Err(Halt::Obstacle(Obstacle::Lacking(keys))) => {
                    for key in keys {
                        let Some(fact) = seen(&key) else { return Ok(None) };
                        facts.note(key, Some(fact));
                    }
                }
                Err(_) => return Ok(None),
                Ok((step, _)) if step.next == *task => return Ok(None),
                Ok((step, beside)) => {
                    let written = self.updater.replace(key, revision, step.next.clone(), &beside).await;
                    let written = written.map_err(|error| Refused::Failed(error.into()))?;
                    return Ok(written.map(|at| self.done(task.clone(), step, Some(at), now)));
                }
            }
        }
        Ok(None)
    }

    fn done(&self, before: Task, step: Step, written: Option<Revision>, now: Timestamp) -> Transition {
        if written.is_some() {
            self.count(&before, &step.next, now);
        }
        self.carry_out(&step);
        Transition { before, after: step.next, written }
    }

    async fn learn(
        &self,
        facts: &mut Facts,
        keys: Vec<String>,
        is_view_stale: bool,
    ) -> std::result::Result<(), Refused> {
        for key in keys {
            // Nothing is refused for what an attempt went through, so the view will do: it is compared.
            if let (Ok(Key::Progress(..)), false, Some(fact)) =
                (key.parse(), is_view_stale, known(self.view.get(&key).as_ref()))
            {
                facts.note(key, Some(fact));
                continue;
            }
            let item = self.read(&key).await.map_err(Refused::Failed)?;
            facts.learn(key, item.as_ref()).map_err(|error| Refused::Failed(error.into()))?;
        }
        Ok(())
    }

    /// Reads one key linearizably.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<KeyValue>> {
        let page = self.store.range(RangeRequest::key(key)).await?;
        Ok(page.items.into_iter().next())
    }

    /// Reads a task's record for this very call.
    pub(crate) async fn read_task(&self, id: TaskId) -> Result<Option<Task>> {
        let item = self.read(&Key::Task(id).to_string()).await?;
        Ok(item.map(|item| crate::store::codec::decode(&item.value)).transpose()?)
    }

    pub(crate) async fn need_task(&self, id: TaskId) -> Result<Task> {
        self.read_task(id).await?.ok_or_else(|| Error::not_found(What::Task, id))
    }

    fn carry_out(&self, step: &Step) {
        for effect in &step.effects {
            match effect {
                Effect::WakeDispatcher => self.bell.notify_one(),
                Effect::WakePoll(session) | Effect::Cancel { session, .. } => self.waiters.wake(session),
                Effect::Kill { executor, .. } => {
                    self.waiters.wake_executor(executor);
                }
                Effect::DeliveryFailed(executor) => self.count_failed_delivery(*executor),
                Effect::DeliverySucceeded(executor) => self.forget_failed_deliveries(executor),
                // The reconciler of runs follows the view, and the logs find the attempt without a completion.
                Effect::WakeRun(_) | Effect::SealLog { .. } => {}
            }
        }
    }
}

/// Decides what an event makes of a task, and what its transaction compares and writes beside it.
fn decide(
    task: &Task,
    event: Event,
    now: Timestamp,
    (facts, epoch): (&Facts, (Epoch, Revision)),
    also: &impl Fn(&Facts, &Task, &Step) -> std::result::Result<Txn, Obstacle>,
) -> std::result::Result<(Step, Txn), Halt> {
    let mut step = step(task, event, now).map_err(Halt::Rejected)?;
    if let (true, TaskState::Finished { outcome: Outcome::Cancelled { result: Some(result), .. } }) =
        (chaos::bug("cancel.loses_to_complete"), &step.next.state)
    {
        step.next.state = TaskState::Finished { outcome: (**result).clone() };
    }
    let mut beside = Beside::new(facts, epoch);
    beside.add(&step, &[]).map_err(Halt::Obstacle)?;
    let more = also(facts, task, &step).map_err(Halt::Obstacle)?;
    Ok((step, beside.into_txn().and(more)))
}

/// Finds out what did not hold beside the record; `Ok` if reading it anew may help.
fn judge(
    compared: &[Compare],
    found: &[Option<KeyValue>],
    step: Option<&Step>,
) -> std::result::Result<(), Refused> {
    let Some(step) = step else { return Ok(()) };
    let holds = |compare: &Compare, item: &Option<KeyValue>| match compare.expected {
        Expected::Absent => item.is_none(),
        Expected::Present => item.is_some(),
        Expected::At(revision) => item.as_ref().is_some_and(|item| item.mod_revision == revision),
    };
    let failed: Vec<&str> = compared
        .iter()
        .zip(found)
        .filter(|(compare, item)| !holds(compare, item))
        .map(|(compare, _)| compare.key.as_str())
        .collect();
    let has_failed = |key: Key| failed.contains(&key.to_string().as_str());
    for require in &step.requires {
        match require {
            Require::SessionPresent(session) if has_failed(Key::Session(*session)) => {
                return Err(Refused::SessionGone);
            }
            Require::SessionAbsent(session) if has_failed(Key::Session(*session)) => {
                return Err(Refused::Returned);
            }
            Require::ExecutorEpochAt { executor, .. } if has_failed(Key::ExecutorEpoch(*executor)) => {
                return Err(Refused::Returned);
            }
            Require::SessionPresent(_)
            | Require::SessionAbsent(_)
            | Require::ExecutorEpochAt { .. }
            | Require::StoreEpoch(_)
            | Require::RunActive(_)
            | Require::GroupRoom(_) => {}
        }
    }
    Ok(())
}

impl Service {
    /// Lets an event happen that a duty found due; false if things have moved on meanwhile.
    pub(crate) async fn let_happen(&self, id: TaskId, event: Event) -> Result<bool> {
        match self.transition(id, event).await {
            Ok(done) => Ok(done.before != done.after),
            Err(Refused::Failed(error)) => Err(error),
            Err(refused) => {
                tracing::debug!(task.id = %id, ?refused, "a duty was not due any more");
                Ok(false)
            }
        }
    }

    /// Commits what a duty decided from the view; false if things have moved on meanwhile. An
    /// unknown outcome is an error: what did not happen is due again.
    pub(crate) async fn commit_duty(&self, txn: Txn) -> Result<bool> {
        match self.store.commit(txn).await? {
            Verdict::Committed(_) => Ok(true),
            Verdict::Refused { .. } => {
                self.forget_epoch();
                Ok(false)
            }
        }
    }

    /// Returns the part of a transaction that takes a holder out of a group.
    pub(crate) async fn released(&self, group: Option<&GroupName>, holder: &Holder) -> Result<Txn> {
        let Some(group) = group else { return Ok(Txn::new()) };
        let key = group_key(group);
        let mut facts = Facts::default();
        facts.learn(key.clone(), self.read(&key).await?.as_ref())?;
        let mut beside = Beside::new(&facts, self.epoch().await?);
        match beside.release(group, holder) {
            Ok(()) => Ok(beside.into_txn()),
            Err(_) => Err(Error::NotNow { why: "the group could not be read" }),
        }
    }
}

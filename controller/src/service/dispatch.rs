//! Offers: placement proposes, transactions decide.
//!
//! Up to thirty offers share a transaction; a refused one is split in halves, so that one lost race
//! costs the others nothing. After a refusal the view is brought up to date and placement is asked
//! again: a lost race tries the next candidate.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::{ExecutorId, RunId, SessionId, TaskId};
use ocelot_domain::placement::{Offer, Peers, SlotClaim, View as Sight};
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::{Session, Task};
use ocelot_domain::task::{Step, step};

use super::board::RunOf;
use super::error::Result;
use super::facts::{Beside, Facts, group_key, group_name};
use super::{AttemptRef, Service, fleet};
use crate::records::{RunRecord, Stored};
use crate::store::codec::encode;
use crate::store::keys::{Folder, Key};
use crate::store::view::{Changed, Entry};
use crate::store::{Expected, RangeRequest, Revision, Txn, Verdict};

/// Offers that share a transaction.
const OFFERS_PER_TXN: usize = 30;
/// Offers that placement is asked for at once.
const OFFERS_PER_ROUND: usize = 240;
/// How often placement is asked again after refusals before others get a turn.
const ROUNDS: usize = 16;
/// How long a refusal waits for the view.
const CATCH_UP: Duration = Duration::from_secs(2);
/// How long the dispatcher waits for a reason to look before it looks anyway.
const TICK: Duration = Duration::from_secs(1);

/// One offer with the transition that makes it.
#[derive(Debug, Clone)]
struct Prepared {
    task: TaskId,
    revision: Revision,
    step: Step,
    slots: Vec<SlotClaim>,
}

impl Service {
    /// Follows the view, and offers what can be offered whenever something changed.
    pub async fn dispatch(&self) {
        let mut changes = self.view.changes();
        loop {
            let due = self.board().queue.next_due().map(|due| due.saturating_sub(self.now()));
            let wait = due.unwrap_or(TICK).clamp(Duration::from_millis(1), TICK);
            // All are cancel-safe: news stays in the inbox, a bell keeps one ring.
            tokio::select! {
                changed = changes.next() => self.take_in(&changed).await,
                () = self.bell.notified() => {}
                () = self.sleep(wait) => {}
            }
            if let Err(error) = self.dispatch_once().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "offers could not be made");
                self.sleep(TICK).await;
            }
        }
    }

    /// Tells the dispatcher which controllers there are.
    pub fn set_peers(&self, names: &[Arc<str>]) {
        self.board().peers = Peers::new(&self.name, names);
    }

    /// Takes over news of the view.
    pub(crate) async fn take_in(&self, changed: &Changed) {
        match changed {
            Changed::Everything => self.take_in_everything().await,
            Changed::Keys(keys) => {
                let mut tasks = BTreeSet::new();
                let mut is_fleet = false;
                for key in keys {
                    match key.parse::<Key>() {
                        Ok(Key::Task(id)) => _ = tasks.insert(id),
                        Ok(Key::Run(run)) => tasks.extend(self.tasks_of(run)),
                        Ok(Key::Group(name)) => self.take_in_group(&name),
                        Ok(Key::Executor(_) | Key::ExecutorEpoch(_) | Key::Session(_)) => is_fleet = true,
                        Ok(
                            Key::Epoch
                            | Key::Job(_)
                            | Key::JobNumber(_)
                            | Key::Project { .. }
                            | Key::ExecutorName(_)
                            | Key::Registration(_)
                            | Key::Controller(_)
                            | Key::Token(_)
                            | Key::Secret(_)
                            | Key::Schedule(_)
                            | Key::Outbox { .. },
                        )
                        | Err(_) => {}
                    }
                }
                if is_fleet {
                    self.take_in_fleet();
                }
                self.take_in_tasks(tasks).await;
            }
        }
    }

    async fn take_in_everything(&self) {
        self.take_in_fleet();
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

    fn take_in_fleet(&self) {
        let folder = Folder::Executors.to_string();
        let (fleet, sessions) = self.view.read(|items| {
            let session_of = |id: ExecutorId| {
                let epoch = items.get(&Key::ExecutorEpoch(id).to_string())?.known()?.epoch()?.clone();
                items.get(&Key::Session(epoch.session.id).to_string())?.known()?.session().cloned()
            };
            let executors = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let records = executors.filter_map(|(_, entry)| entry.known()?.executor().cloned());
            let both = records.map(|record| {
                let session = session_of(record.id);
                let sight = fleet::executor(&record, session.as_ref());
                ((record.id, sight), session.map(|session| (record.id, session.session)))
            });
            let (fleet, sessions): (Vec<_>, Vec<_>) = both.unzip();
            (fleet.into_iter().collect(), sessions.into_iter().flatten().collect())
        });
        let mut board = self.board();
        (board.fleet, board.sessions) = (fleet, sessions);
    }

    fn take_in_group(&self, written: &str) {
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

    async fn take_in_tasks(&self, tasks: BTreeSet<TaskId>) {
        for id in tasks {
            let run = self.view.get(&Key::Run(id.run).to_string());
            let run =
                run.as_ref().and_then(|entry| Some((entry.create_revision, entry.known()?.run()?.clone())));
            let plan = match &run {
                Some((_, record)) => self.plan_of(record).await.ok(),
                None => None,
            };
            let now = self.now();
            let entry = self.view.get(&Key::Task(id).to_string());
            let Some((revision, stored)) = known(entry.as_ref()) else {
                self.board().forget(&id);
                continue;
            };
            let Some(task) = stored.task() else { continue };
            let run_of = match (&run, &plan) {
                (Some((accepted, record)), Some(plan)) => Some(RunOf { record, plan, accepted: *accepted }),
                (Some(_) | None, _) => None,
            };
            let news = self.board().task(task, revision, run_of.as_ref(), now);
            news.iter().for_each(|session| self.waiters.wake(session));
        }
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

    /// Offers what can be offered now; returns how many offers were made.
    pub async fn dispatch_once(&self) -> Result<usize> {
        let mut made = 0;
        for _ in 0..ROUNDS {
            let prepared = self.prepare();
            if prepared.is_empty() {
                break;
            }
            made += self.offer_all(prepared).await?;
        }
        Ok(made)
    }

    fn prepare(&self) -> Vec<Prepared> {
        let now = self.now();
        let sessions: Vec<Session> = {
            let memory = self.memory();
            let polling = self.waiters.polling().into_iter();
            polling.filter(|session| !memory.owes_a_confirmation(&session.executor, now)).collect()
        };
        let mut board = self.board();
        let board = &mut *board;
        let polling: Vec<ExecutorId> = sessions
            .iter()
            .filter(|session| board.sessions.get(&session.executor) == Some(*session))
            .map(|session| session.executor)
            .collect();
        let sight = Sight { fleet: &board.fleet, peers: &board.peers, now };
        let offers = board.queue.offers(&polling, &sight, OFFERS_PER_ROUND);
        let mut prepared = Vec::with_capacity(offers.len());
        for offer in offers {
            let task = known(self.view.get(&Key::Task(offer.task).to_string()).as_ref());
            let session = board.sessions.get(&offer.executor);
            let waited = |revision| board.seen_for(&offer.task, revision, now);
            let one = task.zip(session).and_then(|((revision, stored), session)| {
                self.prepare_one(&offer, (stored.task()?, revision), *session, waited(revision))
            });
            match one {
                Some(one) => prepared.push(one),
                // The view is ahead of the queue, and its news will put things right.
                None => drop(board.queue.gone(&offer.task)),
            }
        }
        prepared
    }

    fn prepare_one(
        &self,
        offer: &Offer,
        (task, revision): (&Task, Revision),
        session: Session,
        waited: Duration,
    ) -> Option<Prepared> {
        let step = step(task, Event::Offer { session, waited }, self.timestamp()).ok()?;
        Some(Prepared { task: offer.task, revision, step, slots: offer.slots.clone() })
    }

    async fn offer_all(&self, prepared: Vec<Prepared>) -> Result<usize> {
        let chunks = prepared.chunks(OFFERS_PER_TXN).map(<[Prepared]>::to_vec);
        let mut work: Vec<Vec<Prepared>> = chunks.collect();
        let mut made = 0;
        while let Some(batch) = work.pop() {
            match self.offer_batch(&batch).await {
                Ok(true) => {
                    made += batch.len();
                    for one in &batch {
                        let live = one.step.next.live();
                        tracing::debug!(task.id = %one.task, ?live, "offered");
                    }
                }
                Ok(false) if batch.len() > 1 => {
                    let (first, second) = batch.split_at(batch.len() / 2);
                    work.extend([second.to_vec(), first.to_vec()]);
                }
                Ok(false) => self.look_again(&batch).await?,
                Err(error) => {
                    // It may have happened, or may still: the view will say, and nothing is counted twice.
                    for batch in std::iter::once(batch).chain(work) {
                        self.take_in_tasks(batch.iter().map(|one| one.task).collect()).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    /// Makes these offers in one transaction, or none of them.
    async fn offer_batch(&self, batch: &[Prepared]) -> Result<bool> {
        let mut facts = Facts::default();
        for one in batch {
            let groups = one.slots.iter().map(|slot| group_key(&slot.group));
            for key in std::iter::once(Key::Run(one.task.run).to_string()).chain(groups) {
                let fact = known(self.view.get(&key).as_ref());
                facts.note(key, fact);
            }
        }
        let mut beside = Beside::new(&facts, self.epoch().await?);
        for one in batch {
            if beside.add(&one.step, &one.slots).is_err() {
                return Ok(false);
            }
        }
        if beside.len() + batch.len() > Txn::OPS_MAX {
            return Ok(false);
        }
        let txn = batch.iter().fold(beside.into_txn(), |txn, one| {
            let key = Key::Task(one.task).to_string();
            txn.when(key.as_str(), Expected::At(one.revision)).put(key, encode(&one.step.next, None))
        });
        match self.store.commit(txn).await? {
            Verdict::Committed(_) => Ok(true),
            Verdict::Refused { .. } => Ok(false),
        }
    }

    /// Brings the board up to date about an offer that was refused.
    async fn look_again(&self, batch: &[Prepared]) -> Result<()> {
        self.forget_epoch();
        let Some(one) = batch.first() else { return Ok(()) };
        let page = self.store.range(RangeRequest::key(Key::Task(one.task))).await?;
        self.catch_up(page.revision).await;
        for slot in &one.slots {
            if let Ok(Key::Group(written)) = group_key(&slot.group).parse() {
                self.take_in_group(&written);
            }
        }
        self.take_in_fleet();
        self.take_in_tasks(batch.iter().map(|one| one.task).collect()).await;
        Ok(())
    }

    /// Waits until the view has this revision, but not for ever.
    pub(crate) async fn catch_up(&self, revision: Revision) {
        tokio::select! {
            () = self.view.wait_for(revision) => {}
            () = self.sleep(CATCH_UP) => {}
        }
    }
}

/// Returns a record of the view with its revision.
pub(super) fn known(entry: Option<&Entry<Stored>>) -> Option<(Revision, Arc<Stored>)> {
    let entry = entry?;
    Some((entry.mod_revision, Arc::clone(entry.known()?)))
}

impl Service {
    /// Returns every task that some session holds, with how long it has been as it is.
    pub(crate) fn held_tasks(&self) -> Vec<(Task, Duration)> {
        let sessions = self.board().holders();
        let ids = sessions.iter().flat_map(|session| self.board().held_by(session)).collect();
        self.tasks_with_age(ids)
    }

    /// Returns every task that waits for an executor or a person, with how long it has been so.
    pub(crate) fn waiting_tasks(&self) -> Vec<(Task, Duration)> {
        let ids = self.board().known();
        let mut tasks = self.tasks_with_age(ids);
        tasks.retain(|(task, _)| task.live().is_none() && task.outcome().is_none());
        tasks
    }

    fn tasks_with_age(&self, ids: Vec<TaskId>) -> Vec<(Task, Duration)> {
        let now = self.now();
        let tasks = ids.into_iter().filter_map(|id| {
            let (revision, stored) = known(self.view.get(&Key::Task(id).to_string()).as_ref())?;
            let age = self.board().seen_for(&id, revision, now);
            Some((stored.task()?.clone(), age))
        });
        tasks.collect()
    }

    /// Returns the tasks whose session is not among those that are there.
    pub(crate) fn orphans(&self, present: &BTreeSet<SessionId>) -> Vec<Task> {
        let mut gone = self.board().holders();
        gone.retain(|session| !present.contains(session));
        let ids = gone.iter().flat_map(|session| self.board().held_by(session)).collect();
        self.tasks_with_age(ids).into_iter().map(|(task, _)| task).collect()
    }

    pub(crate) fn polled_within(&self, session: &SessionId, time: Duration) -> bool {
        let now = self.now();
        let last = self.memory().last_poll.get(session).copied();
        last.is_some_and(|last| now.saturating_sub(last) < time)
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
        self.memory().forget(|attempt| live.contains(attempt), |session| open.contains(session));
    }
}

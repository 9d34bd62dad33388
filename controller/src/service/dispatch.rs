//! Offers: placement proposes, transactions decide.
//!
//! Up to thirty offers share a transaction; a refused one is split in halves, so that one lost race
//! costs the others nothing. After a refusal the view is brought up to date and placement is asked
//! again: a lost race tries the next candidate.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ocelot_core::id::{ExecutorId, SessionId, TaskId};
use ocelot_domain::placement::{GroupName, News, Offer, Peers, SlotClaim, View as Sight};
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::{Session, Task};
use ocelot_domain::task::{Step, step};
use ocelot_proto::kit::chaos;

use super::Service;
use super::error::Result;
use super::facts::{Beside, Facts, group_key};
use super::follow::known;
use crate::store::codec::encode;
use crate::store::keys::Key;
use crate::store::{Expected, RangeRequest, Revision, Txn, Verdict};

/// Offers that share a transaction.
const OFFERS_PER_TXN: usize = 30;
/// Offers that placement is asked for at once.
const OFFERS_PER_ROUND: usize = 240;
/// How often placement is asked again after refusals before others get a turn.
const ROUNDS: usize = 16;
/// How long a refusal waits for the view.
const CATCH_UP: Duration = Duration::from_secs(2);
/// How long the dispatcher waits for a reason to look before it looks anyway, and at everything.
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
    ///
    /// Neither waits for the other: polls are told what happened while offers are on their way.
    pub async fn dispatch(&self) {
        // Neither ends; dropping both at any await leaves only transactions that happened or did not.
        tokio::join!(self.follow_news(), self.offer_on());
    }

    async fn follow_news(&self) {
        let mut changes = self.view.changes();
        let mut again = self.now() + TICK;
        loop {
            // Both are cancel-safe: news stays in the inbox.
            tokio::select! {
                biased;
                changed = changes.next() => self.take_in(&changed).await,
                () = self.sleep(TICK) => {}
            }
            if self.now() >= again {
                again = self.now() + TICK;
                self.take_in_without_plan().await;
                self.look_at_groups();
            }
            self.bell.notify_one();
        }
    }

    async fn offer_on(&self) {
        loop {
            let due = self.board().queue.next_due().map(|due| due.saturating_sub(self.now()));
            let wait = due.unwrap_or(TICK).clamp(Duration::from_millis(1), TICK);
            // Both are cancel-safe: a bell keeps one ring.
            tokio::select! {
                biased;
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
        self.divide_among(names);
    }

    pub(super) fn divide_among(&self, names: &[Arc<str>]) {
        let mut board = self.board();
        board.peers = Peers::new(&self.name, names);
        board.queue.look_at_everything();
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
        // An idle queue costs nothing, however many executors poll.
        if self.board().queue.is_empty() {
            return Vec::new();
        }
        let now = self.now();
        let sessions = self.to_look_at(now);
        if sessions.is_empty() {
            return Vec::new();
        }
        let mut guard = self.board();
        let board = &mut *guard;
        let polling: Vec<ExecutorId> = sessions
            .iter()
            .filter(|session| board.sessions.get(&session.executor) == Some(*session))
            .map(|session| session.executor)
            .collect();
        let sight = Sight { fleet: &board.fleet, peers: &board.peers, now };
        let offers = board.queue.offers(&polling, &sight, OFFERS_PER_ROUND);
        let mut prepared = Vec::with_capacity(offers.len());
        let mut taken_back = Vec::new();
        for offer in offers {
            let task = known(self.view.get(&Key::Task(offer.task).to_string()).as_ref());
            let session = board.sessions.get(&offer.executor);
            let waited = |revision| board.seen_for(&offer.task, revision, now);
            let one = task.zip(session).and_then(|((revision, stored), session)| {
                self.prepare_one(&offer, (stored.task()?, revision), *session, waited(revision))
            });
            match one {
                Some(one) => {
                    board.ask(one.task, one.revision);
                    prepared.push(one);
                }
                // The view is ahead of the queue, and its news will put things right.
                None => {
                    drop(board.queue.gone(&offer.task));
                    taken_back.extend(offer.slots);
                }
            }
        }
        drop(guard);
        // News of a group may be in already: what was taken for such a task is not taken.
        self.take_in_groups(&taken_back);
        prepared
    }

    /// Returns the polling sessions that may get an offer now: where nothing is new but their polls,
    /// only those. Ten thousand executors that idle beside a task for none of them cost no more than
    /// their polls.
    fn to_look_at(&self, now: Duration) -> Vec<Session> {
        let freed: Option<Vec<SessionId>> = {
            let mut board = self.board();
            let is_due = now >= board.look_again;
            match board.queue.take_news(now) {
                News::Executors(_) if is_due => None,
                News::Executors(freed) => {
                    let session = |executor| board.sessions.get(executor).map(|session| session.id);
                    Some(freed.iter().filter_map(session).collect())
                }
                News::Everything => None,
            }
        };
        if freed.is_none() {
            self.board().look_again = now + TICK;
        }
        // Taken in any case: whoever is among all is not new any more.
        let anew = self.waiters.polling_anew(freed.iter().flatten().copied());
        let polling = if freed.is_some() { anew } else { self.waiters.polling() };
        let memory = self.memory();
        polling.into_iter().filter(|session| !memory.owes_a_confirmation(&session.executor, now)).collect()
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

    /// Makes these offers, by transactions side by side; returns how many were made.
    async fn offer_all(&self, prepared: Vec<Prepared>) -> Result<usize> {
        let parts = prepared.chunks(OFFERS_PER_TXN).map(|part| self.offer_part(part.to_vec()));
        let (mut made, mut failed) = (0, None);
        for part in join_all(parts).await {
            match part {
                Ok(count) => made += count,
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(made), Err)
    }

    async fn offer_part(&self, prepared: Vec<Prepared>) -> Result<usize> {
        let mut work = vec![prepared];
        let mut made = 0;
        while let Some(batch) = work.pop() {
            let offered = match self.offer_batch(&batch).await {
                Ok(false) if batch.len() == 1 => self.look_again(&batch).await.map(|()| false),
                offered => offered,
            };
            match offered {
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
                Ok(false) => {}
                Err(error) => {
                    // It may have happened, or may still: the view will say, and nothing is counted twice.
                    for batch in std::iter::once(batch).chain(work) {
                        self.not_made(&batch);
                        self.take_in_tasks(batch.iter().map(|one| one.task).collect()).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    fn not_made(&self, batch: &[Prepared]) {
        let mut board = self.board();
        batch.iter().for_each(|one| board.not_made(&one.task));
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
        chaos::point("offer.before_commit");
        match self.store.commit(txn).await? {
            Verdict::Committed(_) => {
                chaos::point("offer.committed");
                Ok(true)
            }
            Verdict::Refused { .. } => Ok(false),
        }
    }

    /// Brings the board up to date about an offer that was refused.
    async fn look_again(&self, batch: &[Prepared]) -> Result<()> {
        self.forget_epoch();
        self.not_made(batch);
        let Some(one) = batch.first() else { return Ok(()) };
        let page = self.store.range(RangeRequest::key(Key::Task(one.task))).await?;
        self.catch_up(page.revision).await;
        self.take_in_groups(&one.slots);
        let executors = batch.iter().filter_map(|one| Some(one.step.next.live()?.session.executor));
        self.take_in_executors(&executors.collect());
        self.take_in_tasks(batch.iter().map(|one| one.task).collect()).await;
        Ok(())
    }

    /// Takes in again who holds the groups that tasks wait for: a slot that was taken here for an offer
    /// which never was would otherwise bar them for ever. A slot of an offer on its way is only asked
    /// for twice, and the store refuses the second.
    fn look_at_groups(&self) {
        let groups = self.board().queue.groups();
        groups.iter().for_each(|group| self.take_in_named(group));
    }

    fn take_in_groups(&self, slots: &[SlotClaim]) {
        slots.iter().for_each(|slot| self.take_in_named(&slot.group));
    }

    fn take_in_named(&self, group: &GroupName) {
        if let Ok(Key::Group(written)) = group_key(group).parse() {
            self.take_in_group(&written);
        }
    }

    /// Waits until the view has this revision, but not for ever.
    pub(crate) async fn catch_up(&self, revision: Revision) {
        tokio::select! {
            biased;
            () = self.view.wait_for(revision) => {}
            () = self.sleep(CATCH_UP) => {}
        }
    }
}

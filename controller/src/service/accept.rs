//! The acceptance of runs: those of a lane that wait together share a transaction.
//!
//! A run takes the next number of its job, so of two acceptances at a time only one could win its
//! compare. Therefore they stand in a lane, and whoever has its turn accepts for all that wait there.
//! What became of a shared transaction that was not answered each caller finds out for itself: its
//! own write bears a mark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use ocelot_core::id::{Epoch, RunId, TaskId};
use ocelot_core::plan::Plan;
use ocelot_domain::run::{Expansion, RunOutcome, TASKS_PER_BATCH};
use ocelot_proto::kit::chaos;

use super::Service;
use super::error::{Error, Result, What};
use super::execute::Executed;
use super::lane::{Lane, TOGETHER, Waiting, Word};
use super::numbers::{Counter, Given, Look};
use super::secrets::Values;
use super::sight::run_word;
use crate::records::{Digest, JobNumber, RetryOf, RunRecord, SourceRecord, Stage, Subject, Trigger};
use crate::store::codec::{decode, encode};
use crate::store::keys::Key;
use crate::store::update::{Edit, UpdateError, Updated};
use crate::store::{Expected, KeyValue, Txn, Verdict};

/// How often numbers are tried that another controller took first.
const ROUNDS: usize = 32;
/// What an acceptance compares of its own beside the run: the number and the epoch.
const OWN_COMPARES: usize = 2;
/// Numbers of jobs that a transaction may write beside the runs.
const ROOM: usize = TOGETHER;

/// Resolves the plan of a run with this number, and the values of its secrets.
pub(super) type PlanFor = Box<dyn Fn(u64) -> Result<(Plan, Values)> + Send + Sync>;

/// What of a run is known before it has a number.
pub(crate) struct Draft {
    pub(crate) id: RunId,
    pub(crate) payload: Digest,
    pub(crate) subject: Subject,
    pub(crate) trigger: Trigger,
    pub(crate) retry: Option<RetryOf>,
    pub(crate) source: Option<SourceRecord>,
    /// Why it is finished before it has begun; then its plan is empty.
    pub(crate) rejected: Option<String>,
}

pub(super) struct Asked {
    draft: Draft,
    plan_for: PlanFor,
}

impl Asked {
    fn job(&self) -> &str {
        self.draft.subject.name()
    }
}

/// A transaction that is being made of many acceptances.
#[derive(Default)]
struct Shared {
    counters: BTreeMap<String, Counter>,
    runs: Vec<(Waiting, RunRecord)>,
    ids: BTreeSet<RunId>,
    /// The puts of the runs, in their order, and what is written with them.
    puts: Txn,
    /// What had no room, and what asks for a run that is in here already.
    left: Vec<Waiting>,
}

impl Shared {
    fn has_room(&self, id: RunId, more: &Txn) -> bool {
        let ops = self.puts.ops().len() + more.ops().len() + ROOM;
        let bytes = self.puts.size_bytes() + more.size_bytes();
        self.runs.is_empty()
            || (!self.ids.contains(&id) && ops <= Txn::OPS_MAX && bytes <= Txn::BYTES_MAX / 2)
    }

    /// The runs' own compares come first, in their order.
    fn txn(&mut self, epoch: Expected) -> Txn {
        let puts = std::mem::take(&mut self.puts);
        let numbers = self.counters.iter().fold(puts, |txn, (job, counter)| {
            let key = Key::JobNumber(job.clone()).to_string();
            txn.when(key.as_str(), counter.expected).put(key, encode(&JobNumber(counter.last), None))
        });
        numbers.when(Key::Epoch, epoch)
    }
}

impl Service {
    /// Puts the run with the next number of its job.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) async fn accept(&self, draft: Draft, plan: Plan) -> Result<Executed> {
        self.accept_with_secrets(draft, Box::new(move |_| Ok((plan.clone(), Values::new())))).await
    }

    /// Puts the run with the next number of its job, and its secrets sealed beside it.
    pub(super) async fn accept_with_secrets(&self, draft: Draft, plan_for: PlanFor) -> Result<Executed> {
        let asked = Arc::new(Asked { draft, plan_for });
        let lane = self.lanes.of(asked.job());
        let mut answer = lane.join(&asked);
        // Both are cancel-safe; who has been answered does not need its turn.
        let mut given = tokio::select! {
            biased;
            word = &mut answer => match word {
                Ok(Word::Done(done)) => return done,
                Ok(Word::Alone) | Err(_) => {
                    let _turn = lane.turn.lock().await;
                    return self.accept_alone(&asked).await;
                }
            },
            turn = lane.turn.lock() => turn,
        };
        loop {
            match answer.try_recv() {
                Ok(Word::Done(done)) => return done,
                Ok(Word::Alone) | Err(oneshot::error::TryRecvError::Closed) => {
                    return self.accept_alone(&asked).await;
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            self.accept_waiting(lane, &mut given).await;
        }
    }

    /// Accepts a run in one transaction with what must hold and change beside it; none if that does
    /// not hold any more.
    pub(super) async fn accept_beside(
        &self,
        draft: Draft,
        plan_for: PlanFor,
        more: &Txn,
    ) -> Result<Option<Executed>> {
        let asked = Asked { draft, plan_for };
        let _turn = self.lanes.of(asked.job()).turn.lock().await;
        self.accept_with(&asked, more).await
    }

    /// Accepts for those that wait in a lane.
    async fn accept_waiting(&self, lane: &Lane, given: &mut Given) {
        let mut waiting = lane.take();
        if chaos::bug("execute.answers_before_commit") {
            for one in waiting {
                let done = self.accept_alone(&one.asked).await;
                one.tell(Word::Done(done));
            }
            return;
        }
        for look in std::iter::once(Look::Near).chain(std::iter::repeat_n(Look::Far, ROUNDS)) {
            waiting = match self.accept_together(lane, waiting, look, given).await {
                Some(refused) if !refused.is_empty() => refused,
                Some(_) | None => return,
            };
        }
        let busy = || Error::NotNow { why: "the job's numbers are contended" };
        waiting.into_iter().for_each(|one| one.tell(Word::Done(Err(busy()))));
    }

    /// Tries one transaction for all of them; returns those for whom nothing happened, and none where
    /// it is not known.
    async fn accept_together(
        &self,
        lane: &Lane,
        waiting: Vec<Waiting>,
        look: Look,
        given: &mut Given,
    ) -> Option<Vec<Waiting>> {
        let known = self.epoch().await;
        let Ok((epoch, epoch_revision)) = known else {
            waiting.into_iter().for_each(|one| one.tell(Word::Alone));
            return None;
        };
        given.keep_to(epoch);
        let mut shared = self.share(waiting, epoch, look, given).await;
        let txn = shared.txn(Expected::At(epoch_revision));
        let Shared { runs, left, counters, .. } = shared;
        lane.put_back(left);
        if runs.is_empty() {
            return None;
        }
        chaos::point("execute.before_commit");
        match self.store.commit(txn).await {
            Ok(Verdict::Committed(at)) => {
                chaos::point("execute.committed");
                self.bell.notify_one();
                counters.into_iter().for_each(|(job, counter)| given.note(job, counter.last, at));
                for (one, run) in runs {
                    self.count_accepted(&run);
                    one.tell(Word::Done(Ok(Executed { run, existed: false })));
                }
                None
            }
            Ok(Verdict::Refused { found }) => {
                self.forget_epoch();
                let mut again = Vec::new();
                for ((one, _), found) in runs.into_iter().zip(found) {
                    match found {
                        Some(item) => {
                            let run = decode(&item.value).map_err(Error::from);
                            let run = run.and_then(|run| same(run, one.asked.draft.payload));
                            one.tell(Word::Done(run.map(|run| Executed { run, existed: true })));
                        }
                        None => again.push(one),
                    }
                }
                Some(again)
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "acceptances are made one by one");
                runs.into_iter().for_each(|(one, _)| one.tell(Word::Alone));
                None
            }
        }
    }

    /// Gives each its number. Who is refused is told so, and takes none.
    async fn share(&self, waiting: Vec<Waiting>, epoch: Epoch, look: Look, given: &Given) -> Shared {
        let mut shared = Shared::default();
        for one in waiting {
            let job = one.asked.job().to_owned();
            let counter = match shared.counters.remove(&job) {
                Some(counter) => Ok(counter),
                None => self.counter(&job, look, given).await,
            };
            let mut counter = match counter {
                Ok(counter) => counter,
                Err(error) => {
                    one.tell(Word::Done(Err(error)));
                    continue;
                }
            };
            let made = self.run_of(&one.asked, counter.last + 1, epoch).await.map(|(run, beside)| {
                let key = Key::Run(run.id).to_string();
                let put = Txn::new().when(key.as_str(), Expected::Absent).put(key, encode(&run, None));
                (run, put.and(beside))
            });
            match made {
                Err(error) => one.tell(Word::Done(Err(error))),
                Ok((run, puts)) if shared.has_room(run.id, &puts) => {
                    counter.last += 1;
                    shared.ids.insert(run.id);
                    shared.puts = shared.puts.and(puts);
                    shared.runs.push((one, run));
                }
                Ok(_) => shared.left.push(one),
            }
            // A counter that nobody took a number of is written as it was, or not made.
            if counter.last > 0 {
                shared.counters.insert(job, counter);
            }
        }
        shared
    }

    /// Returns the run with this number, and what is written with it beside the number.
    async fn run_of(&self, asked: &Asked, number: u64, epoch: Epoch) -> Result<(RunRecord, Txn)> {
        let Asked { draft, plan_for } = asked;
        let (plan, secrets) = plan_for(number)?;
        let secrets = self.keep_secrets(draft.id, &secrets)?;
        let (stored, plan) = self.store_plan(plan).await?;
        let now = self.timestamp();
        let stage = match (&draft.rejected, Expansion::of(&plan)) {
            (Some(_), _) => Stage::Finished { outcome: RunOutcome::Rejected, at: now },
            (None, Expansion::Whole) => Stage::Active,
            (None, Expansion::Batches) => Stage::Expanding,
        };
        let run = RunRecord {
            id: draft.id,
            subject: draft.subject.clone(),
            number,
            payload: draft.payload,
            plan: stored,
            trigger: draft.trigger.clone(),
            retry: draft.retry.clone(),
            accepted_at: now,
            stage,
            cancel: None,
            source: draft.source.clone(),
            rejected: draft.rejected.clone(),
        };
        let beside = secrets.and(self.owed_at_acceptance(&run));
        let whole = match stage {
            Stage::Active => 0..TASKS_PER_BATCH.min(u32::try_from(plan.tasks.len()).unwrap_or(u32::MAX)),
            Stage::Expanding | Stage::Finished { .. } => 0..0,
        };
        let tasks = whole.filter_map(|index| run.task(&plan, index, epoch, now));
        let beside = tasks.fold(beside, |beside, task| {
            let key = Key::Task(TaskId { run: run.id, index: task.id.index });
            beside.put(key, encode(&task, None))
        });
        Ok((run, beside))
    }

    /// Accepts one run by a transaction of its own. Whoever calls has the lane's turn.
    async fn accept_alone(&self, asked: &Asked) -> Result<Executed> {
        let accepted = self.accept_with(asked, &Txn::new()).await?;
        accepted.ok_or(Error::NotNow { why: "the job's numbers are contended" })
    }

    /// The same, with more in the transaction; none if what that compares does not hold.
    async fn accept_with(&self, asked: &Asked, more: &Txn) -> Result<Option<Executed>> {
        let number_key = Key::JobNumber(asked.job().to_owned()).to_string();
        for _ in 0..ROUNDS {
            let Counter { last, expected } = self.counter_stored(asked.job()).await?;
            let number = last + 1;
            let (epoch, revision) = self.epoch().await?;
            let (run, beside) = self.run_of(asked, number, epoch).await?;
            let beside = Txn::new()
                .when(number_key.as_str(), expected)
                .put(number_key.as_str(), encode(&JobNumber(number), None))
                .when(Key::Epoch, Expected::At(revision))
                .and(more.clone())
                .and(beside);
            match self.put_run(run, beside).await {
                Ok(executed) => return Ok(Some(executed)),
                Err(UpdateError::Rejected(error)) => return Err(error),
                Err(UpdateError::Beside { found }) if !holds(more, found.get(OWN_COMPARES..)) => {
                    return Ok(None);
                }
                // Another controller took the number.
                Err(UpdateError::Beside { .. }) => {}
                Err(UpdateError::Contended { .. }) => break,
                Err(UpdateError::Store(error)) => return Err(error.into()),
            }
        }
        Err(Error::NotNow { why: "the job's numbers are contended" })
    }

    async fn put_run(
        &self,
        run: RunRecord,
        beside: Txn,
    ) -> std::result::Result<Executed, UpdateError<Error>> {
        let mut found = None;
        let key = Key::Run(run.id).to_string();
        let updated = self.updater.update(&key, |known: Option<RunRecord>| match known {
            Some(known) => {
                found = Some(same(known, run.payload)?);
                Ok(Edit::Keep.into())
            }
            None => Ok(Edit::Put(run.clone()).beside(beside.clone())),
        });
        chaos::point("execute.before_commit");
        let outcome = if chaos::bug("execute.answers_before_commit") {
            updated.now_or_never().unwrap_or(Ok(Updated::Kept(None)))
        } else {
            updated.await
        };
        if let Err(UpdateError::Beside { .. }) = outcome {
            self.forget_epoch();
        }
        outcome?;
        chaos::point("execute.committed");
        self.bell.notify_one();
        Ok(match found {
            Some(run) => Executed { run, existed: true },
            None => {
                self.count_accepted(&run);
                Executed { run, existed: false }
            }
        })
    }

    /// Counts a run that was accepted; one that was rejected has ended, too.
    fn count_accepted(&self, run: &RunRecord) {
        let trigger = run.trigger.kind.name();
        self.metrics.run_accepted(trigger);
        if let Stage::Finished { outcome, .. } = run.stage {
            self.metrics.run_ended(run_word(outcome), trigger, Duration::ZERO);
        }
    }
}

/// Tells whether what was found is what a transaction compares.
fn holds(txn: &Txn, found: Option<&[Option<KeyValue>]>) -> bool {
    txn.compares().iter().zip(found.unwrap_or_default()).all(|(compare, found)| match compare.expected {
        Expected::Absent => found.is_none(),
        Expected::Present => found.is_some(),
        Expected::At(revision) => found.as_ref().is_some_and(|item| item.mod_revision == revision),
    })
}

pub(super) fn same(run: RunRecord, payload: Digest) -> Result<RunRecord> {
    if run.payload == payload {
        return Ok(run);
    }
    Err(Error::AlreadyExists { what: What::Run, name: run.id.to_string() })
}

//! Poll: offers and directives, computed from the records, the moment there is something to say.
//!
//! Any controller can answer, because nothing but pace is remembered: what was not delivered comes
//! again. A kill is answered only after a linearizable read of the record made for this very call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use ocelot_domain::task::event::{Event, HeldList};
use ocelot_domain::task::state::{JournalSequence, Session, Task, TaskState};
use ocelot_domain::task::timing::{OFFER, POLL_MAX};
use ocelot_domain::task::{Holding, Wait, holding, timing};

use ocelot_proto::kit::chaos;

use super::error::{Error, Result};
use super::follow::known;
use super::memory::{self, Delivered, Missed};
use super::transition::Refused;
use super::{AttemptRef, HELD_MAX, Held, Service, told_to, variables};
use crate::records::{Digest, SourceRecord};
use crate::store::keys::Key;

/// How soon an offer that was not taken is told again.
const OFFER_AGAIN: Duration = Duration::from_millis(250);
/// How soon a cancel or a kill is told again.
const DIRECTIVE_AGAIN: Duration = Duration::from_secs(2);
/// Lists without an offer, after answers that carried it, before its delivery has failed.
const LISTS_WITHOUT: u32 = 2;
/// And the time it had: a journal may be slow, and repeats follow each other fast.
const DELIVERY: Duration = OFFER;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollRequest {
    /// Counts up within the session.
    pub poll: u64,
    /// The journal's sequence number when `held` was read.
    pub sequence: JournalSequence,
    /// Everything that the executor holds.
    pub held: Vec<Held>,
    /// How long its executor waits for something to do.
    pub wait: Duration,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PollAnswer {
    pub offers: Vec<OfferedTask>,
    pub directives: Vec<Directive>,
    /// A newer poll took this one's place.
    pub voided: bool,
}

/// A task to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedTask {
    pub attempt: AttemptRef,
    /// The task's plan as JSON.
    pub plan: Bytes,
    pub plan_digest: Digest,
    /// Variables that only the controller knows.
    pub env: BTreeMap<String, String>,
    /// What to check out; none for a job.
    pub source: Option<SourceRecord>,
    /// Whether the repository is not open to everybody.
    pub needs_credentials: bool,
}

/// Something to do with what is held, or with the executor itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Directive {
    /// End it gently, then complete it.
    Cancel(AttemptRef),
    /// It is not yours any more: kill it, drop its spool, confirm.
    Kill(AttemptRef),
    Drain {
        why: String,
    },
    Resume,
}

/// What one poll has said and found out so far.
#[derive(Debug, Default)]
struct Said {
    /// Attempts found not to be the caller's; that never changes again.
    kills: BTreeSet<AttemptRef>,
}

impl PollAnswer {
    fn is_empty(&self) -> bool {
        self.offers.is_empty() && self.directives.is_empty() && !self.voided
    }
}

impl Service {
    /// Waits until there is something to do for this session, or the poll's time is over.
    pub async fn poll(&self, session: Session, request: PollRequest) -> Result<PollAnswer> {
        if request.held.len() > HELD_MAX {
            return Err(Error::Exhausted { what: "the list of held attempts", limit: HELD_MAX });
        }
        let voided = PollAnswer { voided: true, ..PollAnswer::default() };
        let Some(open) = self.waiters.open(session, request.poll) else { return Ok(voided) };
        let started = self.now();
        let held: BTreeSet<AttemptRef> = request.held.iter().map(|held| held.attempt).collect();
        {
            let mut memory = self.memory();
            memory::put(&mut memory.last_poll, session.id, started);
            memory.still_held(&session.executor, &held);
        }
        // Boxed, so that a poll that waits holds no more than it waits with.
        Box::pin(self.judge_list(session, &request, &held)).await?;
        self.bell.notify_one();
        let mut said = Said::default();
        loop {
            let (answer, again) = Box::pin(self.answer(session, &held, &mut said)).await?;
            if !answer.is_empty() {
                return Ok(answer);
            }
            if open.is_voided() {
                return Ok(voided);
            }
            let left = request.wait.min(POLL_MAX).saturating_sub(self.now().saturating_sub(started));
            if left.is_zero() {
                return Ok(PollAnswer::default());
            }
            // Both are cancel-safe.
            tokio::select! {
                biased;
                () = open.woken() => {}
                () = self.sleep(again.map_or(left, |again| again.min(left))) => {}
            }
        }
    }

    /// Judges what the list leaves out: offers that did not arrive, running attempts that are lost.
    async fn judge_list(
        &self,
        session: Session,
        request: &PollRequest,
        held: &BTreeSet<AttemptRef>,
    ) -> Result<()> {
        let list = HeldList { poll: request.poll, sequence: request.sequence };
        for (task, age) in self.tasks_held_by(session) {
            let Some(live) = task.live() else { continue };
            let attempt = AttemptRef::of(&task, live);
            if held.contains(&attempt) {
                let mut memory = self.memory();
                memory.missed.remove(&attempt);
                memory.delivered.remove(&attempt);
                continue;
            }
            let event = match &task.state {
                TaskState::Offered { .. } => self.undelivered(&attempt, session, age),
                TaskState::Running { acknowledged, .. } | TaskState::Cancelling { acknowledged, .. } => {
                    self.missing(&task, &attempt, (session, *acknowledged), list).await?
                }
                TaskState::Waiting { .. } | TaskState::Queued { .. } | TaskState::Finished { .. } => None,
            };
            let Some(event) = event else { continue };
            let is_lost = matches!(event, Event::Missing { served: Some(_), .. });
            if is_lost {
                chaos::point("lost.before_commit");
            }
            match self.transition(task.id, event).await {
                Ok(done) => {
                    if is_lost {
                        chaos::point("lost.committed");
                        self.metrics.attempt_lost("missing");
                    }
                    tracing::info!(task.id = %task.id, attempt = %attempt.attempt, "taken from its executor");
                    if let Some(revision) = done.written {
                        // So that this very answer does not offer it again as it was.
                        self.catch_up(revision).await;
                    }
                }
                Err(Refused::Failed(error)) => return Err(error),
                // The record has moved on; the next list is judged against what it is then.
                Err(
                    Refused::Absent
                    | Refused::Rejected(_)
                    | Refused::SessionGone
                    | Refused::Returned
                    | Refused::NotNow(_),
                ) => {}
            }
        }
        Ok(())
    }

    fn undelivered(&self, attempt: &AttemptRef, session: Session, age: Duration) -> Option<Event> {
        let answers = self.memory().delivered.get(attempt).map_or(0, |delivered| delivered.answers);
        (answers >= LISTS_WITHOUT && age >= DELIVERY)
            .then(|| Event::Undelivered { claim: attempt.claim(session), waited: age })
    }

    async fn missing(
        &self,
        task: &Task,
        attempt: &AttemptRef,
        (session, acknowledged): (Session, JournalSequence),
        list: HeldList,
    ) -> Result<Option<Event>> {
        if list.sequence <= acknowledged {
            return Ok(None);
        }
        let first = self.memory().missed.get(attempt).copied();
        let Some(Missed { list: first, since, wait, told }) = first else {
            let epoch = self.read(&Key::ExecutorEpoch(session.executor).to_string()).await?;
            let told = told_to(epoch.as_ref())?;
            let revision = epoch.map_or(0, |item| u64::try_from(item.mod_revision.0).unwrap_or(0));
            let wait = Wait::begin(task, timing::Revision(revision));
            let missed = Missed { list, since: self.now(), wait, told };
            memory::put(&mut self.memory().missed, *attempt, missed);
            return Ok(None);
        };
        if list.poll <= first.poll {
            return Ok(None);
        }
        let elapsed = self.now().saturating_sub(since);
        let served = wait.and_then(|wait| self.timing().longest(told).served(wait, elapsed));
        Ok(Some(Event::Missing { claim: attempt.claim(session), lists: [first, list], served }))
    }

    /// Returns what the view gives to this session, each with how long it has been so.
    pub(super) fn tasks_held_by(&self, session: Session) -> Vec<(Task, Duration)> {
        let held = self.board().held_by(&session.id);
        let now = self.now();
        let tasks = held.into_iter().filter_map(|id| {
            let (revision, stored) = known(self.view.get(&Key::Task(id).to_string()).as_ref())?;
            let task = stored.task()?.clone();
            let is_his = task.live().is_some_and(|live| live.session == session);
            is_his.then(|| (task, self.board().seen_for(&id, revision, now)))
        });
        tasks.collect()
    }

    /// Computes what there is to say now, and how soon something may have to be said again.
    async fn answer(
        &self,
        session: Session,
        held: &BTreeSet<AttemptRef>,
        said: &mut Said,
    ) -> Result<(PollAnswer, Option<Duration>)> {
        let mut pace = Pace { session, again: None };
        let mut answer = PollAnswer::default();
        for (task, _) in self.tasks_held_by(session) {
            let Some(live) = task.live() else { continue };
            let attempt = AttemptRef::of(&task, live);
            let is_offer = matches!(task.state, TaskState::Offered { .. }) && !held.contains(&attempt);
            if is_offer && pace.may_say(self, Topic::Offer(attempt), OFFER_AGAIN) {
                let Some(offered) = self.offered(&task, attempt).await? else { continue };
                answer.offers.push(offered);
                let mut memory = self.memory();
                let answers = memory.delivered.get(&attempt).map_or(0, |delivered| delivered.answers) + 1;
                memory::put(&mut memory.delivered, attempt, Delivered { answers });
            }
        }
        for attempt in held {
            let directive = match self.standing(session, *attempt, said).await? {
                Some(directive) => directive,
                None => continue,
            };
            if pace.may_say(self, Topic::Directive(directive.clone()), DIRECTIVE_AGAIN) {
                if let Directive::Cancel(_) = directive {
                    chaos::point("cancel.passed_on");
                }
                answer.directives.push(directive);
            }
        }
        answer.directives.extend(self.standing_order(session));
        Ok((answer, pace.again))
    }

    /// Returns what is to be done with one held attempt.
    async fn standing(
        &self,
        session: Session,
        attempt: AttemptRef,
        said: &mut Said,
    ) -> Result<Option<Directive>> {
        if said.kills.contains(&attempt) {
            return Ok(Some(Directive::Kill(attempt)));
        }
        let in_view = known(self.view.get(&Key::Task(attempt.task).to_string()).as_ref());
        let standing = in_view.as_ref().and_then(|(_, stored)| {
            let task = stored.task()?;
            Some(holding(task, &attempt.claim(session)))
        });
        let standing = match standing {
            Some(Holding::Kill | Holding::Unattached) | None => self.holding_now(session, attempt).await?,
            Some(
                standing @ (Holding::Offered
                | Holding::Running { .. }
                | Holding::Cancelling { .. }
                | Holding::Recorded),
            ) => standing,
        };
        Ok(match standing {
            Holding::Offered | Holding::Running { .. } | Holding::Unattached | Holding::Recorded => None,
            Holding::Cancelling { .. } => Some(Directive::Cancel(attempt)),
            Holding::Kill => {
                said.kills.insert(attempt);
                self.memory().told_to_kill(session.executor, attempt, self.now());
                Some(Directive::Kill(attempt))
            }
        })
    }

    /// Judges a held attempt by a linearizable read, and attaches it if it is still the executor's.
    pub(super) async fn holding_now(&self, session: Session, attempt: AttemptRef) -> Result<Holding> {
        let Some(task) = self.read_task(attempt.task).await? else { return Ok(Holding::Kill) };
        let standing = holding(&task, &attempt.claim(session));
        if standing == Holding::Unattached {
            let event = Event::Reattached { claim: attempt.claim(session) };
            if let Ok(done) = self.transition(task.id, event).await {
                return Ok(holding(&done.after, &attempt.claim(session)));
            }
        }
        Ok(standing)
    }

    async fn offered(&self, task: &Task, attempt: AttemptRef) -> Result<Option<OfferedTask>> {
        let Some((_, run)) = self.run_at_hand(task.id.run) else { return Ok(None) };
        let plan = self.plan_of(&run).await?;
        let Some(planned) = plan.tasks.get(task.id.index as usize) else { return Ok(None) };
        let bytes: Bytes = serde_json::to_vec(planned)
            .expect("a plan has only text keys, and writing to memory does not fail")
            .into();
        let env = variables::of(&run, task, planned, attempt, self.url.get().map(String::as_str));
        // A task that checks nothing out is not told where it could.
        let source = run.source.clone().filter(|_| planned.environment.checkout.is_some());
        let needs_credentials = source.is_some() && self.needs_credentials(&run);
        let plan_digest = Digest::of(&bytes);
        Ok(Some(OfferedTask { attempt, plan_digest, plan: bytes, env, source, needs_credentials }))
    }

    /// Returns the word on new work, if the session has not been told it.
    fn standing_order(&self, session: Session) -> Option<Directive> {
        let (_, stored) = known(self.view.get(&Key::Executor(session.executor).to_string()).as_ref())?;
        let record = stored.executor()?;
        let notice = record.quarantined.as_ref().or(record.draining.as_ref());
        let mut memory = self.memory();
        let was_told = memory.told_to_drain.contains(&session.id);
        match (notice, was_told) {
            (Some(notice), false) => {
                memory.told_to_drain.insert(session.id);
                Some(Directive::Drain { why: notice.why.clone() })
            }
            (None, true) => {
                memory.told_to_drain.remove(&session.id);
                Some(Directive::Resume)
            }
            (Some(_), true) | (None, false) => None,
        }
    }
}

/// Something that is told again only after a while, so that a poll does not spin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Offer(AttemptRef),
    Directive(Directive),
}

struct Pace {
    session: Session,
    again: Option<Duration>,
}

impl Pace {
    fn may_say(&mut self, service: &Service, topic: Topic, interval: Duration) -> bool {
        let now = service.now();
        let mut memory = service.memory();
        let key = (self.session.id, topic);
        let since = memory.told.get(&key).map(|told| now.saturating_sub(*told));
        match since.and_then(|since| interval.checked_sub(since)).filter(|left| !left.is_zero()) {
            Some(left) => {
                self.again = Some(self.again.map_or(left, |again| again.min(left)));
                false
            }
            None => {
                memory::put(&mut memory.told, key, now);
                true
            }
        }
    }
}

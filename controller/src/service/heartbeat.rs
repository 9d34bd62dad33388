//! Heartbeat: keeps the session's lease, and vouches for what the session holds.
//!
//! The lease is renewed only as the effect of a heartbeat, and an answer of the store to a renewal
//! is not ownership: an exclusive attempt is vouched for only if one transaction, made for this
//! heartbeat, compared its record and the session's key.

use std::collections::BTreeSet;
use std::time::Duration;

use ocelot_core::plan::Class;
use ocelot_domain::task::state::{Session, Task};
use ocelot_domain::task::timing::SESSION_TTL_MIN;
use ocelot_domain::task::{Holding, Timing, holding};

use ocelot_proto::kit::chaos;

use super::error::{Error, Result};
use super::follow::known;
use super::{AttemptRef, Directive, HELD_MAX, Held, LogOffsets, Service};
use crate::records::{Condition, ExecutorEpoch, SessionRecord};
use crate::store::codec::{decode, encode};
use crate::store::keys::Key;
use crate::store::update::{Edit, UpdateError};
use crate::store::{self, Expected, LeaseId, Revision, Txn, Verdict};

/// Compares that one vouching transaction carries.
const VOUCHED_PER_TXN: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRequest {
    pub held: Vec<Held>,
    pub condition: Condition,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatAnswer {
    /// Attempts whose guard may be set forward, counted from when the heartbeat was sent.
    pub vouched: Vec<AttemptRef>,
    pub directives: Vec<Directive>,
    pub logs: Vec<LogOffsets>,
    pub timing: Timing,
}

impl Service {
    /// Keeps the session, and says what to do with each held attempt.
    pub async fn heartbeat(&self, session: Session, request: HeartbeatRequest) -> Result<HeartbeatAnswer> {
        self.memory().seen(session.executor, self.timestamp());
        if request.held.len() > HELD_MAX {
            return Err(Error::Exhausted { what: "the list of held attempts", limit: HELD_MAX });
        }
        // Once, so that what is told is what the lease was kept for.
        let timing = self.timing();
        self.keep_session(session, &request.condition, timing).await?;
        let mut vouched = Vec::new();
        let mut exclusive = Vec::new();
        let mut directives = Vec::new();
        let attempts: BTreeSet<AttemptRef> = request.held.iter().map(|held| held.attempt).collect();
        for attempt in &attempts {
            let (task, revision, standing) = match self.standing_of(session, *attempt).await? {
                Some(found) => found,
                None => {
                    self.memory().told_to_kill(session.executor, *attempt, self.now());
                    directives.push(Directive::Kill(*attempt));
                    continue;
                }
            };
            match standing {
                Holding::Offered | Holding::Unattached | Holding::Recorded => continue,
                Holding::Kill => {
                    self.memory().told_to_kill(session.executor, *attempt, self.now());
                    directives.push(Directive::Kill(*attempt));
                    continue;
                }
                Holding::Running { .. } => {}
                Holding::Cancelling { .. } => directives.push(Directive::Cancel(*attempt)),
            }
            match task.policy.class {
                Class::Exclusive if chaos::bug("session.vouches_from_memory") => vouched.push(*attempt),
                Class::Exclusive => exclusive.push((*attempt, revision)),
                Class::Normal | Class::Once => vouched.push(*attempt),
            }
        }
        for batch in exclusive.chunks(VOUCHED_PER_TXN) {
            vouched.extend(self.confirmed_now(session, batch).await?);
        }
        let attempts: Vec<AttemptRef> = attempts.into_iter().collect();
        let logs = self.parts.logs.offsets(&attempts).await;
        Ok(HeartbeatAnswer { vouched, directives, logs, timing })
    }

    /// Judges one held attempt: by the view if that says yes, else by a read made for this call.
    async fn standing_of(
        &self,
        session: Session,
        attempt: AttemptRef,
    ) -> Result<Option<(Task, Revision, Holding)>> {
        let claim = attempt.claim(session);
        let key = Key::Task(attempt.task).to_string();
        if let Some((revision, stored)) = known(self.view.get(&key).as_ref())
            && let Some(task) = stored.task()
        {
            match holding(task, &claim) {
                Holding::Kill | Holding::Unattached => {}
                standing @ (Holding::Offered
                | Holding::Running { .. }
                | Holding::Cancelling { .. }
                | Holding::Recorded) => {
                    return Ok(Some((task.clone(), revision, standing)));
                }
            }
        }
        let Some(item) = self.read(&key).await? else { return Ok(None) };
        let task: Task = decode(&item.value)?;
        let standing = match holding(&task, &claim) {
            Holding::Unattached => self.holding_now(session, attempt).await?,
            standing @ (Holding::Offered
            | Holding::Running { .. }
            | Holding::Cancelling { .. }
            | Holding::Recorded
            | Holding::Kill) => standing,
        };
        Ok(Some((task, item.mod_revision, standing)))
    }

    /// Returns those of the attempts that one transaction, made now, finds with this session; all
    /// or, where one has moved, each by itself.
    async fn confirmed_now(
        &self,
        session: Session,
        attempts: &[(AttemptRef, Revision)],
    ) -> Result<Vec<AttemptRef>> {
        let mut confirmed = Vec::new();
        let mut work = vec![attempts.to_vec()];
        while let Some(batch) = work.pop() {
            let (_, epoch) = self.epoch().await?;
            let txn = Txn::new()
                .when(Key::Session(session.id), Expected::Present)
                .when(Key::Epoch, Expected::At(epoch));
            let txn = batch.iter().fold(txn, |txn, (attempt, revision)| {
                txn.when(Key::Task(attempt.task), Expected::At(*revision))
            });
            match self.store.commit(txn).await? {
                Verdict::Committed(_) => confirmed.extend(batch.iter().map(|(attempt, _)| *attempt)),
                Verdict::Refused { .. } if batch.len() > 1 => {
                    work.extend(batch.into_iter().map(|one| vec![one]));
                }
                // Not vouched for now; the next heartbeat sees what it has become.
                Verdict::Refused { .. } => self.forget_epoch(),
            }
        }
        Ok(confirmed)
    }

    /// Renews the session's lease, for heartbeats as far apart as the answer will ask for; or puts the
    /// session back if the store dropped it by itself.
    async fn keep_session(&self, session: Session, condition: &Condition, timing: Timing) -> Result<()> {
        let key = Key::Session(session.id).to_string();
        let item = match self.view.get(&key) {
            Some(entry) => entry.lease,
            None => self.read(&key).await?.and_then(|item| item.lease),
        };
        let kept = match item {
            Some(lease) => match self.store.keep_alive(lease).await {
                Ok(kept) => Some(kept),
                Err(store::Error::LeaseGone) => None,
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        let Some(kept) = kept else { return self.put_back(session, condition, timing).await };
        if !timing.fits(kept.ttl) || !timing.fits(self.longest_ttl(session)) {
            return self.stretch(session, kept.id, timing).await;
        }
        let known = known(self.view.get(&key).as_ref());
        let differs = known
            .is_some_and(|(_, stored)| stored.session().is_some_and(|record| record.condition != *condition));
        if differs {
            self.note_condition(&key, kept.id, condition).await?;
        }
        Ok(())
    }

    /// Returns the longest time to live that the session is known to have been given.
    fn longest_ttl(&self, session: Session) -> Duration {
        let epoch = known(self.view.get(&Key::ExecutorEpoch(session.executor).to_string()).as_ref());
        let ttl = epoch.and_then(|(_, stored)| stored.epoch().map(ExecutorEpoch::session_ttl));
        ttl.unwrap_or(SESSION_TTL_MIN)
    }

    async fn note_condition(&self, key: &str, lease: LeaseId, condition: &Condition) -> Result<()> {
        let updated = self.updater.update(key, |record: Option<SessionRecord>| {
            let Some(record) = record else { return Ok::<_, Error>(Edit::Keep) };
            Ok(Edit::PutUnder(lease, SessionRecord { condition: condition.clone(), ..record }))
        });
        match updated.await {
            // The lease may have gone this moment: the next heartbeat puts the session back.
            Ok(_) | Err(UpdateError::Contended { .. } | UpdateError::Beside { .. }) => Ok(()),
            Err(UpdateError::Store(store::Error::LeaseGone)) => Ok(()),
            Err(UpdateError::Rejected(error)) => Err(error),
            Err(UpdateError::Store(error)) => Err(error.into()),
        }
    }

    /// Puts back a session that the store dropped, only if the executor's epoch still names it.
    async fn put_back(&self, session: Session, condition: &Condition, timing: Timing) -> Result<()> {
        let now = self.timestamp();
        let record = |epoch: &ExecutorEpoch| SessionRecord {
            session,
            token: epoch.token,
            opened_at: now,
            condition: condition.clone(),
        };
        match self.lease_anew(session, (Expected::Absent, timing), record).await {
            Ok(()) => {
                tracing::warn!(session.id = %session.id, "the store had dropped a session; it is back");
                Ok(())
            }
            // Somebody else put it back: ours is not needed.
            Err(UpdateError::Beside { .. }) => Ok(()),
            Err(error) => super::jobs::settled(Err(error)),
        }
    }

    /// Puts a session under a lease that lives longer. Only after that its heartbeats may be further
    /// apart; how long others wait for it is written down with it.
    async fn stretch(&self, session: Session, before: LeaseId, timing: Timing) -> Result<()> {
        let lapsed = Error::NotNow { why: "the session has lapsed; a heartbeat puts it back" };
        let item = self.read(&Key::Session(session.id).to_string()).await?.ok_or(lapsed)?;
        let known: SessionRecord = decode(&item.value)?;
        let expected = Expected::At(item.mod_revision);
        let record = |epoch: &ExecutorEpoch| SessionRecord { token: epoch.token, ..known.clone() };
        super::jobs::settled(self.lease_anew(session, (expected, timing), record).await)?;
        tracing::debug!(session.id = %session.id, ttl = ?timing.session_ttl(), "a session lives longer now");
        // Nothing hangs on it any more.
        Ok(self.store.revoke(before).await?)
    }

    /// Puts the session's key under a new lease, if the executor's epoch names it and the key is as
    /// expected.
    async fn lease_anew(
        &self,
        session: Session,
        (expected, timing): (Expected, Timing),
        record: impl Fn(&ExecutorEpoch) -> SessionRecord,
    ) -> std::result::Result<(), UpdateError<Error>> {
        let lease = self.store.grant(timing.session_ttl()).await?;
        let key = Key::Session(session.id).to_string();
        let epoch_key = Key::ExecutorEpoch(session.executor).to_string();
        let updated = self.updater.update(&epoch_key, |epoch: Option<ExecutorEpoch>| {
            let epoch = epoch.filter(|epoch| epoch.session == session).ok_or(Error::Fenced)?;
            let beside = Txn::new().when(key.as_str(), expected).put_under(
                lease.id,
                key.as_str(),
                encode(&record(&epoch), None),
            );
            let ttl = timing.session_ttl().max(epoch.session_ttl());
            // Written though unchanged: its revision tells every wait that the session was back.
            Ok(Edit::Put(epoch.with_session_ttl(ttl)).beside(beside))
        });
        match updated.await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.store.revoke(lease.id).await.ok();
                Err(error)
            }
        }
    }
}

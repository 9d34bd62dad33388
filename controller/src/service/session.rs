//! Sessions: a challenge, its proof, and the one session of an executor that counts.
//!
//! A newer incarnation replaces the older session in one transaction and attaches what it holds
//! before it is answered. Who carries a token of an older session is told so, and is a clone if it
//! goes on after that.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use ocelot_core::id::{ExecutorId, Incarnation, SessionId};
use ocelot_domain::outcome::Actor;
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::Session;
use ocelot_domain::task::{Holding, Rejected, Timing};
use ocelot_proto::kit::chaos;

use super::error::{Error, Result, What};
use super::follow::known;
use super::jobs::settled;
use super::transition::Refused;
use super::{AttemptRef, HELD_MAX, Held, Service, memory};
use crate::auth::{Admitted, Denied, Kind, Sessions, Token};
use crate::records::{Condition, Digest, ExecutorEpoch, ExecutorRecord, Machine, SessionRecord};
use crate::store::codec::{decode, encode};
use crate::store::keys::Key;
use crate::store::update::{Edit, UpdateError};
use crate::store::{Expected, LeaseId, Revision, Txn};

/// How long an older process may still be heard after it was told: what it had sent before that.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What an executor signs: these words, itself, its incarnation and the challenge.
const SIGNED: &[u8] = b"ocelot session v1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge(pub [u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSessionRequest {
    pub executor: ExecutorId,
    pub challenge: Challenge,
    pub signature: Vec<u8>,
    pub incarnation: Incarnation,
    pub held: Vec<Held>,
    pub version: String,
    pub machine: Machine,
}

#[derive(Clone, PartialEq, Eq)]
pub struct OpenedSession {
    /// Carried by every later call.
    pub token: String,
    pub session: Session,
    pub timing: Timing,
    /// Held attempts that are still the executor's; it kills all others.
    pub keep: Vec<AttemptRef>,
}

impl fmt::Debug for OpenedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, keep, .. } = self;
        f.debug_struct("OpenedSession").field("session", session).field("keep", keep).finish_non_exhaustive()
    }
}

/// Returns the bytes that an executor signs to open a session.
pub fn signed_message(executor: ExecutorId, incarnation: Incarnation, challenge: &Challenge) -> Vec<u8> {
    [SIGNED, executor.as_bytes(), &incarnation.0.to_be_bytes(), &challenge.0].concat()
}

impl Service {
    /// Returns something to sign, valid once and for a short time. `from` is who asks for it.
    pub fn challenge(&self, executor: ExecutorId, from: Option<IpAddr>) -> Challenge {
        let challenge = self.random();
        self.memory().challenges.give(challenge, executor, from, self.now());
        Challenge(challenge)
    }

    /// Opens the session of an incarnation in place of any older one.
    pub async fn open_session(&self, request: OpenSessionRequest) -> Result<OpenedSession> {
        if request.held.len() > HELD_MAX {
            return Err(Error::Exhausted { what: "the list of held attempts", limit: HELD_MAX });
        }
        let record = self.proven(&request).await?;
        let timing = self.timing();
        let secret: [u8; 32] = self.random();
        let fresh = SessionId::from_parts(self.timestamp().unix_ms, self.random());
        let lease = self.store.grant(timing.session_ttl()).await?;
        chaos::point("session.before_commit");
        let opened = self.replace_session(&request, (fresh, &secret), (lease.id, timing)).await;
        let session = match opened {
            Ok(session) => session,
            Err(error) => {
                self.store.revoke(lease.id).await.ok();
                return Err(error);
            }
        };
        chaos::point("session.committed");
        self.note_machine(record, &request).await?;
        let keep = self.attach(session, &request.held).await?;
        chaos::point("session.attached");
        tracing::info!(
            executor.id = %session.executor, session.id = %session.id,
            incarnation = session.incarnation.0, kept = keep.len(), "a session is open"
        );
        let token = token(session, &secret).reveal().to_owned();
        Ok(OpenedSession { token, session, timing, keep })
    }

    /// Returns the executor, if the request proves that it comes from the holder of its key.
    async fn proven(&self, request: &OpenSessionRequest) -> Result<ExecutorRecord> {
        let given = self.memory().challenges.take(&request.challenge.0, self.now());
        // One that was pushed out, or is with another controller, says nothing about who answers it.
        let given = given.ok_or(Error::NotNow { why: "this challenge is not known: ask for another" })?;
        if given != request.executor {
            return Err(Error::Unauthenticated);
        }
        let item = self.read(&Key::Executor(request.executor).to_string()).await?;
        let item = item.ok_or_else(|| Error::not_found(What::Executor, request.executor))?;
        let record: ExecutorRecord = decode(&item.value)?;
        let message = signed_message(request.executor, request.incarnation, &request.challenge);
        if self.parts.verify.is_signed(&record.public_key, &message, &request.signature) {
            return Ok(record);
        }
        Err(Error::Unauthenticated)
    }

    async fn replace_session(
        &self,
        request: &OpenSessionRequest,
        (fresh, secret): (SessionId, &[u8; 32]),
        (lease, timing): (LeaseId, Timing),
    ) -> Result<Session> {
        let (executor, incarnation) = (request.executor, request.incarnation);
        let now = self.timestamp();
        let mut opened = None;
        let key = Key::ExecutorEpoch(executor).to_string();
        let updated = self.updater.update(&key, |epoch: Option<ExecutorEpoch>| {
            let known = epoch.as_ref().map(|epoch| epoch.session);
            let id = match known {
                Some(known) if known.incarnation > incarnation => return Err(Error::Fenced),
                // The same process asks again: it is the same session, with a new token.
                Some(known) if known.incarnation == incarnation => known.id,
                Some(_) | None => fresh,
            };
            let session = Session { id, executor, incarnation };
            let digest = digest(&token(session, secret));
            let condition = Condition::default();
            let record = SessionRecord { session, token: digest, opened_at: now, condition };
            let beside = Txn::new().when(Key::Executor(executor), Expected::Present).put_under(
                lease,
                Key::Session(id),
                encode(&record, None),
            );
            let beside = match known {
                Some(older) if older.id != id => beside.delete(Key::Session(older.id)),
                Some(_) | None => beside,
            };
            let ttl = timing.session_ttl();
            let next = match epoch {
                // What it holds may be guarded as it was told before.
                Some(epoch) if !request.held.is_empty() => {
                    let ttl = ttl.max(epoch.session_ttl());
                    epoch.followed_by(session, digest).with_session_ttl(ttl)
                }
                Some(epoch) => epoch.followed_by(session, digest).with_session_ttl(ttl),
                None => ExecutorEpoch::new(session, digest).with_session_ttl(ttl),
            };
            opened = Some(session);
            Ok(Edit::Put(next).beside(beside))
        });
        match updated.await {
            Err(UpdateError::Rejected(Error::Fenced)) => {
                let older = SessionId::from_bytes(*executor.as_bytes());
                Err(self.heard_again(executor, older).await)
            }
            Err(UpdateError::Beside { .. }) => Err(Error::not_found(What::Executor, executor)),
            updated => {
                settled(updated)?;
                opened.ok_or(Error::NotNow { why: "the session was not opened" })
            }
        }
    }

    async fn note_machine(&self, record: ExecutorRecord, request: &OpenSessionRequest) -> Result<()> {
        if record.machine == request.machine && record.version == request.version {
            return Ok(());
        }
        let key = Key::Executor(record.id).to_string();
        let updated = self.updater.update(&key, |record: Option<ExecutorRecord>| {
            let Some(record) = record else { return Ok::<_, Error>(Edit::Keep) };
            let (machine, version) = (request.machine.clone(), request.version.clone());
            Ok(Edit::Put(ExecutorRecord { machine, version, ..record }))
        });
        settled(updated.await).map(drop)
    }

    /// Attaches what the executor holds; returns what is still its own.
    async fn attach(&self, session: Session, held: &[Held]) -> Result<Vec<AttemptRef>> {
        let mut keep = Vec::new();
        let attempts: BTreeSet<AttemptRef> = held.iter().map(|held| held.attempt).collect();
        for attempt in attempts {
            let claim = attempt.claim(session);
            match self.transition(attempt.task, Event::Reattached { claim }).await {
                Ok(done) if done.after.live().is_some() => keep.push(attempt),
                Ok(_) | Err(Refused::Rejected(Rejected::Fenced)) => {
                    // Its end is known: it is kept until its log is safe.
                    if self.holding_now(session, attempt).await? == Holding::Recorded {
                        keep.push(attempt);
                    }
                }
                Err(Refused::Absent) => {}
                Err(Refused::Rejected(Rejected::Illegal { .. } | Rejected::Early)) => {}
                Err(
                    refused @ (Refused::Rejected(Rejected::Unattached)
                    | Refused::SessionGone
                    | Refused::Returned
                    | Refused::NotNow(_)
                    | Refused::Failed(_)),
                ) => return Err(refused.into()),
            }
        }
        Ok(keep)
    }

    /// Returns the session that a token speaks for.
    pub async fn authenticate(&self, token: &str) -> Result<Session> {
        let token: Token = token.parse().map_err(|_| Error::Unauthenticated)?;
        self.recognise(&token).await.map(|(session, ..)| session)
    }

    /// Returns the session that a token speaks for, the token's digest, and the revision where both
    /// were found.
    ///
    /// By the view if it knows the session with this token; what that is worth is decided by the
    /// transactions that follow.
    async fn recognise(&self, token: &Token) -> Result<(Session, Digest, Revision)> {
        let Kind::Session { executor, session: id } = token.kind() else {
            return Err(Error::Unauthenticated);
        };
        let digest = digest(token);
        let in_view = known(self.view.get(&Key::Session(id).to_string()).as_ref());
        if let Some((revision, record)) =
            in_view.as_ref().and_then(|(revision, stored)| Some((*revision, stored.session()?)))
            && record.token == digest
        {
            return Ok((record.session, digest, revision));
        }
        let item = self.read(&Key::ExecutorEpoch(executor).to_string()).await?;
        let item = item.ok_or(Error::Unauthenticated)?;
        let epoch: ExecutorEpoch = decode(&item.value)?;
        if epoch.session.id == id && epoch.token == digest {
            return Ok((epoch.session, digest, item.mod_revision));
        }
        match epoch.past.iter().find(|past| past.token == digest) {
            // The same process has a newer token: what it sent before that is no clone's.
            Some(past) if past.session == epoch.session.id => Err(Error::Unauthenticated),
            Some(_) => Err(self.heard_again(executor, id).await),
            None => Err(Error::Unauthenticated),
        }
    }

    /// Ends what hangs on sessions that the view says do not count any more.
    pub(super) fn end_sessions(&self, executors: &BTreeSet<ExecutorId>) {
        let applied = self.view.applied();
        for executor in executors {
            let entry = self.view.get(&Key::ExecutorEpoch(*executor).to_string());
            let mut memory = self.memory();
            let Some(admitted) = memory.admitted.get(executor) else { continue };
            let counts = match known(entry.as_ref()) {
                // Gone with its executor, unless the view is not that far yet.
                None => applied < admitted.seen,
                // A view behind what was read says nothing.
                Some((revision, stored)) => {
                    revision < admitted.seen
                        || stored.epoch().is_some_and(|epoch| epoch.token == admitted.token)
                }
            };
            if !counts {
                let ended = memory.admitted.remove(executor);
                drop(memory);
                ended.iter().for_each(|admitted| admitted.ended.cancel());
            }
        }
    }

    /// Answers a process that no longer counts: once it was told so, it must be silent, or it is a
    /// clone and neither can be trusted. What was under way when it was told is not held against it.
    async fn heard_again(&self, executor: ExecutorId, older: SessionId) -> Error {
        let now = self.now();
        let told = {
            let mut memory = self.memory();
            let told = memory.told_fenced.get(&older).copied();
            if told.is_none() {
                memory::put(&mut memory.told_fenced, older, now);
            }
            told
        };
        if told.is_some_and(|told| now.saturating_sub(told) >= LAST_WORDS) {
            tracing::error!(executor.id = %executor, "two processes use the key of one executor");
            let why = "two processes use its key: one is a clone";
            let by = Actor("rule:clone".into());
            if let Err(error) = self.quarantine_executor(executor, why, &by).await {
                return error;
            }
        }
        Error::Fenced
    }
}

fn token(session: Session, secret: &[u8; 32]) -> Token {
    Token::new(Kind::Session { executor: session.executor, session: session.id }, *secret)
}

fn digest(token: &Token) -> Digest {
    Digest::of(token.reveal().as_bytes())
}

#[async_trait]
impl Sessions for Service {
    async fn session(&self, token: &Token) -> std::result::Result<Admitted, Denied> {
        let (found, digest, seen) = self.recognise(token).await.map_err(|error| match error {
            Error::Fenced => Denied::Fenced,
            Error::Store(error) => Denied::Unavailable(error),
            Error::NotFound { .. }
            | Error::Invalid { .. }
            | Error::AlreadyExists { .. }
            | Error::Ambiguous { .. }
            | Error::Unauthenticated
            | Error::Conflict { .. }
            | Error::Exhausted { .. }
            | Error::NoRoom { .. }
            | Error::Logs(_)
            | Error::NotNow { .. } => Denied::Unknown,
        })?;
        let Session { id, executor, incarnation } = found;
        let ended = {
            let mut memory = self.memory();
            match memory.admitted.get(&executor) {
                Some(known) if known.token == digest => known.ended.clone(),
                Some(newer) if newer.seen > seen => return Err(Denied::Unknown),
                Some(_) | None => {
                    let ended = CancellationToken::new();
                    let admitted = memory::Admitted { token: digest, seen, ended: ended.clone() };
                    memory::put(&mut memory.admitted, executor, admitted);
                    ended
                }
            }
        };
        Ok(Admitted { session: id, executor, incarnation, ended })
    }
}

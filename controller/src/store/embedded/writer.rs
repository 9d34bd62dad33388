//! The one thread that writes. It takes all that waits, judges one transaction after the other inside
//! one transaction of the engine, and answers them when that is durable: one sync for all.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use rusqlite::Connection;

use crate::store::error::{Error, Result};
use crate::store::lease::{Lease, LeaseId};
use crate::store::range::Revision;
use crate::store::txn::{Op, Txn, Verdict};
use crate::store::watch::Event;

use super::apply::{self, Applied};
use super::checkpoint::Log;
use super::clock::Clock;
use super::failure::{Blame, Reason, Stage};
use super::feed::{Changes, Feed};
use super::leases::Leases;
use super::queue::{Answer, Job, Queue};
use super::quota::Quota;
use super::retention::Ageing;
use super::room::Room;
use super::schema::{self, RowId};
use super::tables::Tables;

/// What the writer shares with the rest of the store.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Arc<Queue>,
    pub(super) feed: Arc<Feed>,
    pub(super) leases: Arc<Leases>,
    pub(super) log: Arc<Log>,
    pub(super) clock: Arc<dyn Clock>,
}

/// How far the store has come; put back if a group fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    /// The last row that compaction has dealt with; none once it has nothing to do.
    pub(super) sweeping: Option<RowId>,
}

#[derive(Debug)]
pub(super) struct Writer<'c> {
    tables: Tables<'c>,
    shared: Shared,
    checkpointer: SyncSender<()>,
    ageing: Ageing,
    durable: Progress,
    quota: Quota,
    room: Room,
    /// The last group failed: what nobody waits for is not tried again at once.
    resting: bool,
}

/// An answer that waits for the group to be durable.
#[derive(Debug)]
enum Pending {
    Commit(Answer<Verdict>, Result<Verdict>),
    Grant(Answer<Lease>, Lease),
    Revoke(Answer<()>, LeaseId),
    Other(Answer<()>, Result<()>),
}

/// What a group has come to so far.
#[derive(Debug)]
struct Group {
    progress: Progress,
    pending: Vec<Pending>,
    changes: Vec<Changes>,
    due: Vec<Lease>,
}

impl<'c> Writer<'c> {
    /// Rows that compaction looks at when nothing else is to do.
    const SWEEP_IDLE: usize = 512;
    const REST: Duration = Duration::from_secs(1);

    pub(super) fn new(
        connection: &'c Connection,
        shared: Shared,
        checkpointer: SyncSender<()>,
        ageing: Ageing,
        durable: Progress,
        (quota, room): (Quota, Room),
    ) -> rusqlite::Result<Self> {
        let tables = Tables::prepare(connection)?;
        Ok(Self { tables, shared, checkpointer, ageing, durable, quota, room, resting: false })
    }

    /// Works until the store is closed or can no longer be written.
    pub(super) fn run(mut self) {
        let mut jobs = Vec::new();
        while self.shared.queue.take(&mut jobs, self.patience()) {
            if let Err(reason) = self.group(&mut jobs) {
                tracing::error!(reason = %reason, "the embedded store can no longer be written");
                return self.shared.queue.break_off(reason);
            }
        }
    }

    /// Returns how long nothing needs to be done.
    fn patience(&self) -> Option<Duration> {
        if self.resting {
            return Some(Self::REST);
        }
        if self.durable.sweeping.is_some() {
            return Some(Duration::ZERO);
        }
        let now = self.shared.clock.now();
        let ageing = self.ageing.wake(self.durable.revision, self.durable.compacted);
        let due = ageing.into_iter().chain(self.shared.leases.next_deadline()).min()?;
        Some(due.saturating_sub(now))
    }

    /// Carries out one group. An error ends the writer.
    fn group(&mut self, jobs: &mut Vec<Job>) -> std::result::Result<(), Reason> {
        let now = self.shared.clock.now();
        let due = self.shared.leases.take_due(now);
        let compact_to = self.ageing.due(now, self.durable.revision, self.durable.compacted);
        if jobs.is_empty() && due.is_empty() && compact_to.is_none() && self.durable.sweeping.is_none() {
            self.resting = false;
            return Ok(());
        }
        let mut group = Group {
            progress: self.durable,
            pending: Vec::with_capacity(jobs.len()),
            changes: Vec::new(),
            due,
        };
        let mut stage = Stage::Before;
        let written = self.stage(&mut group, jobs, compact_to).and_then(|()| {
            stage = Stage::Committing;
            self.tables.connection().prepare_cached("COMMIT")?.execute([]).map(drop)
        });
        match written {
            Ok(()) => self.settle(group),
            Err(error) => self.take_back(group, jobs, stage, error)?,
        }
        self.room.make_if_due(self.shared.log.pages());
        let moved = self.shared.log.between_groups(self.tables.connection(), &self.checkpointer);
        self.room.keep_near(self.shared.log.pages());
        match moved {
            Ok(()) => Ok(()),
            Err(error) if Blame::of(&error).ends_writing() => Err(Reason(error.to_string())),
            Err(error) => {
                tracing::warn!(error = %error, "the write-ahead log could not be moved");
                Ok(())
            }
        }
    }

    /// Does everything of a group but the commit.
    fn stage(
        &mut self,
        group: &mut Group,
        jobs: &mut Vec<Job>,
        compact_to: Option<Revision>,
    ) -> rusqlite::Result<()> {
        let connection = self.tables.connection();
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        if self.quota.is_due() {
            self.quota.measured(schema::used_bytes(connection)?);
        }
        for index in 0..group.due.len() {
            self.end_lease(group, group.due[index].id)?;
        }
        let idle = jobs.is_empty();
        // In reverse, so that taking the next is popping the last, and a job is never lost on the way.
        jobs.reverse();
        while let Some(job) = jobs.pop() {
            if let Err((job, error)) = self.job(group, job) {
                jobs.push(job);
                return Err(error);
            }
        }
        if let Some(at) = compact_to {
            self.compact(group, at)?.expect("what has aged was current once");
        }
        if let (Some(from), at) = (group.progress.sweeping, group.progress.compacted) {
            // More than a busy group adds, so that the history shrinks while the store is written.
            let rows: usize = group.changes.iter().map(|changes| changes.events.len()).sum();
            let budget = if idle { Self::SWEEP_IDLE } else { 16 + 4 * rows };
            group.progress.sweeping = self.tables.sweep(from, at, budget)?;
        }
        Ok(())
    }

    /// Carries out one job, or hands it back with the error that ends the group.
    fn job(&mut self, group: &mut Group, job: Job) -> std::result::Result<(), (Job, rusqlite::Error)> {
        match job {
            Job::Commit(txn, answer) => match self.commit(group, txn) {
                Ok(verdict) => group.pending.push(Pending::Commit(answer, verdict)),
                Err(error) => return Err((Job::Commit(Txn::new(), answer), error)),
            },
            Job::Grant(ttl, answer) => {
                match self.tables.add_lease(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)) {
                    Ok(id) => group.pending.push(Pending::Grant(answer, Lease { id, ttl })),
                    Err(error) => return Err((Job::Grant(ttl, answer), error)),
                }
            }
            Job::Revoke(lease, answer) => match self.end_lease(group, lease) {
                Ok(()) => group.pending.push(Pending::Revoke(answer, lease)),
                Err(error) => return Err((Job::Revoke(lease, answer), error)),
            },
            Job::Compact(at, answer) => match self.compact(group, at) {
                Ok(done) => group.pending.push(Pending::Other(answer, done)),
                Err(error) => return Err((Job::Compact(at, answer), error)),
            },
            Job::Nudge(answer) => group.pending.push(Pending::Other(answer, Ok(()))),
        }
        Ok(())
    }

    fn commit(&mut self, group: &mut Group, txn: Txn) -> rusqlite::Result<Result<Verdict>> {
        if self.quota.is_used_up && puts(&txn) {
            let full = format!("the quota of {} bytes is used up", self.quota.bytes);
            return Ok(Err(Error::Full(Reason::boxed(full))));
        }
        Ok(match apply::commit(&mut self.tables, group.progress.revision.next(), txn)? {
            Applied::Committed(events) => {
                group.advance(events);
                Ok(Verdict::Committed(group.progress.revision))
            }
            Applied::Refused(found) => Ok(Verdict::Refused { found }),
            Applied::LeaseGone => Err(Error::LeaseGone),
        })
    }

    fn end_lease(&mut self, group: &mut Group, lease: LeaseId) -> rusqlite::Result<()> {
        loop {
            let events = apply::end_lease(&mut self.tables, group.progress.revision.next(), lease)?;
            let all = events.len() < RowId::PLACES;
            group.advance(events);
            if all {
                return Ok(());
            }
        }
    }

    fn compact(&mut self, group: &mut Group, at: Revision) -> rusqlite::Result<Result<()>> {
        let Progress { revision, compacted, sweeping } = group.progress;
        if at > revision {
            let ahead = format!("revision {at} is ahead of the store's, {revision}");
            return Ok(Err(Error::Unusable(Reason::boxed(ahead))));
        }
        if at > compacted {
            self.tables.set_compacted(at)?;
            group.progress.compacted = at;
            // The deletions exactly at the last compaction's revision are due now.
            let from = RowId(RowId::first_of(compacted).0 - 1);
            group.progress.sweeping = Some(sweeping.map_or(from, |row| row.min(from)));
        }
        Ok(Ok(()))
    }

    /// Makes the group known: it is durable.
    fn settle(&mut self, group: Group) {
        // A lease's time begins with the answer, not with a commit that a slow disk held up.
        let now = self.shared.clock.now();
        self.durable = group.progress;
        self.resting = false;
        group.changes.iter().for_each(|changes| self.quota.wrote(&changes.events));
        self.shared.feed.publish(group.changes, self.durable.compacted);
        for pending in group.pending {
            // A caller that went away needs no answer.
            let _gone = match pending {
                Pending::Commit(answer, verdict) => answer.send(verdict).is_err(),
                Pending::Grant(answer, lease) => {
                    self.shared.leases.start(lease, now);
                    answer.send(Ok(lease)).is_err()
                }
                Pending::Revoke(answer, lease) => {
                    self.shared.leases.end(lease);
                    answer.send(Ok(())).is_err()
                }
                Pending::Other(answer, done) => answer.send(done).is_err(),
            };
        }
    }

    /// Undoes a group that failed and tells its callers. An error ends the writer.
    fn take_back(
        &mut self,
        group: Group,
        jobs: &mut Vec<Job>,
        stage: Stage,
        error: rusqlite::Error,
    ) -> std::result::Result<(), Reason> {
        let blame = Blame::of(&error);
        let error = Arc::new(error);
        let connection = self.tables.connection();
        // The engine has rolled back by itself after some errors.
        let undone = if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("ROLLBACK") };
        let now = self.shared.clock.now();
        for lease in group.due {
            self.shared.leases.start(lease, now);
        }
        let unanswered = group.pending.into_iter().map(Pending::into_job).chain(jobs.drain(..).rev());
        for job in unanswered {
            job.fail(blame.answer(stage, &error));
        }
        self.resting = true;
        if blame.ends_writing() {
            return Err(Reason(format!("{error}: check the disk, then restart")));
        }
        undone.map_err(|error| Reason(format!("a failed change could not be taken back: {error}")))
    }
}

impl Group {
    /// Makes the events, if any, the next revision.
    fn advance(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.progress.revision = self.progress.revision.next();
            self.changes.push(Changes { revision: self.progress.revision, events });
        }
    }
}

impl Pending {
    /// Returns the job that the answer belongs to, to be failed.
    fn into_job(self) -> Job {
        match self {
            Self::Commit(answer, _) => Job::Commit(Txn::new(), answer),
            Self::Grant(answer, lease) => Job::Grant(lease.ttl, answer),
            Self::Revoke(answer, lease) => Job::Revoke(lease, answer),
            Self::Other(answer, _) => Job::Nudge(answer),
        }
    }
}

fn puts(txn: &Txn) -> bool {
    txn.ops().iter().any(|op| matches!(op, Op::Put { .. }))
}

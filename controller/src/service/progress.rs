//! What an attempt goes through: told by its executor, kept beside the task's record.
//!
//! Each word is written by a transaction that compares the task's record, so that only the session
//! of the live attempt is heard. Readers find it in the view.

use ocelot_core::id::{Attempt, RunId, TaskId};
use ocelot_domain::task::state::{Session, Task};
use ocelot_domain::task::{Holding, Step, holding};
use ocelot_proto::kit::chaos;

use super::error::{Error, Result};
use super::facts::{Facts, Obstacle};
use super::follow::known;
use super::{AttemptRef, Service};
use crate::records::{ProgressRecord, Told};
use crate::store::codec::{decode, encode};
use crate::store::keys::{Folder, Key};
use crate::store::update::{Edit, UpdateError, Updated};
use crate::store::{Expected, Revision, Txn};

/// How often a word is tried while the task's record moves under it.
const ROUNDS: usize = 8;

impl Service {
    /// Takes what the executor of an attempt tells of it. An older word changes nothing.
    pub async fn report(&self, session: Session, attempt: AttemptRef, told: Told) -> Result<()> {
        self.note_progress(session, attempt, |record| record.take(told.clone())).await
    }

    /// Writes down that this controller holds the live end of an attempt's log.
    pub(super) async fn note_log(&self, session: Session, attempt: AttemptRef) -> Result<()> {
        let in_view = known(self.view.get(&key(attempt)).as_ref());
        let is_known = in_view.is_some_and(|(_, stored)| {
            stored.progress().is_some_and(|progress| progress.log_at.as_deref() == Some(&self.name))
        });
        if is_known {
            return Ok(());
        }
        self.note_progress(session, attempt, |record| {
            let before = record.log_at.replace(self.name.clone());
            before != record.log_at
        })
        .await
    }

    async fn note_progress(
        &self,
        session: Session,
        attempt: AttemptRef,
        change: impl Fn(&mut ProgressRecord) -> bool,
    ) -> Result<()> {
        let key = key(attempt);
        for _ in 0..ROUNDS {
            let live = self.live_now(session, attempt).await?;
            let updated = self.updater.update(&key, |known: Option<ProgressRecord>| {
                // It is put with the acknowledgement; one that is gone has left with its run.
                let Some(mut record) = known else {
                    return Err(Error::Conflict { why: "the attempt's run has left".into() });
                };
                if !change(&mut record) {
                    return Ok(Edit::Keep.into());
                }
                let beside = Txn::new().when(Key::Task(attempt.task), Expected::At(live));
                Ok(Edit::Put(record).beside(beside))
            });
            match updated.await {
                Ok(Updated::Written(_)) => {
                    chaos::point("report.committed");
                    return Ok(());
                }
                Ok(Updated::Kept(_)) => return Ok(()),
                // The task's record has moved.
                Err(UpdateError::Beside { .. }) => {}
                Err(error) => return super::jobs::settled(Err(error)),
            }
        }
        Err(Error::NotNow { why: "the task's record keeps changing" })
    }

    /// Reads the task for this very call; returns its revision if the attempt is live and the session's.
    pub(super) async fn live_now(&self, session: Session, attempt: AttemptRef) -> Result<Revision> {
        let item = self.read(&Key::Task(attempt.task).to_string()).await?.ok_or(Error::Fenced)?;
        let task: Task = decode(&item.value)?;
        match holding(&task, &attempt.claim(session)) {
            Holding::Running { .. } | Holding::Cancelling { .. } => Ok(item.mod_revision),
            Holding::Recorded => Err(Error::Conflict { why: "the attempt's end is recorded".into() }),
            Holding::Offered => Err(Error::Conflict { why: "the attempt is not acknowledged".into() }),
            Holding::Unattached => {
                Err(Error::NotNow { why: "the attempt is being attached to a newer session" })
            }
            Holding::Kill => Err(Error::Fenced),
        }
    }

    /// Returns what the attempts of a run went through, in the order of tasks and attempts, as the
    /// view has it.
    pub fn progress(&self, run: RunId) -> Vec<(TaskId, Attempt, ProgressRecord)> {
        let folder = Folder::ProgressOf(run).to_string();
        self.view.read(|items| {
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let found = items.filter_map(|(key, entry)| match key.parse() {
                Ok(Key::Progress(task, attempt)) => Some((task, attempt, entry.known()?.progress()?.clone())),
                Ok(_) | Err(_) => None,
            });
            found.collect()
        })
    }

    /// Returns what one attempt went through, as the view has it.
    pub fn progress_of(&self, attempt: &AttemptRef) -> Option<ProgressRecord> {
        let (_, stored) = known(self.view.get(&key(*attempt)).as_ref())?;
        stored.progress().cloned()
    }

    /// Returns the controller that holds the live end of an attempt's log, as the view has it.
    pub fn log_holder(&self, attempt: &AttemptRef) -> Option<String> {
        self.progress_of(attempt)?.log_at
    }

    /// Returns the write that begins an attempt's progress, with its acknowledgement.
    pub(super) fn begun(&self, session: Session, attempt: AttemptRef, step: &Step, before: &Task) -> Txn {
        if step.next == *before {
            return Txn::new();
        }
        let record = ProgressRecord {
            executor: session.executor,
            log_at: Some(self.name.clone()),
            offered_us: before.changed_at.unix_ms.saturating_mul(1000),
            acknowledged_us: self.parts.clock.wall().0,
            ended_us: None,
            told: Told::default(),
        };
        Txn::new().put(key(attempt), encode(&record, None))
    }

    /// Returns the write that ends an attempt's progress, with its completion.
    pub(super) fn over(
        &self,
        attempt: AttemptRef,
        told: Option<&Told>,
        facts: &Facts,
        changes: bool,
    ) -> std::result::Result<Txn, Obstacle> {
        if !changes {
            return Ok(Txn::new());
        }
        let key = key(attempt);
        let Some((revision, stored)) = facts.fact(&key)? else { return Ok(Txn::new()) };
        let Some(mut record) = stored.progress().cloned() else { return Ok(Txn::new()) };
        record.ended_us = Some(self.parts.clock.wall().0);
        if let Some(told) = told {
            record.take(told.clone());
        }
        Ok(Txn::new().when(key.as_str(), Expected::At(*revision)).put(key, encode(&record, None)))
    }
}

pub(super) fn key(attempt: AttemptRef) -> String {
    Key::Progress(attempt.task, attempt.attempt).to_string()
}

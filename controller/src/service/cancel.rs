//! Cancel: noted in the run's record first, so that it holds whatever dies; then carried out task by
//! task.

use ocelot_core::id::RunId;
use ocelot_domain::outcome::{Actor, Outcome};
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::TaskState;

use ocelot_proto::kit::chaos;

use super::Service;
use super::error::{Error, Result, What};
use super::jobs::settled;
use super::transition::Refused;
use crate::records::{Cancel, RunRecord};
use crate::store::codec::decode;
use crate::store::keys::{Folder, Key};
use crate::store::update::Edit;
use crate::store::{KeyValue, RangeRequest};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelRequest {
    pub run: RunId,
    pub by: Actor,
    pub reason: Option<String>,
    /// Ends what runs without the executor's consent.
    pub force: bool,
}

/// How far a cancel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// Something still runs, and will end as cancelled.
    Cancelling,
    /// Every task is over, and some because of a cancel.
    Cancelled,
    /// The run had ended before, or all its tasks had by themselves: it ends as they did.
    AlreadyEnded,
}

impl Service {
    /// Asks for the end of a run.
    pub async fn cancel(&self, request: CancelRequest) -> Result<Cancelled> {
        let CancelRequest { run: id, by, reason, force } = request;
        let at = self.timestamp();
        let mut run = None;
        let key = Key::Run(id).to_string();
        chaos::point("cancel.before_commit");
        let updated = self.updater.update(&key, |record: Option<RunRecord>| {
            let mut record = record.ok_or_else(|| Error::not_found(What::Run, id))?;
            let is_over = record.is_finished();
            let asked = record.cancel.as_ref().is_some_and(|cancel| cancel.force || !force);
            if is_over || asked {
                run = Some(record);
                return Ok(Edit::Keep);
            }
            // Who asked first stays named, also when another makes it a forced one.
            let by = record.cancel.as_ref().map_or_else(|| by.clone(), |cancel| cancel.by.clone());
            record.cancel = Some(Cancel { by, reason: reason.clone(), force, at });
            run = Some(record.clone());
            Ok(Edit::Put(record))
        });
        settled(updated.await)?;
        chaos::point("cancel.committed");
        let run = run.ok_or(Error::NotNow { why: "the run was not read" })?;
        if run.is_finished() {
            return Ok(Cancelled::AlreadyEnded);
        }
        self.cancel_tasks(&run).await
    }

    /// Carries a run's cancel out on every task that there is.
    pub(crate) async fn cancel_tasks(&self, run: &RunRecord) -> Result<Cancelled> {
        let Some(cancel) = &run.cancel else { return Ok(Cancelled::AlreadyEnded) };
        let (mut is_cancelled, mut is_live) = (false, false);
        let tasks = self.list(&Folder::TasksOf(run.id).to_string()).await?;
        if tasks.len() < run.plan.tasks() {
            // The rest is put and cancelled by the reconciler of runs.
            is_live = true;
        }
        for item in tasks {
            let task: ocelot_domain::task::Task = decode(&item.value)?;
            if let Some(outcome) = task.outcome() {
                is_cancelled |= matches!(outcome, Outcome::Cancelled { .. });
                continue;
            }
            let by = cancel.by.clone();
            let event = if cancel.force { Event::CancelForced { by } } else { Event::CancelRequested { by } };
            match self.transition(task.id, event).await {
                Ok(done) => match done.after.outcome() {
                    Some(outcome) => is_cancelled |= matches!(outcome, Outcome::Cancelled { .. }),
                    None => {
                        debug_assert!(
                            matches!(done.after.state, TaskState::Cancelling { .. }),
                            "a cancel is kept"
                        );
                        is_live = true;
                    }
                },
                // It ended at this very moment, as it did.
                Err(Refused::Rejected(_)) => {
                    let ended = self.read_task(task.id).await?;
                    let outcome = ended.as_ref().and_then(|ended| ended.outcome());
                    is_cancelled |= matches!(outcome, Some(Outcome::Cancelled { .. }));
                }
                Err(refused) => return Err(refused.into()),
            }
        }
        Ok(match (is_live, is_cancelled) {
            (true, _) => Cancelled::Cancelling,
            (false, true) => Cancelled::Cancelled,
            (false, false) => Cancelled::AlreadyEnded,
        })
    }

    /// Reads everything in a folder, linearizably, at one revision.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<KeyValue>> {
        let mut request = RangeRequest::prefix(folder);
        let mut found = Vec::new();
        loop {
            let mut page = self.store.range(request.clone()).await?;
            let next = request.after(&page);
            found.append(&mut page.items);
            match next {
                Some(next) => request = next,
                None => return Ok(found),
            }
        }
    }
}

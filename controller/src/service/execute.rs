//! Execute: one transaction puts the run if it is absent, and that is the acceptance.
//!
//! The request's id is the run's id, so a repeat finds the same run, whatever became of the job
//! meanwhile. Nothing is answered before the transaction is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{Mutex, MutexGuard};

use ocelot_core::id::{RunId, TaskId};
use ocelot_core::plan::Plan;
use ocelot_domain::run::{Expansion, TASKS_PER_BATCH};
use ocelot_proto::kit::chaos;
use ocelot_spec::{Execution, Job, JobEvent};

use super::Service;
use super::error::{Error, Result, What};
use super::secrets::Values;
use crate::bytes::Room;
use crate::records::{
    Digest, JobNumber, JobVersion, RetryOf, RunRecord, Stage, StoredPlan, Subject, Trigger, TriggerKind,
};
use crate::store::codec::{decode, encode};
use crate::store::keys::Key;
use crate::store::update::{Edit, UpdateError, Updated};
use crate::store::{Expected, Txn};

/// How often a number is tried that another controller took first.
const ROUNDS: usize = 32;

/// What people are told while the disk is too full.
pub(super) const NO_ROOM: &str = "the controller's disk is nearly full: no new runs are accepted until \
                                  5 % and 2 GiB of it are free; what runs goes on";

#[derive(Clone, PartialEq, Eq)]
pub struct ExecuteRequest {
    /// Made and kept by the client before it sends.
    pub id: RunId,
    pub job: String,
    pub arguments: BTreeMap<String, String>,
    pub env: BTreeMap<String, String>,
    pub trigger: Trigger,
}

impl fmt::Debug for ExecuteRequest {
    /// Arguments and variables may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecuteRequest").field("id", &self.id).field("job", &self.job).finish_non_exhaustive()
    }
}

/// An accepted run.
#[derive(Debug, Clone, PartialEq)]
pub struct Executed {
    pub run: RunRecord,
    /// An earlier request with this id had made it.
    pub existed: bool,
}

/// What of a run is known before it has a number.
pub(crate) struct Draft {
    pub(crate) id: RunId,
    pub(crate) payload: Digest,
    pub(crate) subject: Subject,
    pub(crate) trigger: Trigger,
    pub(crate) retry: Option<RetryOf>,
}

/// Executions of one job go one after the other here, so that they do not race for its numbers.
#[derive(Debug)]
pub(super) struct Lanes([Mutex<()>; 64]);

impl Default for Lanes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl Lanes {
    async fn enter(&self, job: &str) -> MutexGuard<'_, ()> {
        let lane = Digest::of(job.as_bytes()).as_bytes()[0] % 64;
        self.0[usize::from(lane)].lock().await
    }
}

impl ExecuteRequest {
    /// Returns the digest of what is asked for, however often it is asked.
    fn payload(&self) -> Digest {
        let asked = ("execute", &self.job, &self.arguments, &self.env);
        let bytes = serde_json::to_vec(&asked).expect("texts can be written to memory");
        Digest::of(&bytes)
    }
}

impl Service {
    /// Accepts a run of a job.
    pub async fn execute(&self, request: ExecuteRequest) -> Result<Executed> {
        let payload = request.payload();
        if let Some(run) = self.accepted(request.id, payload).await? {
            return Ok(Executed { run, existed: true });
        }
        self.check_room()?;
        let ExecuteRequest { id, job: name, arguments, env, trigger } = request;
        let version = self.job_version(&name).await?;
        let job = Job::parse(&name, version.text.as_bytes()).map_err(Error::invalid)?;
        let subject = Subject::Job { name, version: version.version };
        let event = event(trigger.kind);
        let draft = Draft { id, payload, subject, trigger, retry: None };
        self.accept_with_secrets(draft, |run_number| {
            let execution = Execution { event, run_number, env: env.clone() };
            let resolution = job.resolve(&arguments, &execution).map_err(Error::invalid)?;
            Ok((resolution.plan, resolution.secret_args))
        })
        .await
    }

    /// Refuses new runs while the disk has no room for their logs; what runs goes on.
    pub(super) fn check_room(&self) -> Result<()> {
        match self.floor().room() {
            Room::Enough => Ok(()),
            Room::NoNewRuns | Room::Backpressure => Err(Error::NoRoom { why: NO_ROOM }),
        }
    }

    async fn job_version(&self, name: &str) -> Result<JobVersion> {
        let job = self.job(name).await?;
        Ok(job.current().clone())
    }

    /// Returns the run that an earlier request with this id made, if it asked for the same.
    pub(super) async fn accepted(&self, id: RunId, payload: Digest) -> Result<Option<RunRecord>> {
        let Some(item) = self.read(&Key::Run(id).to_string()).await? else { return Ok(None) };
        same(decode(&item.value)?, payload).map(Some)
    }

    /// Puts the run with the next number of its job.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) async fn accept(
        &self,
        draft: Draft,
        mut plan_for: impl FnMut(u64) -> Result<Plan>,
    ) -> Result<Executed> {
        self.accept_with_secrets(draft, |number| Ok((plan_for(number)?, Values::new()))).await
    }

    /// Puts the run with the next number of its job, and its secrets sealed beside it.
    pub(super) async fn accept_with_secrets(
        &self,
        draft: Draft,
        mut plan_for: impl FnMut(u64) -> Result<(Plan, Values)>,
    ) -> Result<Executed> {
        let Subject::Job { name, .. } = &draft.subject;
        let _lane = self.lanes.enter(name).await;
        let number_key = Key::JobNumber(name.clone()).to_string();
        for _ in 0..ROUNDS {
            let counter = self.read(&number_key).await?;
            let last = counter.as_ref().map(|item| decode::<JobNumber>(&item.value)).transpose()?;
            let number = last.map_or(0, |JobNumber(last)| last) + 1;
            let (plan, secrets) = plan_for(number)?;
            let secrets = self.keep_secrets(draft.id, &secrets)?;
            let (stored, plan) = self.store_plan(plan).await?;
            let expected = counter.as_ref().map_or(Expected::Absent, |item| Expected::At(item.mod_revision));
            let beside = Txn::new()
                .when(number_key.as_str(), expected)
                .put(number_key.as_str(), encode(&JobNumber(number), None))
                .and(secrets);
            let run = self.put_run(&draft, (number, stored, &plan), beside).await;
            match run {
                Ok(executed) => return Ok(executed),
                Err(UpdateError::Rejected(error)) => return Err(error),
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
        draft: &Draft,
        (number, stored, plan): (u64, StoredPlan, &Arc<Plan>),
        beside: Txn,
    ) -> std::result::Result<Executed, UpdateError<Error>> {
        let now = self.timestamp();
        let stage = match Expansion::of(plan) {
            Expansion::Whole => Stage::Active,
            Expansion::Batches => Stage::Expanding,
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
        };
        let (epoch, revision) = self.epoch().await.map_err(UpdateError::Rejected)?;
        let mut beside = beside.when(Key::Epoch, Expected::At(revision));
        let whole = match stage {
            Stage::Active => 0..TASKS_PER_BATCH.min(u32::try_from(plan.tasks.len()).unwrap_or(u32::MAX)),
            Stage::Expanding | Stage::Finished { .. } => 0..0,
        };
        for task in whole.filter_map(|index| run.task(plan, index, epoch, now)) {
            let key = Key::Task(TaskId { run: run.id, index: task.id.index });
            beside = beside.put(key, encode(&task, None));
        }
        let mut found = None;
        let key = Key::Run(draft.id).to_string();
        let updated = self.updater.update(&key, |known: Option<RunRecord>| match known {
            Some(known) => {
                found = Some(same(known, draft.payload)?);
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
            None => Executed { run, existed: false },
        })
    }
}

fn same(run: RunRecord, payload: Digest) -> Result<RunRecord> {
    if run.payload == payload {
        return Ok(run);
    }
    Err(Error::AlreadyExists { what: What::Run, name: run.id.to_string() })
}

/// Returns the word that a job's texts know for what made the run.
fn event(kind: TriggerKind) -> JobEvent {
    match kind {
        TriggerKind::CommandLine | TriggerKind::Rest | TriggerKind::Retry => JobEvent::Manual,
        TriggerKind::Schedule => JobEvent::Schedule,
        TriggerKind::Upstream => JobEvent::Upstream,
    }
}

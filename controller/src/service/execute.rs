//! Execute: one transaction puts the run if it is absent, and that is the acceptance.
//!
//! The request's id is the run's id, so a repeat finds the same run, whatever became of the job
//! meanwhile. Nothing is answered before the transaction is.

use std::collections::BTreeMap;
use std::fmt;

use ocelot_core::id::RunId;
use ocelot_spec::{Execution, Job, JobEvent};

use super::Service;
use super::accept::{Draft, PlanFor, same};
use super::error::{Error, Result};
use crate::bytes::Room;
use crate::records::{Digest, JobVersion, RunRecord, Subject, Trigger, TriggerKind};
use crate::store::Txn;
use crate::store::codec::decode;
use crate::store::keys::Key;

/// What people are told while the disk is too full.
pub(super) const NO_ROOM: &str = "the controller's disk is nearly full: no new runs are accepted until \
                                  5 % and 2 GiB of it are free; what runs goes on";

/// Arguments and variables of one execution, each.
const VALUES_MAX: usize = 1000;
const VALUES_BYTES_MAX: usize = 1024 * 1024;

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

impl ExecuteRequest {
    fn check(&self) -> Result<()> {
        for (what, values) in [("arguments", &self.arguments), ("variables", &self.env)] {
            let bytes: usize = values.iter().map(|(name, value)| name.len() + value.len()).sum();
            if values.len() > VALUES_MAX || bytes > VALUES_BYTES_MAX {
                let why = format!("an execution has at most {VALUES_MAX} {what} of 1 MiB together");
                return Err(Error::invalid(why));
            }
        }
        Ok(())
    }

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
        request.check()?;
        let payload = request.payload();
        let (accepted, version) =
            tokio::join!(self.accepted(request.id, payload), self.job_version(&request.job));
        if let Some(run) = accepted? {
            return Ok(Executed { run, existed: true });
        }
        self.check_room()?;
        let (draft, plan_for) = drafted(request, payload, version?)?;
        self.accept_with_secrets(draft, plan_for).await
    }

    /// The same, if what `beside` compares holds when the run is put; none if it does not.
    pub(super) async fn execute_beside(
        &self,
        request: ExecuteRequest,
        beside: &Txn,
    ) -> Result<Option<Executed>> {
        request.check()?;
        let payload = request.payload();
        if let Some(run) = self.accepted(request.id, payload).await? {
            return Ok(Some(Executed { run, existed: true }));
        }
        self.check_room()?;
        let version = self.job_version(&request.job).await?;
        let (draft, plan_for) = drafted(request, payload, version)?;
        self.accept_beside(draft, plan_for, beside).await
    }

    /// Makes an id for a run whose client brought none; such a request cannot be repeated.
    pub fn new_run_id(&self) -> RunId {
        RunId::from_parts(self.timestamp().unix_ms, self.random())
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
}

fn drafted(request: ExecuteRequest, payload: Digest, version: JobVersion) -> Result<(Draft, PlanFor)> {
    let ExecuteRequest { id, job: name, arguments, env, trigger } = request;
    let job = Job::parse(&name, version.text.as_bytes()).map_err(Error::invalid)?;
    let subject = Subject::Job { name, version: version.version };
    let event = event(trigger.kind);
    let draft = Draft { id, payload, subject, trigger, retry: None, source: None, rejected: None };
    let plan_for = move |run_number| {
        let execution = Execution { event, run_number, env: env.clone() };
        let resolution = job.resolve(&arguments, &execution).map_err(Error::invalid)?;
        Ok((resolution.plan, resolution.secret_args))
    };
    Ok((draft, Box::new(plan_for)))
}

/// Returns the word that a job's texts know for what made the run.
fn event(kind: TriggerKind) -> JobEvent {
    match kind {
        TriggerKind::CommandLine
        | TriggerKind::Rest
        | TriggerKind::Webhook
        | TriggerKind::Poller
        | TriggerKind::Retry => JobEvent::Manual,
        TriggerKind::Schedule => JobEvent::Schedule,
        TriggerKind::Upstream => JobEvent::Upstream,
    }
}

//! Retry: a new run of the same plan. With `failed_only`, what succeeded keeps its success.

use ocelot_core::id::RunId;
use ocelot_domain::outcome::{Actor, Outcome};
use ocelot_domain::task::Task;

use super::Service;
use super::accept::Draft;
use super::error::{Error, Result, What};
use super::execute::Executed;
use crate::records::{Digest, RetryOf, RunRecord, Trigger, TriggerKind};
use crate::store::codec::decode;
use crate::store::keys::{Folder, Key};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryRequest {
    /// The new run's id, made and kept by the client before it sends.
    pub id: RunId,
    pub run: RunId,
    pub failed_only: bool,
    pub by: Actor,
}

impl Service {
    /// Makes a new run of the plan of one that has ended.
    pub async fn retry(&self, request: RetryRequest) -> Result<Executed> {
        let RetryRequest { id, run, failed_only, by } = request;
        let asked = serde_json::to_vec(&("retry", run, failed_only)).expect("ids can be written to memory");
        let payload = Digest::of(&asked);
        if let Some(run) = self.accepted(id, payload).await? {
            return Ok(Executed { run, existed: true });
        }
        self.check_room()?;
        let item = self.read(&Key::Run(run).to_string()).await?;
        let item = item.ok_or_else(|| Error::not_found(What::Run, run))?;
        let old: RunRecord = decode(&item.value)?;
        if !old.is_finished() {
            return Err(Error::Conflict { why: "the run has not ended yet".into() });
        }
        if old.rejected.is_some() {
            let why = "the run was rejected before it had tasks: mend its file, and push or build again";
            return Err(Error::Conflict { why: why.into() });
        }
        let succeeded = if failed_only { self.succeeded(run).await? } else { Vec::new() };
        if failed_only && succeeded.len() == old.plan.tasks() {
            return Err(Error::Conflict { why: "every task of the run succeeded".into() });
        }
        let plan = self.plan_of(&old).await?;
        let draft = Draft {
            id,
            payload,
            subject: old.subject,
            trigger: Trigger { kind: TriggerKind::Retry, by, schedule: None },
            retry: Some(RetryOf { run, succeeded }),
            source: old.source,
            rejected: None,
        };
        let secrets = self.secrets_of(run).await?;
        self.accept_with_secrets(draft, Box::new(move |_| Ok(((*plan).clone(), secrets.clone())))).await
    }

    async fn succeeded(&self, run: RunId) -> Result<Vec<u32>> {
        let mut succeeded = Vec::new();
        for item in self.list(&Folder::TasksOf(run).to_string()).await? {
            let task: Task = decode(&item.value)?;
            if task.outcome() == Some(&Outcome::Succeeded) {
                succeeded.push(task.id.index);
            }
        }
        Ok(succeeded)
    }
}

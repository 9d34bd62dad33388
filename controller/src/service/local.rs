//! A run of a working tree: accepted like any other, from a plan that the caller made.
//!
//! It is for a program that carries its own controller inside and hands over a tree of its own
//! machine. No request from outside comes here: the address of the source is not checked.

use ocelot_core::id::RunId;
use ocelot_core::plan::Plan;
use ocelot_domain::outcome::Actor;
use ocelot_spec::Problems;

use super::Service;
use super::accept::Draft;
use super::error::{Error, Result};
use super::execute::Executed;
use super::secrets::Values;
use crate::records::{Digest, SourceRecord, Subject, Trigger, TriggerKind};

/// What is known of such a run before it has a number.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalRun {
    /// Made and kept by the caller before it asks.
    pub id: RunId,
    /// owner/name.
    pub project: String,
    pub source: SourceRecord,
    /// Who runs it.
    pub by: String,
}

impl Service {
    /// Accepts a run of a working tree. `plan_for` makes the plan of the run with a number; it may be
    /// asked more than once.
    pub async fn run_local(
        &self,
        run: LocalRun,
        plan_for: impl Fn(u64) -> std::result::Result<Plan, Problems> + Send + Sync + 'static,
    ) -> Result<Executed> {
        let LocalRun { id, project, source, by } = run;
        let asked = serde_json::to_vec(&("local", id)).expect("an id can be written to memory");
        let payload = Digest::of(&asked);
        if let Some(run) = self.accepted(id, payload).await? {
            return Ok(Executed { run, existed: true });
        }
        self.check_room()?;
        let draft = Draft {
            id,
            payload,
            subject: Subject::Project { name: project },
            trigger: Trigger { kind: TriggerKind::CommandLine, by: Actor(by), schedule: None },
            retry: None,
            source: Some(source),
            rejected: None,
        };
        let plan_for = move |number| Ok((plan_for(number).map_err(Error::invalid)?, Values::new()));
        self.accept_with_secrets(draft, Box::new(plan_for)).await
    }
}

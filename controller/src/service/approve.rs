//! Approve: a person's word on a task that waits for it.

use ocelot_core::id::TaskId;
use ocelot_domain::outcome::Actor;
use ocelot_domain::task::event::Event;

use super::Service;
use super::error::{Error, Result};

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Granted,
    Denied,
}

impl Service {
    /// Lets a waiting task go on, or ends it. Who may say so is the caller's to check, against
    /// [`approvers`](Self::approvers).
    pub async fn approve(&self, task: TaskId, by: Actor, word: Word) -> Result<()> {
        let event = match word {
            Word::Granted => Event::ApprovalGranted { by },
            Word::Denied => Event::ApprovalDenied { by },
        };
        self.transition(task, event).await?;
        Ok(())
    }

    /// Returns who may approve a task, as its plan names them.
    pub async fn approvers(&self, task: TaskId) -> Result<Vec<String>> {
        let run = self.run(task.run).await?.run;
        let plan = self.plan_of(&run).await?;
        let planned = plan.tasks.get(task.index as usize);
        let planned = planned.ok_or_else(|| Error::not_found(super::What::Task, task))?;
        Ok(planned.approval.as_ref().map(|approval| approval.by.clone()).unwrap_or_default())
    }
}

//! Tasks that waited too long: for an executor, or for a person.

use std::time::Duration;

use ocelot_domain::task::Task;
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::{Approval, Needs, TaskState};

use super::or_left;
use crate::service::{Result, Service};

/// Looks once; returns how many tasks ended because their time was over.
pub async fn once(service: &Service) -> Result<usize> {
    let mut ended = 0;
    for (task, waited) in service.waiting_tasks(|task, waited| due(task, waited).is_some()) {
        let Some(event) = due(&task, waited) else { continue };
        ended += usize::from(or_left("timeouts", service.let_happen(task.id, event).await)?);
    }
    Ok(ended)
}

/// Returns what its wait has come to, if its time is over.
fn due(task: &Task, waited: Duration) -> Option<Event> {
    match (&task.state, task.policy.approval_expires) {
        (TaskState::Queued { .. }, _) if is_over(task, waited) => Some(Event::QueueTimedOut { waited }),
        (TaskState::Waiting { needs: Needs::Met, approval: Approval::Pending }, Some(expires))
            if waited >= expires =>
        {
            Some(Event::ApprovalExpired { waited })
        }
        (
            TaskState::Queued { .. }
            | TaskState::Waiting { .. }
            | TaskState::Offered { .. }
            | TaskState::Running { .. }
            | TaskState::Cancelling { .. }
            | TaskState::Finished { .. },
            _,
        ) => None,
    }
}

fn is_over(task: &Task, waited: Duration) -> bool {
    task.waited_for_executor(waited) >= task.policy.queue_timeout
}

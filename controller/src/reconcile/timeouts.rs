//! Tasks that waited too long: for an executor, or for a person.

use std::time::Duration;

use ocelot_domain::task::Task;
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::TaskState;

use super::or_left;
use crate::service::{Result, Service};

/// Looks once; returns how many tasks ended because their time was over.
pub async fn once(service: &Service) -> Result<usize> {
    let mut ended = 0;
    for (task, waited) in service.overdue_tasks() {
        let Some(event) = due(&task, waited) else { continue };
        ended += usize::from(or_left("timeouts", service.let_happen(task.id, event).await)?);
    }
    Ok(ended)
}

/// Returns what its wait has come to, if its time is over.
fn due(task: &Task, waited: Duration) -> Option<Event> {
    task.waits_at_most().filter(|most| waited >= *most)?;
    match &task.state {
        TaskState::Queued { .. } => Some(Event::QueueTimedOut { waited }),
        TaskState::Waiting { .. } => Some(Event::ApprovalExpired { waited }),
        TaskState::Offered { .. }
        | TaskState::Running { .. }
        | TaskState::Cancelling { .. }
        | TaskState::Finished { .. } => None,
    }
}

//! Which attempt of a task a reader means.
//!
//! Only an acknowledged attempt has a log: an offer that is not taken leaves none.

use ocelot_core::id::{Attempt, Epoch};
use ocelot_domain::task::state::{Task, TaskState};

/// The attempt whose log is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    Attempt(Attempt, Epoch),
    /// It has not begun, and may.
    NotYet,
    /// It will never begin.
    Never,
}

/// Decides which attempt is meant: the one with this number, or the next that was acknowledged; for
/// 0 the newest.
pub(super) fn pick(task: &Task, number: u32) -> Pick {
    let acknowledged = match &task.state {
        TaskState::Running { live, .. } | TaskState::Cancelling { live, .. } => Some(live.attempt),
        TaskState::Waiting { .. }
        | TaskState::Queued { .. }
        | TaskState::Offered { .. }
        | TaskState::Finished { .. } => None,
    };
    let mut begun = task.ended.iter().map(|ended| ended.attempt).chain(acknowledged);
    let found = match number {
        0 => begun.last(),
        _ => begun.find(|attempt| attempt.number() >= number),
    };
    match found {
        Some(attempt) => Pick::Attempt(attempt, task.epoch),
        None if task.outcome().is_some() => Pick::Never,
        None => Pick::NotYet,
    }
}

//! Since when each queued task waits, so that the oldest is known without a look at all of them.
//!
//! For people: nothing is decided by it. Moments are of the wall clock, as the records have them.

use std::collections::{BTreeMap, BTreeSet};

use ocelot_core::id::TaskId;
use ocelot_core::plan::Class;
use ocelot_domain::task::state::{Task, TaskState};

/// The classes, in the order of `lines`.
const CLASSES: [&str; 3] = ["normal", "exclusive", "once"];

/// The queued tasks of each class, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Ages {
    known: BTreeMap<TaskId, (usize, u64)>,
    lines: [BTreeSet<(u64, TaskId)>; CLASSES.len()],
}

impl Ages {
    /// Takes over where a task stands.
    pub(super) fn note(&mut self, task: &Task) {
        self.forget(&task.id);
        let TaskState::Queued { .. } = &task.state else { return };
        let waited = u64::try_from(task.waited.as_millis()).unwrap_or(u64::MAX);
        let since = task.changed_at.unix_ms.saturating_sub(waited);
        let class = match task.policy.class {
            Class::Normal => 0,
            Class::Exclusive => 1,
            Class::Once => 2,
        };
        self.known.insert(task.id, (class, since));
        self.lines[class].insert((since, task.id));
    }

    pub(super) fn forget(&mut self, id: &TaskId) {
        if let Some((class, since)) = self.known.remove(id) {
            self.lines[class].remove(&(since, *id));
        }
    }

    /// Returns of each class how many tasks are queued, and since when the oldest is.
    pub(super) fn classes(&self) -> impl Iterator<Item = (&'static str, usize, Option<u64>)> {
        let lines = CLASSES.into_iter().zip(&self.lines);
        lines.map(|(class, line)| (class, line.len(), line.first().map(|(since, _)| *since)))
    }
}

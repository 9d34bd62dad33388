//! Tasks that wait for an executor or a person, and when each of them has waited long enough, so that
//! those whose time is over are known without a look at the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ocelot_core::id::TaskId;

/// Those that wait. Moments are of this controller's own clock.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Until when; none for those that wait as long as it takes.
    known: BTreeMap<TaskId, Option<Duration>>,
    line: BTreeSet<(Duration, TaskId)>,
}

impl Waits {
    pub(super) fn insert(&mut self, id: TaskId, until: Option<Duration>) {
        self.remove(&id);
        self.known.insert(id, until);
        self.line.extend(until.map(|until| (until, id)));
    }

    pub(super) fn remove(&mut self, id: &TaskId) {
        if let Some(Some(until)) = self.known.remove(id) {
            self.line.remove(&(until, *id));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns those whose time is over, the longest first.
    pub(super) fn over(&self, now: Duration) -> Vec<TaskId> {
        self.line.iter().take_while(|(until, _)| *until <= now).map(|(_, id)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use ocelot_core::id::RunId;

    use super::*;

    fn task(index: u32) -> TaskId {
        TaskId { run: RunId::from_bytes([1; 16]), index }
    }

    #[test]
    fn those_whose_time_is_over_come_in_its_order_until_they_are_removed() {
        let seconds = Duration::from_secs;
        let mut waits = Waits::default();
        waits.insert(task(1), Some(seconds(9)));
        waits.insert(task(2), Some(seconds(5)));
        waits.insert(task(3), None);
        waits.insert(task(4), Some(seconds(20)));
        assert_eq!(waits.over(seconds(9)), [task(2), task(1)]);
        waits.insert(task(2), Some(seconds(30)));
        assert_eq!(waits.over(seconds(29)), [task(1), task(4)]);
        waits.remove(&task(1));
        waits.remove(&task(3));
        assert_eq!((waits.over(seconds(40)), waits.len()), (vec![task(4), task(2)], 2));
    }
}

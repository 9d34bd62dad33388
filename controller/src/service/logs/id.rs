//! Which log: one for each attempt, and never one for two.

use std::fmt;

use ocelot_core::id::{Attempt, Epoch, TaskId};

/// One attempt's log. An attempt of another life of the store has another log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    pub task: TaskId,
    pub attempt: Attempt,
    pub epoch: Epoch,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempt {} of epoch {}", self.task, self.attempt, self.epoch)
    }
}

impl LogId {
    /// Returns what its files are called, without an extension.
    pub(super) fn stem(&self) -> String {
        let TaskId { run, index } = self.task;
        format!("{run}_{index}_{}_{}", self.attempt, self.epoch)
    }

    pub(super) fn from_stem(stem: &str) -> Option<Self> {
        let parts: Vec<&str> = stem.split('_').collect();
        let [run, index, attempt, epoch] = parts[..] else { return None };
        let id = Self {
            task: TaskId { run: run.parse().ok()?, index: index.parse().ok()? },
            attempt: Attempt::new(attempt.parse().ok()?)?,
            epoch: Epoch(epoch.parse().ok()?),
        };
        // A log has one name: what does not come back as it went in is none of ours.
        (id.stem() == stem).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use ocelot_core::id::RunId;

    use super::*;

    #[test]
    fn a_log_is_found_again_by_its_file() {
        let task = TaskId { run: RunId::from_parts(1_700_000_000_000, [3; 10]), index: 12 };
        let id = LogId { task, attempt: Attempt::FIRST, epoch: Epoch(4) };
        assert_eq!(id.stem(), "018bcfe5-6800-7303-8303-030303030303_12_1_4");
        assert_eq!(LogId::from_stem(&id.stem()), Some(id));
        for wrong in ["", "x_1_1_1", "018bcfe5-6800-7303-8303-030303030303_12_0_4", ".new-1-1"] {
            assert_eq!(LogId::from_stem(wrong), None);
        }
        assert_eq!(LogId::from_stem("018bcfe5-6800-7303-8303-030303030303_012_1_4"), None);
    }
}

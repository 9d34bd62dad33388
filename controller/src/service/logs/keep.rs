//! Which logs are kept: the youngest, as long as age and size allow, and every one that is not over.

use std::time::Duration;

use super::id::LogId;

/// How long logs that are over are kept, and how many bytes of them; whichever ends first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub age: Duration,
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::from_secs(30 * 24 * 3600), bytes: 20 * 1024 * 1024 * 1024 }
    }
}

/// A log that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) id: LogId,
    pub(super) size_bytes: u64,
    /// Time of day, because logs outlive the process. A jump forward costs at most what is older
    /// than `age` by it.
    pub(super) ended: Duration,
}

/// Returns the logs that are not kept any more, oldest first.
pub(super) fn expired(mut kept: Vec<Kept>, now: Duration, retention: Retention) -> Vec<LogId> {
    kept.sort_by_key(|log| (log.ended, log.id));
    let mut left: u64 = kept.iter().map(|log| log.size_bytes).sum();
    let mut expired = Vec::new();
    for log in kept {
        let young = now.saturating_sub(log.ended) <= retention.age;
        if young && left <= retention.bytes {
            break;
        }
        left -= log.size_bytes;
        expired.push(log.id);
    }
    expired
}

#[cfg(test)]
mod tests {
    use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
    use proptest::prelude::*;

    use super::*;

    fn log(index: u32, size_bytes: u64, ended: u64) -> Kept {
        let task = TaskId { run: RunId::from_parts(1, [0; 10]), index };
        let id = LogId { task, attempt: Attempt::FIRST, epoch: Epoch(0) };
        Kept { id, size_bytes, ended: Duration::from_secs(ended) }
    }

    fn indexes(kept: Vec<Kept>, now: u64, age: u64, bytes: u64) -> Vec<u32> {
        let retention = Retention { age: Duration::from_secs(age), bytes };
        let expired = expired(kept, Duration::from_secs(now), retention);
        expired.into_iter().map(|id| id.task.index).collect()
    }

    #[test]
    fn the_oldest_go_first_by_age_or_by_size() {
        let kept = || vec![log(3, 10, 300), log(1, 10, 100), log(2, 10, 200)];
        assert_eq!(indexes(kept(), 300, 1000, 30), Vec::<u32>::new());
        assert_eq!(indexes(kept(), 300, 1000, 29), [1]);
        assert_eq!(indexes(kept(), 300, 1000, 10), [1, 2]);
        assert_eq!(indexes(kept(), 300, 99, 30), [1, 2]);
        assert_eq!(indexes(kept(), 300, 99, 9), [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn what_stays_is_within_both_limits_and_nothing_goes_without_need(
            sizes in prop::collection::vec((0u64..50, 0u64..100), 0..30), age in 0u64..100, bytes in 0u64..500,
        ) {
            let kept: Vec<_> = (0..).zip(&sizes).map(|(index, (size, ended))| log(index, *size, *ended)).collect();
            let gone = indexes(kept.clone(), 100, age, bytes);
            let (out, stay): (Vec<&Kept>, Vec<_>) = kept.iter().partition(|log| gone.contains(&log.id.task.index));
            let old = |log: &&Kept| 100 - log.ended.as_secs() > age;
            let size: u64 = stay.iter().map(|log| log.size_bytes).sum();
            prop_assert!(size <= bytes && !stay.iter().any(old));
            if let Some(last) = gone.last().and_then(|index| out.iter().find(|log| log.id.task.index == *index)) {
                prop_assert!(old(last) || size + last.size_bytes > bytes);
            }
        }
    }
}

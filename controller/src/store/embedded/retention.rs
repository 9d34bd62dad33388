//! How much history is kept.
//!
//! The store compacts itself: watches that fall behind by more than this list anew, and the file
//! stays bounded whatever is written.

use std::collections::VecDeque;
use std::time::Duration;

use crate::store::range::Revision;

/// How much of the past can be watched and read.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// At least this old before it goes.
    pub age: Duration,
    /// At most this many revisions, however young.
    pub revisions: i64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::from_secs(120), revisions: 100_000 }
    }
}

/// Remembers which revision was current when, to say what is old enough to go.
#[derive(Debug)]
pub(super) struct Ageing {
    retention: Retention,
    marks: VecDeque<(Duration, Revision)>,
    next_mark: Duration,
}

impl Ageing {
    /// Marks per age; the history is kept up to this fraction longer than asked.
    const MARKS: u32 = 8;

    pub(super) fn new(retention: Retention) -> Self {
        Self { retention, marks: VecDeque::new(), next_mark: Duration::ZERO }
    }

    /// Notes the time, and returns the revision to compact to, if one is due.
    pub(super) fn due(&mut self, now: Duration, newest: Revision, compacted: Revision) -> Option<Revision> {
        let mut target = compacted;
        if now >= self.next_mark {
            while let Some((_, revision)) = self.marks.pop_front_if(|(at, _)| *at + self.retention.age <= now)
            {
                target = target.max(revision);
            }
            self.marks.push_back((now, newest));
            self.next_mark = now + self.retention.age / Self::MARKS;
        }
        // An eighth of slack, so that a busy store does not compact with every group.
        if newest.0 - target.0 > self.retention.revisions + self.retention.revisions / 8 {
            target = Revision(newest.0 - self.retention.revisions);
        }
        (target > compacted).then_some(target)
    }

    /// Returns when to look again even if nothing is written; none when all that is left is current.
    pub(super) fn wake(&self, newest: Revision, compacted: Revision) -> Option<Duration> {
        (newest > compacted).then_some(self.next_mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_old_enough_goes_and_what_is_young_stays() {
        let mut ageing = Ageing::new(Retention { age: 80 * SECOND, revisions: 1_000 });
        assert_eq!(ageing.due(Duration::ZERO, Revision(10), Revision(1)), None);
        assert_eq!(ageing.due(79 * SECOND, Revision(50), Revision(1)), None);
        assert_eq!(ageing.due(90 * SECOND, Revision(60), Revision(1)), Some(Revision(10)));
        assert_eq!(ageing.due(159 * SECOND, Revision(60), Revision(10)), Some(Revision(50)));
    }

    #[test]
    fn many_revisions_go_however_young() {
        let mut ageing = Ageing::new(Retention { age: 80 * SECOND, revisions: 800 });
        assert_eq!(ageing.due(Duration::ZERO, Revision(900), Revision(1)), None);
        assert_eq!(ageing.due(Duration::ZERO, Revision(902), Revision(1)), Some(Revision(102)));
    }

    #[test]
    fn marks_are_bounded() {
        let mut ageing = Ageing::new(Retention { age: 80 * SECOND, revisions: 800 });
        for second in 0..10_000 {
            ageing.due(second * SECOND, Revision(1), Revision(1));
        }
        assert!(ageing.marks.len() <= Ageing::MARKS as usize + 2, "{} marks", ageing.marks.len());
    }

    #[test]
    fn an_idle_store_is_not_woken() {
        let ageing = Ageing::new(Retention::default());
        assert_eq!(ageing.wake(Revision(5), Revision(5)), None);
        assert!(ageing.wake(Revision(6), Revision(5)).is_some());
    }
}

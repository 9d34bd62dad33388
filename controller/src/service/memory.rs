//! What one controller remembers between calls. All of it may be lost: then it only takes longer.
//!
//! Bounded: beyond a map's limit its first entry goes, whose owner begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use ocelot_core::id::{ExecutorId, SessionId, TaskId};
use ocelot_domain::task::event::HeldList;
use ocelot_domain::task::state::Timestamp;
use ocelot_domain::task::timing::{OFFER, QUARANTINE_AFTER};
use ocelot_domain::task::{Timing, Wait};

use super::challenges::Challenges;
use super::poll::Topic;
use super::{AttemptRef, Service};
use crate::records::Digest;
use crate::store::Revision;

const ENTRIES_MAX: usize = 100_000;
/// Longer than anything waits to be told again.
const PACE_MAX: Duration = Duration::from_secs(5);
/// How long a write of a record says as much as a read of it.
const JUST_NOW: Duration = Duration::from_secs(1);
/// How long an executor may take to confirm a kill before it gets no more offers.
const CONFIRM: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) challenges: Challenges,
    pub(super) delivered: BTreeMap<AttemptRef, Delivered>,
    /// Attempts that were acknowledged here and whose logs have not begun: by whom, and when at the earliest.
    acknowledged: BTreeMap<AttemptRef, (SessionId, Duration)>,
    pub(super) missed: BTreeMap<AttemptRef, Missed>,
    pub(super) last_poll: BTreeMap<SessionId, Duration>,
    /// The time of day of each executor's last heartbeat, for people.
    last_seen: BTreeMap<ExecutorId, Timestamp>,
    failed_deliveries: BTreeMap<ExecutorId, FailedDeliveries>,
    /// Executors to be quarantined for their failed deliveries.
    pub(super) undeliverable: BTreeSet<ExecutorId>,
    kills: BTreeMap<ExecutorId, BTreeMap<AttemptRef, Duration>>,
    /// What each session was told, and when.
    pub(super) told: BTreeMap<(SessionId, Topic), Duration>,
    pub(super) told_to_drain: BTreeSet<SessionId>,
    /// Attempts that were taken from their executors, whose logs are to be ended here.
    pub(super) lost_logs: BTreeSet<AttemptRef>,
    /// Queued tasks that cannot be offered before their plan is read.
    pub(super) without_plan: BTreeSet<TaskId>,
    pub(super) incomplete_logs: BTreeMap<AttemptRef, Duration>,
    /// Sessions that were let in here: what hangs on them ends when they do.
    pub(super) admitted: BTreeMap<ExecutorId, Admitted>,
    /// Sessions that no longer count and were told so.
    pub(super) told_fenced: BTreeMap<SessionId, Duration>,
}

/// A session that was let in.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) token: Digest,
    /// The revision that said so.
    pub(super) seen: Revision,
    pub(super) ended: CancellationToken,
}

/// Answers that carried an offer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered {
    pub(super) answers: u32,
}

/// Deliveries that failed in a row.
#[derive(Debug, Clone, Copy)]
struct FailedDeliveries {
    /// What fails together is one mishap, however many offers were on their way.
    mishaps: u32,
    latest: Duration,
}

/// The first list without an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missed {
    pub(super) list: HeldList,
    pub(super) since: Duration,
    pub(super) wait: Option<Wait>,
    /// The longest times that the executor may have been told.
    pub(super) told: Timing,
}

/// Puts an entry, and drops the first one where the map is full.
pub(super) fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) {
    if map.len() >= ENTRIES_MAX && !map.contains_key(&key) {
        map.pop_first();
    }
    map.insert(key, value);
}

impl Memory {
    pub(super) fn told_to_kill(&mut self, executor: ExecutorId, attempt: AttemptRef, now: Duration) {
        if self.kills.len() < ENTRIES_MAX {
            self.kills.entry(executor).or_default().entry(attempt).or_insert(now);
        }
    }

    pub(super) fn acknowledged(&mut self, attempt: AttemptRef, session: SessionId, at: Duration) {
        put(&mut self.acknowledged, attempt, (session, at));
    }

    /// Returns whether this session acknowledged the attempt so lately that a read would say no more. Tells
    /// it once.
    pub(super) fn was_just_acknowledged(
        &mut self,
        attempt: &AttemptRef,
        session: &SessionId,
        now: Duration,
    ) -> bool {
        let acknowledged = self.acknowledged.remove(attempt);
        acknowledged.is_some_and(|(by, at)| by == *session && now.saturating_sub(at) <= JUST_NOW)
    }

    pub(super) fn seen(&mut self, executor: ExecutorId, at: Timestamp) {
        put(&mut self.last_seen, executor, at);
    }

    pub(super) fn confirmed(&mut self, executor: &ExecutorId, attempt: &AttemptRef) {
        if let Some(kills) = self.kills.get_mut(executor) {
            kills.remove(attempt);
            if kills.is_empty() {
                self.kills.remove(executor);
            }
        }
    }

    /// Keeps of the kills only what the executor still holds: what is gone needs no confirmation.
    pub(super) fn still_held(&mut self, executor: &ExecutorId, held: &BTreeSet<AttemptRef>) {
        if let Some(kills) = self.kills.get_mut(executor) {
            kills.retain(|attempt, _| held.contains(attempt));
            if kills.is_empty() {
                self.kills.remove(executor);
            }
        }
    }

    /// Returns whether the executor owes the confirmation of a kill for too long.
    pub(super) fn owes_a_confirmation(&self, executor: &ExecutorId, now: Duration) -> bool {
        let kills = self.kills.get(executor);
        kills.is_some_and(|kills| kills.values().any(|since| now.saturating_sub(*since) >= CONFIRM))
    }
}

impl Memory {
    /// Forgets what no live attempt and no session asks for any more.
    pub(super) fn forget(
        &mut self,
        is_live: impl Fn(&AttemptRef) -> bool,
        is_open: impl Fn(&SessionId) -> bool,
        now: Duration,
    ) {
        self.delivered.retain(|attempt, _| is_live(attempt));
        self.missed.retain(|attempt, _| is_live(attempt));
        self.incomplete_logs.retain(|attempt, _| is_live(attempt));
        self.last_poll.retain(|session, _| is_open(session));
        // Whatever was told longer ago may be told again.
        self.told.retain(|(session, _), told| is_open(session) && now.saturating_sub(*told) < PACE_MAX);
        self.told_to_drain.retain(|session| is_open(session));
    }
}

impl Service {
    pub(crate) fn count_failed_delivery(&self, executor: ExecutorId) {
        let now = self.now();
        let mut memory = self.memory();
        let failed = memory.failed_deliveries.entry(executor);
        let failed = failed
            .and_modify(|failed| {
                if now.saturating_sub(failed.latest) >= OFFER {
                    *failed = FailedDeliveries { mishaps: failed.mishaps + 1, latest: now };
                }
            })
            .or_insert(FailedDeliveries { mishaps: 1, latest: now });
        if failed.mishaps >= QUARANTINE_AFTER {
            memory.failed_deliveries.remove(&executor);
            memory.undeliverable.insert(executor);
        }
    }

    /// Returns when this controller last had a heartbeat of an executor; another may know a later one.
    pub fn last_heartbeat(&self, executor: &ExecutorId) -> Option<Timestamp> {
        self.memory().last_seen.get(executor).copied()
    }

    pub(crate) fn forget_failed_deliveries(&self, executor: &ExecutorId) {
        let mut memory = self.memory();
        memory.failed_deliveries.remove(executor);
        memory.undeliverable.remove(executor);
    }
}

#[cfg(test)]
mod tests {
    use ocelot_core::id::{Attempt, Epoch, RunId};

    use super::*;

    #[test]
    fn an_acknowledgement_speaks_for_its_session_once_and_not_for_long() {
        let task = TaskId { run: RunId::from_parts(1, [0; 10]), index: 0 };
        let attempt = AttemptRef { task, attempt: Attempt::FIRST, epoch: Epoch(0) };
        let [own, other] = [1, 2].map(|byte| SessionId::from_bytes([byte; 16]));
        let at = Duration::from_secs(10);
        for (by, asked, after, expected) in [
            (own, own, Duration::ZERO, true),
            (own, own, JUST_NOW, true),
            (own, own, JUST_NOW + Duration::from_millis(1), false),
            (other, own, Duration::ZERO, false),
        ] {
            let mut memory = Memory::default();
            memory.acknowledged(attempt, by, at);
            assert_eq!(memory.was_just_acknowledged(&attempt, &asked, at + after), expected);
            assert!(!memory.was_just_acknowledged(&attempt, &asked, at));
        }
    }
}

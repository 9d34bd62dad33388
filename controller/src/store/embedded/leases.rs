//! When leases end. Which keys they hold is in the tables; their time is in memory only, so that
//! after a restart each has its full time again, and a heartbeat costs no write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::store::error::{Error, Result};
use crate::store::lease::{Lease, LeaseId};

#[derive(Debug, Clone, Copy)]
struct Remaining {
    ttl: Duration,
    deadline: Duration,
}

/// The leases that can be kept alive. One that is taken as due is gone for its owner at once, before
/// its keys are.
#[derive(Debug, Default)]
pub(super) struct Leases {
    alive: Mutex<Alive>,
}

/// Ordered by deadline too: the writer asks for the next one with every group that it writes.
#[derive(Debug, Default)]
struct Alive {
    leases: BTreeMap<LeaseId, Remaining>,
    by_deadline: BTreeSet<(Duration, LeaseId)>,
}

impl Alive {
    fn put(&mut self, id: LeaseId, remaining: Remaining) {
        self.remove(id);
        self.by_deadline.insert((remaining.deadline, id));
        self.leases.insert(id, remaining);
    }

    fn remove(&mut self, id: LeaseId) -> Option<Remaining> {
        let remaining = self.leases.remove(&id)?;
        self.by_deadline.remove(&(remaining.deadline, id));
        Some(remaining)
    }
}

impl Leases {
    fn alive(&self) -> MutexGuard<'_, Alive> {
        self.alive.lock().expect("nothing panics while it holds the leases")
    }

    pub(super) fn start(&self, lease: Lease, now: Duration) {
        self.alive().put(lease.id, Remaining { ttl: lease.ttl, deadline: now + lease.ttl });
    }

    pub(super) fn keep_alive(&self, id: LeaseId, now: Duration) -> Result<Lease> {
        let mut alive = self.alive();
        let ttl = alive.leases.get(&id).ok_or(Error::LeaseGone)?.ttl;
        alive.put(id, Remaining { ttl, deadline: now + ttl });
        Ok(Lease { id, ttl })
    }

    pub(super) fn end(&self, id: LeaseId) {
        self.alive().remove(id);
    }

    /// Takes out every lease whose time is over, in the order of their ids.
    pub(super) fn take_due(&self, now: Duration) -> Vec<Lease> {
        let mut alive = self.alive();
        let due: Vec<LeaseId> = alive
            .by_deadline
            .iter()
            .take_while(|(deadline, _)| *deadline <= now)
            .map(|(_, id)| *id)
            .collect();
        let taken = due.into_iter().filter_map(|id| Some(Lease { id, ttl: alive.remove(id)?.ttl }));
        let mut due: Vec<Lease> = taken.collect();
        due.sort_by_key(|lease| lease.id);
        due
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.alive().by_deadline.first().map(|(deadline, _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Lease = Lease { id: LeaseId(7), ttl: Duration::from_secs(10) };

    #[test]
    fn a_lease_ends_exactly_when_its_time_is_over() {
        let leases = Leases::default();
        leases.start(LEASE, Duration::ZERO);
        assert_eq!(leases.take_due(Duration::from_millis(9_999)), []);
        assert_eq!(leases.take_due(LEASE.ttl), [LEASE]);
        assert!(matches!(leases.keep_alive(LEASE.id, LEASE.ttl), Err(Error::LeaseGone)));
    }

    #[test]
    fn keeping_it_alive_gives_the_full_time_again() {
        let leases = Leases::default();
        leases.start(LEASE, Duration::ZERO);
        leases.keep_alive(LEASE.id, Duration::from_secs(9)).unwrap();
        assert_eq!(leases.next_deadline(), Some(Duration::from_secs(19)));
    }

    #[test]
    fn those_that_are_due_come_in_the_order_of_their_ids_and_the_next_is_the_earliest() {
        let lease = |id, seconds| Lease { id: LeaseId(id), ttl: Duration::from_secs(seconds) };
        let leases = Leases::default();
        for lease in [lease(3, 10), lease(1, 12), lease(2, 30)] {
            leases.start(lease, Duration::ZERO);
        }
        assert_eq!(leases.next_deadline(), Some(Duration::from_secs(10)));
        leases.end(LeaseId(2));
        assert_eq!(leases.take_due(Duration::from_secs(12)), [lease(1, 12), lease(3, 10)]);
        assert_eq!(leases.next_deadline(), None);
    }
}

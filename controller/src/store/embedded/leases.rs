//! When leases end. Which keys they hold is in the tables; their time is in memory only, so that
//! after a restart each has its full time again, and a heartbeat costs no write.

use std::collections::BTreeMap;
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
    alive: Mutex<BTreeMap<LeaseId, Remaining>>,
}

impl Leases {
    fn alive(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Remaining>> {
        self.alive.lock().expect("nothing panics while it holds the leases")
    }

    pub(super) fn start(&self, lease: Lease, now: Duration) {
        self.alive().insert(lease.id, Remaining { ttl: lease.ttl, deadline: now + lease.ttl });
    }

    pub(super) fn keep_alive(&self, id: LeaseId, now: Duration) -> Result<Lease> {
        let mut alive = self.alive();
        let remaining = alive.get_mut(&id).ok_or(Error::LeaseGone)?;
        remaining.deadline = now + remaining.ttl;
        Ok(Lease { id, ttl: remaining.ttl })
    }

    pub(super) fn end(&self, id: LeaseId) {
        self.alive().remove(&id);
    }

    /// Takes out every lease whose time is over.
    pub(super) fn take_due(&self, now: Duration) -> Vec<Lease> {
        let mut alive = self.alive();
        let due: Vec<_> = alive
            .iter()
            .filter(|(_, remaining)| remaining.deadline <= now)
            .map(|(id, remaining)| Lease { id: *id, ttl: remaining.ttl })
            .collect();
        for lease in &due {
            alive.remove(&lease.id);
        }
        due
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.alive().values().map(|remaining| remaining.deadline).min()
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
}

//! Leases: keys that vanish with their owner.

use std::time::Duration;

/// The store's name for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// A lease as the store last told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub id: LeaseId,
    /// Time left, from the moment of the answer.
    pub ttl: Duration,
}

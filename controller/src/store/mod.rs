//! The live state's home: a small key-value store with etcd's own semantics, in two homes.
//!
//! All domain code is written once, on [`Store`]. The trait promises what etcd promises and no more:
//! a transaction is atomic and durable once answered, a watch is a hint that never goes back in
//! time, losing a lease is a suspicion. Both homes pass one conformance suite.

pub mod codec;
#[cfg(any(test, feature = "test-util"))]
pub mod contract;
pub mod embedded;
mod error;
pub mod keys;
mod lease;
mod range;
mod txn;
pub mod update;
pub mod view;
mod watch;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

pub use error::{Error, Result};
pub use lease::{Lease, LeaseId};
pub use range::{KeyValue, Page, RangeRequest, Revision};
pub use txn::{Compare, Expected, InvalidTxn, Op, Txn, Verdict};
pub use watch::{Change, Event, Watch, WatchBatch};

/// A durable, linearizable key-value store with transactions, watches and leases.
///
/// Every call ends within a bounded time. Keys are ordered by their bytes.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Returns one page of keys. Linearizable unless the request names a revision.
    ///
    /// A paused etcd member may still answer from the past: decide by a transaction's compares,
    /// never by what was read.
    async fn range(&self, request: RangeRequest) -> Result<Page>;

    /// Commits the transaction if every compare holds. The answer comes after it is durable.
    ///
    /// An error whose outcome is unknown means that the transaction may take effect at any later
    /// time; repeating the same transaction is the caller's way to find out.
    async fn commit(&self, txn: Txn) -> Result<Verdict>;

    /// Follows every change below `prefix` with a revision of at least `from`, in order.
    ///
    /// Survives reconnection by itself. Ends with [`Error::Compacted`] when `from`, or the place it
    /// had reached, is no longer kept: list anew, then watch from the revision after the list's.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch>;

    /// Makes a lease. Keys put under it vanish when it is revoked or not kept alive for `ttl`.
    /// A home may round `ttl` up, never down.
    async fn grant(&self, ttl: Duration) -> Result<Lease>;

    /// Gives the lease its full time again, or says [`Error::LeaseGone`].
    ///
    /// An answer is not ownership: only a compare on a key under the lease is.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease>;

    /// Ends the lease and deletes its keys. A lease that is gone already is no error.
    async fn revoke(&self, lease: LeaseId) -> Result<()>;

    /// Forgets the history before `at`. Values that are current at `at` stay.
    async fn compact(&self, at: Revision) -> Result<()>;

    /// Proves, by a linearizable read, that the store answers, and tells how full it is.
    async fn health(&self) -> Result<Health>;
}

/// What [`Store::health`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    pub revision: Revision,
    /// Bytes used of the quota, from 0 to 1; above it writes are refused.
    pub fullness: f64,
    /// The home and its version, for people.
    pub description: String,
}

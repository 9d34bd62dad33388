//! The controller: keeps jobs, runs and executor leases, and hands work to executors.

pub mod reconcile;
pub mod records;
pub mod service;
pub mod store;
pub mod waiters;

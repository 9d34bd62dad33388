//! The controller: keeps jobs, runs and executor leases, and hands work to executors.

pub mod bytes;
pub mod service;
pub mod store;

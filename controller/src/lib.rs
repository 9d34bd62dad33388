//! The controller: keeps jobs, runs and executor leases, and hands work to executors.

pub mod store;

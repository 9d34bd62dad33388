//! The controller: keeps jobs, runs and executor leases, and hands work to executors.

pub mod api_error;
pub mod app;
pub mod auth;
pub mod bytes;
pub mod config;
pub mod egress;
pub mod error;
pub mod forge;
pub mod grpc;
pub mod hooks;
pub mod http;
pub mod metrics;
mod page;
pub mod reconcile;
pub mod records;
pub mod seal;
pub mod server;
pub mod service;
mod shown;
pub mod store;
mod timetable;
mod version;
pub mod waiters;

//! The harness of the integration program: it starts the real parts, and ends what it started.

pub mod engine;
pub mod etcd;
pub mod fleet;
pub mod http;
mod ports;
pub mod proxy;
pub mod runner;
pub mod search;
pub mod wait;

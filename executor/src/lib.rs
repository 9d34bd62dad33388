//! The executor: runs attempts on one machine and answers for them, whatever dies in between.
//!
//! Decisions are pure and stand apart from what acts: [`attempt`] decides what happens to one attempt,
//! [`mask`] decides which bytes may leave the machine. [`journal`] and [`logs`] keep both on disk, so
//! that a process that was killed is continued by the next one, byte for byte.

mod alive;
pub mod app;
pub mod attempt;
pub mod boot;
pub mod checkout;
pub mod collect;
pub mod connection;
pub mod disk;
pub mod doctor;
pub mod identity;
pub mod journal;
pub mod logs;
pub mod mask;
mod objects;
pub mod runtime;
mod runtimes;
pub mod session;

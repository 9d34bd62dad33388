//! The pure core: the life of a task, the outcome of a run, placement.
//!
//! Nothing in this crate reads a clock, does I/O or is asynchronous; its `Cargo.toml` keeps it so.
//! Every decision of the product is made here and carried out elsewhere.

pub mod outcome;
pub mod placement;
pub mod run;
pub mod schedule;
pub mod task;

//! The words that every Ocelot program shares: ids, the log frame format, the plan of a run.
//!
//! This crate is the leaf: it depends on nothing of ours and does no I/O, so that the static
//! supervisor inside a container and the controller speak of the same things at no cost.

pub mod escape;
pub mod frame;
pub mod id;
pub mod plan;
pub mod schedule;

//! The model check and the random sequences over the task's machine that ships.
//!
//! Nothing here decides what the product does; it only looks for what the product must never do.

pub mod model;
pub mod rows;
pub mod sequences;

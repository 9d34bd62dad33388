//! The model check, the random sequences and the seeded simulation, over the code that ships.
//!
//! Nothing here decides what the product does; it only looks for what the product must never do.

pub mod fleet;
pub mod model;
pub mod power;
pub mod rows;
pub mod sequences;

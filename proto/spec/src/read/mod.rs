//! From the checked tree to what a task is, with the rules that several keys make together.
//!
//! The tables have said what is wrong with each value, so readers take what can be read and leave out
//! the rest; whatever they add to the findings is about more than one key.

mod fields;
pub(crate) mod matrix;
mod parts;
mod stages;
pub(crate) mod task;

pub(crate) use fields::{Fields, text, variables};
pub(crate) use parts::{concurrency, unique};

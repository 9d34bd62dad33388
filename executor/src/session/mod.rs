//! x
mod board;
pub use board::Board;

//! The task's life, seen from outside: its document and its invariants.

mod fixture;
mod life;
mod state_machine;
mod times;

//! The task's life, seen from outside: its document and its invariants.

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod life;
#[cfg(test)]
mod state_machine;
#[cfg(test)]
mod times;

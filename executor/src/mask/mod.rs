//! Hides secrets in a log before its bytes leave the machine.
//!
//! The log is a function of the capture and of the mask set alone: the same raw bytes and the same
//! values give the same masked bytes, however the reading was split and however often the process
//! was killed in between. That is what lets a restarted executor go on with a log that others hold
//! the front of.
//!
//! Exactly this is hidden: every byte that belongs to any occurrence of any pattern in the output of
//! one stream (a stage's stdout, its stderr), overlapping ones included. A run of hidden bytes that
//! nothing visible interrupts becomes one `***`. Streams are matched apart, so output of one between
//! two halves of the other hides nothing from the matcher.
//!
//! No secret is ever written into a [`Checkpoint`]: it names places in patterns, never their bytes.

mod automaton;
mod capture;
mod masker;
mod set;
mod skip;
mod stream;
#[cfg(test)]
mod tests;
mod variants;

pub use capture::added_values;
pub use masker::{Checkpoint, Masker, RestoreError};
pub use set::{MaskSet, Refused, SHORTEST, SetDigest, Short, UnreadableSet, VALUE_BYTES_MAX, VALUES_MAX};

/// What stands where a secret was.
pub const REPLACEMENT: &[u8] = b"***";

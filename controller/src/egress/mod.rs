//! The one way out: every call that the controller makes to an address that somebody told it.
//!
//! An address is resolved once, every address that comes back is checked, and exactly one of those
//! is connected to, so that a name cannot mean one thing to the check and another to the connection.
//! Nothing of a private network, of this machine or of a cloud's metadata is reached unless the
//! operator allowed it. No redirect is followed and no proxy of the environment is used: both would
//! put somebody else in the place of the check. Every call has a deadline, every answer a bound.

mod client;
mod rules;
#[cfg(test)]
mod tests;

pub use client::{Answer, Call, Egress, EgressError, InvalidCa, Resolve, Settings, SystemResolve};
pub use rules::{Allow, Denied, NoAllow, Rules};

//! The contract on the wire, and the kit that every program needs once.
//!
//! The messages live in [`wire`], made from `proto/ocelot/v1`. They cross the network and are never
//! stored: what is stored has versioned types of its own in the controller.

#[cfg(test)]
mod compat;
#[cfg(test)]
mod contract;
pub mod kit;
pub mod wire;

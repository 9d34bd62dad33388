//! What is asked of the forges: the values of `ocelot_forge`, sent through the one way out.
//!
//! A request goes to the project's own forge and to nowhere else: its token is sent to that host,
//! and no redirect is followed. What an answer means is `ocelot_forge`'s decision.

mod home;
mod line;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use home::{Apis, Home, NoHome};
pub use line::{ForgeLine, LineError, Registered, token_of};

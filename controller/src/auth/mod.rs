//! Credentials: what they look like, what is kept of them, and who they stand for.
//!
//! The store holds hashes, never a token; an identity comes from a credential, never from a message.

mod api;
mod error;
mod gate;
mod limit;
mod record;
mod registration;
mod table;
#[cfg(test)]
mod tests;
mod token;

pub use api::{Access, ApiTokens, Denied, NewApiToken};
pub use error::{Error, Result};
pub use gate::{Admitted, Caller, Controllers, Gate, Identity, Sessions};
pub(crate) use limit::network;
pub use limit::{FailureLimit, TooManyFailures};
pub use record::{ApiToken, RegistrationToken, TokenValue};
pub use registration::{NewRegistrationToken, Redeemed, RegistrationTokens};
pub use token::{InvalidToken, Kind, Secret, Token, TokenHash};

/// Makes the random part of a token.
///
/// # Panics
/// If the system has no randomness to give: nothing is safe then.
pub fn random_secret() -> Secret {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).expect("the system gives randomness");
    secret
}

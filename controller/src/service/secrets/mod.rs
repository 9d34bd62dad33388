//! Secrets: sealed before they are stored, opened for one attempt's session, and shown to nobody else.
//!
//! Plan, run and task records name secrets and never hold a value. The keys are not in the store: who
//! reads the store alone reads nothing. No answer of any call holds a value but that of
//! [`Service::fetch_secrets`].

mod arguments;
mod keep;
mod release;
mod rotate;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError};

use zeroize::Zeroizing;

use super::Service;
use super::error::{Error, Result};
use crate::seal::{SealError, SealKeys, Sealed};
use crate::store;

pub(super) use arguments::Values;
pub use keep::{ListedSecret, NewSecret, SECRET_BYTES_MAX, SECRET_BYTES_SHORT, SecretPage};
pub use release::Released;
pub use rotate::{Resealed, SealStanding};

impl Service {
    /// Gives the keys that seal secrets, in place of those before; until there are some, nothing is
    /// sealed or opened.
    pub fn set_seal(&self, keys: impl Into<SealKeys>) {
        *self.seal.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys.into()));
    }

    /// Returns the keys that seal now.
    pub(crate) fn seal_keys(&self) -> Result<Arc<SealKeys>> {
        let keys = self.seal.read().unwrap_or_else(PoisonError::into_inner).clone();
        keys.ok_or(Error::NotNow { why: "this controller has no key for secrets" })
    }

    /// Seals what the store must not show. It opens for the same context alone: say the key of the
    /// record that keeps it.
    pub fn seal(&self, context: &str, bytes: &[u8]) -> Result<Sealed> {
        let fresh = Zeroizing::new(self.random());
        self.seal_keys()?.seal(context, bytes, &fresh).map_err(not_open)
    }

    /// Opens what [`Service::seal`] sealed for this context.
    pub fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>> {
        self.seal_keys()?.open(context, sealed).map_err(not_open)
    }

    /// Seals anew what an older key seals; none if it is not. Whoever keeps sealed values of their own
    /// puts the answer in their place.
    pub fn reseal(&self, context: &str, sealed: &Sealed) -> Result<Option<Sealed>> {
        let fresh = Zeroizing::new(self.random());
        self.seal_keys()?.reseal(context, sealed, &fresh).map_err(not_open)
    }
}

fn not_open(error: SealError) -> Error {
    match error {
        SealError::UnknownKey(key) => {
            // While keys are changed another controller may have the new one first.
            tracing::error!(%key, "a secret is sealed with a key that this controller does not have");
            Error::NotNow { why: "it is sealed with a key that this controller does not have" }
        }
        SealError::DoesNotOpen | SealError::NotSealed => Error::Store(store::Error::Corrupt(Box::new(error))),
    }
}

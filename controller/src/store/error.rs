//! What can go wrong with a store, in the kinds that some caller treats differently.

use super::range::Revision;
use super::txn::InvalidTxn;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Boxed, so that no vendor's error type leaves its home.
type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks a limit; nothing was sent.
    #[error("the transaction was refused before it was sent")]
    Invalid(#[from] InvalidTxn),
    /// The history that was asked for is gone. List anew.
    #[error("revisions before {oldest} are no longer kept")]
    Compacted { oldest: Revision },
    #[error("the lease is gone")]
    LeaseGone,
    /// No answer, or one that says *not now*, and nothing was changed.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
    /// The change may have happened, or may still happen.
    #[error("the store did not say whether the change happened")]
    Unknown(#[source] Source),
    /// The store is over its quota. The change may have happened all the same.
    #[error("the store is full")]
    Full(#[source] Source),
    /// What is stored cannot be right. Nothing is guessed.
    #[error("the store holds something that cannot be right")]
    Corrupt(#[source] Source),
    /// The store is not one that can be used: too old, wrong credentials, not ours.
    #[error("the store cannot be used")]
    Unusable(#[source] Source),
}

impl Error {
    /// Tells whether the same call may go through later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Unknown(_) | Self::Full(_) => true,
            Self::Invalid(_)
            | Self::Compacted { .. }
            | Self::LeaseGone
            | Self::Corrupt(_)
            | Self::Unusable(_) => false,
        }
    }

    /// Tells whether the change may have happened although the call failed.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Full(_) => true,
            Self::Unavailable(_)
            | Self::Invalid(_)
            | Self::Compacted { .. }
            | Self::LeaseGone
            | Self::Corrupt(_)
            | Self::Unusable(_) => false,
        }
    }
}

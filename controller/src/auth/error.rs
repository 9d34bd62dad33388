//! What can go wrong with tokens.

use crate::store;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a token's name has 1 to 63 letters, digits, `-`, `_` or `.`, not {0:?}")]
    InvalidName(String),
    #[error("there is an API token {0:?} already")]
    Exists(String),
    #[error("there is no API token {0:?}")]
    NotFound(String),
    #[error("a registration token has 1 to {max} uses, not {uses}")]
    InvalidUses { uses: u32, max: u32 },
    /// Somebody else changed it again and again at the same time.
    #[error("the token is being changed by others; try again")]
    Busy,
    /// Unknown, expired or used up: nobody is told which.
    #[error("the registration token is not valid, or not any more")]
    NotValid,
    #[error("the tokens could not be read or written")]
    Store(#[from] store::Error),
}

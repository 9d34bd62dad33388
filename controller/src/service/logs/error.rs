//! What can go wrong with a log, in the kinds that some caller treats differently.

use std::io;

use super::LogId;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a piece of a log has at most {} bytes, not {bytes}", super::PIECE_BYTES_MAX)]
    TooLong { bytes: usize },
    #[error("the piece's checksum does not fit its bytes")]
    Damaged,
    #[error("byte {at} is not the first of a frame")]
    NoFrame { at: u64 },
    #[error("the log of {0} is not kept any more, or never was")]
    NotFound(LogId),
    #[error("{open} logs are open; there is no room for another")]
    TooManyOpen { open: usize },
    /// The same call goes through once there is room.
    #[error("the disk for logs is full")]
    Full(#[source] io::Error),
    /// Nothing more of this log is acknowledged here.
    #[error("the disk for logs has failed")]
    Disk(#[source] io::Error),
    #[error("the disk failed this log before: {0}")]
    Failed(String),
    #[error("what is stored of the end of the log of {0} cannot be right")]
    Corrupt(LogId, #[source] crate::store::Error),
    #[error("the home of bytes failed")]
    Home(#[from] crate::bytes::Error),
    /// Never guessed away: a person has to look.
    #[error("the home of bytes holds other bytes for the log of {0}")]
    Contradicted(LogId),
    /// Whether the attempt is still this session's could not be learned.
    #[error("who holds the attempt could not be learned")]
    Unconfirmed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Tells whether the same call may go through later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TooManyOpen { .. }
            | Self::Full(_)
            | Self::Disk(_)
            | Self::Failed(_)
            | Self::Home(_)
            | Self::Unconfirmed(_) => true,
            Self::TooLong { .. }
            | Self::Damaged
            | Self::NoFrame { .. }
            | Self::NotFound(_)
            | Self::Corrupt(..)
            | Self::Contradicted(_) => false,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(error)
            }
            _ => Self::Disk(error),
        }
    }
}

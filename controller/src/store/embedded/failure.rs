//! What an error of the engine means for the caller and for the store.
//!
//! A failed sync says nothing about what reached the disk, and asking again may be answered with a
//! success that is not one. So after an input or output error this process writes no more.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::store::error::Error;

/// How far a group had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing of the group can be on disk as committed.
    Before,
    /// The commit itself failed: the group may be found whole after a restart.
    Committing,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// Room is missing; the store goes on and takes writes again once there is some.
    Full,
    /// The file is damaged; nothing more is written.
    Corrupt,
    /// The disk failed; nothing more is written.
    Disk,
    /// Anything else: the group is refused and the store goes on.
    Refused,
}

impl Blame {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt,
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport,
            ) => Self::Disk,
            Some(_) | None => Self::Refused,
        }
    }

    /// Tells whether the store must stop writing until it is opened anew.
    pub(super) fn ends_writing(self) -> bool {
        match self {
            Self::Corrupt | Self::Disk => true,
            Self::Full | Self::Refused => false,
        }
    }

    /// Returns what a caller whose transaction was in the group is told.
    pub(super) fn answer(self, stage: Stage, cause: &Arc<rusqlite::Error>) -> Error {
        let source = Box::new(Arc::clone(cause));
        match (self, stage) {
            (Self::Full, _) => Error::Full(source),
            (Self::Corrupt, Stage::Before) => Error::Corrupt(source),
            (Self::Disk | Self::Refused, Stage::Before) => Error::Unavailable(source),
            (Self::Corrupt | Self::Disk | Self::Refused, Stage::Committing) => Error::Unknown(source),
        }
    }
}

/// Returns what a failed read is for its caller: nothing was changed.
pub(super) fn of_read(error: rusqlite::Error) -> Error {
    match Blame::of(&error) {
        Blame::Corrupt => Error::Corrupt(Box::new(error)),
        Blame::Full | Blame::Disk | Blame::Refused => Error::Unavailable(Box::new(error)),
    }
}

/// Another process has the directory. One that is killed while it starts a child leaves its lock with that
/// child, which lets go of it a moment later.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} is in use by another process", directory.display())]
pub struct InUse {
    pub directory: PathBuf,
}

/// A reason in words, where no error of another library stands behind it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct Reason(pub(super) String);

impl Reason {
    pub(super) fn boxed(text: impl Into<String>) -> Box<dyn StdError + Send + Sync> {
        Box::new(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failed(code: i32) -> Arc<rusqlite::Error> {
        Arc::new(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn a_failed_sync_is_an_unknown_outcome_and_ends_writing() {
        let error = failed(ffi::SQLITE_IOERR_FSYNC);
        let blame = Blame::of(&error);
        assert!(matches!(blame.answer(Stage::Committing, &error), Error::Unknown(_)));
        assert!(blame.ends_writing());
    }

    #[test]
    fn a_full_disk_is_told_as_such_and_writing_goes_on() {
        let error = failed(ffi::SQLITE_FULL);
        let blame = Blame::of(&error);
        for stage in [Stage::Before, Stage::Committing] {
            assert!(matches!(blame.answer(stage, &error), Error::Full(_)));
        }
        assert!(!blame.ends_writing());
    }

    #[test]
    fn a_disk_that_fails_before_the_commit_has_changed_nothing_and_ends_writing() {
        let error = failed(ffi::SQLITE_IOERR_WRITE);
        let blame = Blame::of(&error);
        assert!(!blame.answer(Stage::Before, &error).may_have_happened());
        assert!(blame.ends_writing());
    }

    #[test]
    fn a_damaged_file_is_corrupt_and_ends_writing() {
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            let error = failed(code);
            let blame = Blame::of(&error);
            assert!(matches!(blame.answer(Stage::Before, &error), Error::Corrupt(_)));
            assert!(blame.ends_writing());
        }
    }
}

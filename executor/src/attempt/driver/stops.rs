//! What it means for a task that something of its work was not moved.

use ocelot_archive::Error as ArchiveError;

use crate::attempt::Failure;
use crate::attempt::state::Cause;
use crate::objects::Failed;

/// Why it does not go on.
pub(super) enum Stop {
    Fenced,
    Cause(Cause),
}

/// Why nothing was taken in.
pub(super) enum Moved {
    Failed(Failed),
    Archive(ArchiveError),
}

pub(super) fn platform(why: &str) -> Stop {
    Stop::Cause(Cause::Platform { why: why.to_owned() })
}

/// Returns what it means for a task that a part of its work was not moved.
pub(super) fn stop(what: &str, failed: Failed) -> Stop {
    let why = format!("{what}: {failed}");
    Stop::Cause(match failed {
        Failed::Fenced => return Stop::Fenced,
        Failed::NoRoom(_) | Failed::Disk(_) => Cause::Failed(Failure::Disk { why }),
        Failed::Refused(_) => Cause::Failed(Failure::Policy { why }),
        // What was listed a moment ago is not there, or nobody answers: another try may find it.
        Failed::NotFound(_) | Failed::Unreached(_) => Cause::Platform { why },
    })
}

pub(super) fn of_archive(what: &str, error: &ArchiveError) -> Stop {
    let why = format!("{what}: {error}");
    let full = matches!(error, ArchiveError::Tree { source, .. }
        if matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded));
    Stop::Cause(match error {
        _ if full => Cause::Failed(Failure::Disk { why }),
        // This machine's own troubles, and those of whoever sent it.
        ArchiveError::Tree { .. } | ArchiveError::Unexpected { .. } => Cause::Platform { why },
        // Its digest was told: these are the bytes that were kept, and they stay what they are. Or the
        // task's own workspace leaves them no place.
        ArchiveError::Stream(_)
        | ArchiveError::Truncated
        | ArchiveError::Corrupt { .. }
        | ArchiveError::Name { .. }
        | ArchiveError::Kind { .. }
        | ArchiveError::Link { .. }
        | ArchiveError::Occupied { .. }
        | ArchiveError::TooMuch { .. }
        | ArchiveError::Shrank { .. }
        | ArchiveError::Selection { .. }
        | ArchiveError::Level(_) => Cause::Failed(Failure::Setup { why }),
    })
}

//! What etcd's refusals mean, decided once.
//!
//! The question that matters is whether a write may have happened. etcd's status codes do not answer
//! it (`Unavailable` is both *no leader, not even tried* and *stopped while it was being tried*), so
//! this is the one place that reads its messages, which etcd keeps stable as part of its API. What
//! is not in the table is taken for *may have happened*.

use std::error::Error as StdError;

use tonic::{Code, ConnectError};

use crate::store::{Error, InvalidTxn, Revision};

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a call brought nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing was changed; another member, or this one later, may do it.
    NotDone(BoxError),
    /// No answer, or one that leaves the outcome open.
    Unclear(BoxError),
    /// Out of space; may have happened all the same.
    Full(BoxError),
    Compacted,
    /// A revision that this cluster has not reached.
    Future(BoxError),
    LeaseGone,
    /// More than we take in at once.
    LongAnswer(BoxError),
    LongRequest,
    /// Refused for a reason that time does not heal.
    Refused(BoxError),
}

/// What a call does if it is done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    /// Changes something, but the second time nothing more.
    Repeatable,
    Write,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer from {endpoint} within {limit_ms} ms")]
pub(super) struct TimedOut {
    pub endpoint: String,
    pub limit_ms: u128,
}

#[derive(Debug, Clone, Copy)]
enum Meaning {
    NotDone,
    Unclear,
    Full,
    Compacted,
    Future,
    LeaseGone,
    LongRequest,
    Refused,
}

/// Parts of etcd's messages. *Not done* only where etcd answers before it proposes anything.
const MESSAGES: &[(&str, Meaning)] = &[
    ("mvcc: required revision has been compacted", Meaning::Compacted),
    ("mvcc: required revision is a future revision", Meaning::Future),
    ("mvcc: database space exceeded", Meaning::Full),
    ("requested lease not found", Meaning::LeaseGone),
    ("lease not found", Meaning::LeaseGone),
    ("request is too large", Meaning::LongRequest),
    ("no leader", Meaning::NotDone),
    ("not leader", Meaning::NotDone),
    ("too many requests", Meaning::NotDone),
    ("proposal dropped", Meaning::NotDone),
    ("rpc not supported for learner", Meaning::NotDone),
    ("invalid auth token", Meaning::NotDone),
    ("revision of auth store is old", Meaning::NotDone),
    ("request timed out", Meaning::Unclear),
    ("server stopped", Meaning::Unclear),
    ("leader changed", Meaning::Unclear),
    ("corrupt cluster", Meaning::Refused),
    ("user name is empty", Meaning::Refused),
    ("authentication failed", Meaning::Refused),
    ("authentication is not enabled", Meaning::Refused),
    ("permission denied", Meaning::Refused),
];

impl Fault {
    /// Reads an error of the client library.
    pub(super) fn of(error: etcd_client::Error) -> Self {
        use etcd_client::Error as E;
        match error {
            E::GRpcStatus(status) => Self::of_status(status),
            E::LeaseKeepAliveError(text) if text.contains("lease not found") => Self::LeaseGone,
            E::InvalidArgs(_)
            | E::InvalidUri(_)
            | E::Utf8Error(_)
            | E::InvalidMetadataValue(_)
            | E::EndpointsNotManaged => Self::Refused(error.into()),
            E::TransportError(source) if is_connect_error(&source) => Self::NotDone(source.into()),
            E::TransportError(_)
            | E::IoError(_)
            | E::WatchError(_)
            | E::LeaseKeepAliveError(_)
            | E::ElectError(_)
            | E::EndpointError(_)
            | E::Internal(_) => Self::Unclear(error.into()),
        }
    }

    fn of_status(status: tonic::Status) -> Self {
        if is_connect_error(&status) {
            return Self::NotDone(status.into());
        }
        let known = MESSAGES.iter().find(|(text, _)| status.message().contains(text));
        if let Some((_, meaning)) = known {
            return Self::meant(*meaning, status.into());
        }
        match status.code() {
            Code::OutOfRange if status.message().contains("message length too large") => {
                Self::LongAnswer(status.into())
            }
            Code::Unauthenticated => Self::NotDone(status.into()),
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unimplemented => Self::Refused(status.into()),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Unclear(status.into()),
        }
    }

    fn meant(meaning: Meaning, source: BoxError) -> Self {
        match meaning {
            Meaning::NotDone => Self::NotDone(source),
            Meaning::Unclear => Self::Unclear(source),
            Meaning::Full => Self::Full(source),
            Meaning::Compacted => Self::Compacted,
            Meaning::Future => Self::Future(source),
            Meaning::LeaseGone => Self::LeaseGone,
            Meaning::LongRequest => Self::LongRequest,
            Meaning::Refused => Self::Refused(source),
        }
    }

    /// Tells whether another member may answer better.
    pub(super) fn is_the_members(&self) -> bool {
        match self {
            Self::NotDone(_) | Self::Unclear(_) => true,
            Self::Full(_)
            | Self::Compacted
            | Self::Future(_)
            | Self::LeaseGone
            | Self::LongAnswer(_)
            | Self::LongRequest
            | Self::Refused(_) => false,
        }
    }

    /// Tells whether the same call may be sent again without a new decision by the caller.
    pub(super) fn allows_another_try(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Read | Purpose::Repeatable => self.is_the_members(),
            Purpose::Write => matches!(self, Self::NotDone(_)),
        }
    }

    /// Says it in the store's words. `at` is the revision that was asked for, `bytes` the size sent.
    pub(super) fn into_error(self, purpose: Purpose, asked: Asked) -> Error {
        match self {
            Self::NotDone(source) => Error::Unavailable(source),
            Self::Unclear(source) => match purpose {
                Purpose::Read => Error::Unavailable(source),
                Purpose::Repeatable | Purpose::Write => Error::Unknown(source),
            },
            Self::Full(source) => Error::Full(source),
            // etcd does not say how far the compaction went; what was asked for is gone at least.
            Self::Compacted => Error::Compacted { oldest: asked.at.next() },
            Self::LeaseGone => Error::LeaseGone,
            Self::LongRequest => Error::Invalid(InvalidTxn::TooLarge { bytes: asked.bytes }),
            // It is refused here, after etcd has done what was asked.
            Self::LongAnswer(source) if purpose != Purpose::Read => Error::Unknown(source),
            Self::Future(source) | Self::LongAnswer(source) | Self::Refused(source) => {
                Error::Unusable(source)
            }
        }
    }
}

/// What the call was about, as far as an error tells it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    pub at: Revision,
    pub bytes: usize,
}

/// Tells whether no connection came about, so that nothing can have been sent.
fn is_connect_error(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<ConnectError>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_error(code: Code, message: &str) -> Error {
        Fault::of(etcd_client::Error::GRpcStatus(tonic::Status::new(code, message)))
            .into_error(Purpose::Write, Asked { at: Revision(7), bytes: 3 })
    }

    #[test]
    fn a_write_that_etcd_did_not_propose_is_unavailable() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
            (Code::Unknown, "raft proposal dropped"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
        ] {
            let error = write_error(code, message);
            assert!(matches!(error, Error::Unavailable(_)), "{message}: {error:?}");
            assert!(!error.may_have_happened());
        }
    }

    #[test]
    fn a_write_whose_fate_etcd_leaves_open_is_unknown() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: request timed out, possibly due to previous leader failure"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (Code::Unavailable, "error reading server preface: connection reset"),
            (Code::Unknown, "something that nobody has seen before"),
            (Code::Cancelled, "operation was canceled"),
            (Code::Internal, "h2 protocol error"),
        ] {
            let error = write_error(code, message);
            assert!(matches!(error, Error::Unknown(_)), "{message}: {error:?}");
        }
    }

    #[test]
    fn out_of_space_may_have_happened() {
        let error = write_error(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
        assert!(matches!(error, Error::Full(_)));
        assert!(error.may_have_happened());
    }

    #[test]
    fn etcds_other_refusals_have_their_own_kinds() {
        let compacted =
            write_error(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
        assert!(matches!(compacted, Error::Compacted { oldest: Revision(8) }));
        assert!(matches!(
            write_error(Code::NotFound, "etcdserver: requested lease not found"),
            Error::LeaseGone
        ));
        assert!(matches!(
            write_error(Code::InvalidArgument, "etcdserver: request is too large"),
            Error::Invalid(InvalidTxn::TooLarge { bytes: 3 })
        ));
        assert!(matches!(
            write_error(Code::PermissionDenied, "etcdserver: permission denied"),
            Error::Unusable(_)
        ));
    }

    #[test]
    fn a_read_is_never_unknown() {
        let status = tonic::Status::unavailable("etcdserver: request timed out");
        let error =
            Fault::of(etcd_client::Error::GRpcStatus(status)).into_error(Purpose::Read, Asked::default());
        assert!(matches!(error, Error::Unavailable(_)));
    }

    #[test]
    fn only_what_was_not_done_is_written_again() {
        let unclear = || Fault::Unclear("cut".into());
        assert!(!unclear().allows_another_try(Purpose::Write));
        assert!(unclear().allows_another_try(Purpose::Read));
        assert!(Fault::NotDone("refused".into()).allows_another_try(Purpose::Write));
        assert!(!Fault::Full("full".into()).allows_another_try(Purpose::Read));
    }
}

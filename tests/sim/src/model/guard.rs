//! The words of the protocol without which it breaks, each as a switch.
//!
//! Some cover for each other: every return of a session writes the executor's epoch, so comparing
//! the epoch alone also finds a session that is back. [`Guard::PAIRS`] names those.
//!
//! A guard that lives in a transaction is switched off by not comparing it; one that lives in a
//! decision, by handing `step` another question or bending its answer, outside of the product; one
//! of the executor or of the session protocol, in the modelled world.

use ocelot_core::plan::Class;

/// One guard, or one seeded bug that must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    MissingComparesSequence,
    MissingWaitsInFull,
    KillFromFreshRead,
    OfferComparesSession,
    AcknowledgeComparesSession,
    AcknowledgeRestartsWait,
    StartIsJournalled,
    StartWaitsForAnswer,
    VouchComparesRecord,
    VouchComparesSession,
    PutBackComparesIncarnation,
    LostComparesSession,
    LostComparesEpoch,
    LostWaitsInFull,
    LostComparesRecord,
    OnceNeverRetried,
    CancelEndsOffered,
    CancelNeverRequeues,
    CancelWins,
    CancelEndsWhenLost,
    CancelKeepsWait,
    OpenReplacesSession,
    AttachBeforeFenced,
    DeadlineFromSendTime,
    FirstDeadlineFromAcknowledgement,
    StartChecksDeadline,
    ForkChecksDeadline,
    CompleteComparesAttempt,
    CompleteComparesSession,
    TriesOncePerAttempt,
    FinishedAbsorbs,
}

impl Guard {
    pub const ALL: [Self; 31] = [
        Self::MissingComparesSequence,
        Self::MissingWaitsInFull,
        Self::KillFromFreshRead,
        Self::OfferComparesSession,
        Self::AcknowledgeComparesSession,
        Self::AcknowledgeRestartsWait,
        Self::StartIsJournalled,
        Self::StartWaitsForAnswer,
        Self::VouchComparesRecord,
        Self::VouchComparesSession,
        Self::PutBackComparesIncarnation,
        Self::LostComparesSession,
        Self::LostComparesEpoch,
        Self::LostWaitsInFull,
        Self::LostComparesRecord,
        Self::OnceNeverRetried,
        Self::CancelEndsOffered,
        Self::CancelNeverRequeues,
        Self::CancelWins,
        Self::CancelEndsWhenLost,
        Self::CancelKeepsWait,
        Self::OpenReplacesSession,
        Self::AttachBeforeFenced,
        Self::DeadlineFromSendTime,
        Self::FirstDeadlineFromAcknowledgement,
        Self::StartChecksDeadline,
        Self::ForkChecksDeadline,
        Self::CompleteComparesAttempt,
        Self::CompleteComparesSession,
        Self::TriesOncePerAttempt,
        Self::FinishedAbsorbs,
    ];

    /// Guards of which each holds what the other lets through: only without both it breaks.
    pub const PAIRS: [[Self; 2]; 3] = [
        [Self::AcknowledgeComparesSession, Self::AcknowledgeRestartsWait],
        [Self::LostComparesSession, Self::LostComparesEpoch],
        [Self::StartChecksDeadline, Self::ForkChecksDeadline],
    ];

    /// Returns the step of the protocol that it belongs to.
    pub fn promise(self) -> &'static str {
        match self {
            Self::MissingComparesSequence | Self::MissingWaitsInFull | Self::KillFromFreshRead => "3.2",
            Self::OfferComparesSession => "3.3",
            Self::AcknowledgeComparesSession
            | Self::AcknowledgeRestartsWait
            | Self::StartIsJournalled
            | Self::StartWaitsForAnswer => "3.4",
            Self::VouchComparesRecord | Self::VouchComparesSession | Self::PutBackComparesIncarnation => {
                "3.5"
            }
            Self::LostComparesSession
            | Self::LostComparesEpoch
            | Self::LostWaitsInFull
            | Self::LostComparesRecord => "3.6",
            Self::OnceNeverRetried => "3, classes",
            Self::CancelEndsOffered
            | Self::CancelNeverRequeues
            | Self::CancelWins
            | Self::CancelEndsWhenLost => "3.9",
            Self::OpenReplacesSession | Self::AttachBeforeFenced => "3.10",
            Self::DeadlineFromSendTime
            | Self::FirstDeadlineFromAcknowledgement
            | Self::StartChecksDeadline
            | Self::ForkChecksDeadline => "3.12",
            Self::CancelKeepsWait
            | Self::CompleteComparesAttempt
            | Self::CompleteComparesSession
            | Self::TriesOncePerAttempt
            | Self::FinishedAbsorbs => "6",
        }
    }

    /// Returns the class of task that needs it most, and whether a client cancels.
    pub fn stage(self) -> (Class, bool) {
        match self {
            Self::MissingComparesSequence
            | Self::KillFromFreshRead
            | Self::OfferComparesSession
            | Self::AttachBeforeFenced
            | Self::CompleteComparesAttempt
            | Self::CompleteComparesSession
            | Self::TriesOncePerAttempt
            | Self::FinishedAbsorbs
            | Self::LostComparesRecord => (Class::Normal, false),
            Self::StartIsJournalled | Self::StartWaitsForAnswer | Self::OnceNeverRetried => {
                (Class::Once, false)
            }
            Self::CancelEndsOffered
            | Self::CancelNeverRequeues
            | Self::CancelWins
            | Self::CancelEndsWhenLost
            | Self::CancelKeepsWait => (Class::Normal, true),
            Self::MissingWaitsInFull
            | Self::AcknowledgeComparesSession
            | Self::AcknowledgeRestartsWait
            | Self::VouchComparesRecord
            | Self::VouchComparesSession
            | Self::PutBackComparesIncarnation
            | Self::LostComparesSession
            | Self::LostComparesEpoch
            | Self::LostWaitsInFull
            | Self::OpenReplacesSession
            | Self::DeadlineFromSendTime
            | Self::FirstDeadlineFromAcknowledgement
            | Self::StartChecksDeadline
            | Self::ForkChecksDeadline => (Class::Exclusive, false),
        }
    }
}

//! Bugs that are planted, so that the laws prove that they find them.
//!
//! Each is planted around the code that ships, at the place where that code could have had it: in the
//! door to the store, in the logs' home, in the executor's hands. A compare that is left out is
//! planted in the door by its name alone.

use ocelot_controller::records::Stored;
use ocelot_controller::store::codec::{encode, mark_of};
use ocelot_controller::store::{Compare, Expected, Op, Txn};
use ocelot_domain::outcome::Outcome;
use ocelot_domain::task::state::TaskState;

use super::names::{kind_of, task_of};
use super::store::ModelStore;

/// A bug with the name that the planted bugs of the programs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    ExecuteAnswersBeforeCommit,
    OfferIgnoresSession,
    AcknowledgeIgnoresRecord,
    AcknowledgeBeforeJournal,
    StartWithoutJournal,
    LostWithoutWait,
    LostIgnoresEpoch,
    CompleteIgnoresClaim,
    CompleteIgnoresLog,
    CancelLosesToComplete,
    LogFreesReceived,
    GuardNeverEnds,
    FencedKeepsContainer,
    SessionVouchesFromMemory,
}

impl Bug {
    pub const ALL: [Self; 14] = [
        Self::ExecuteAnswersBeforeCommit,
        Self::OfferIgnoresSession,
        Self::AcknowledgeIgnoresRecord,
        Self::AcknowledgeBeforeJournal,
        Self::StartWithoutJournal,
        Self::LostWithoutWait,
        Self::LostIgnoresEpoch,
        Self::CompleteIgnoresClaim,
        Self::CompleteIgnoresLog,
        Self::CancelLosesToComplete,
        Self::LogFreesReceived,
        Self::GuardNeverEnds,
        Self::FencedKeepsContainer,
        Self::SessionVouchesFromMemory,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::ExecuteAnswersBeforeCommit => "execute.answers_before_commit",
            Self::OfferIgnoresSession => "offer.ignores_session",
            Self::AcknowledgeIgnoresRecord => "acknowledge.ignores_record",
            Self::AcknowledgeBeforeJournal => "acknowledge.before_journal",
            Self::StartWithoutJournal => "start.without_journal",
            Self::LostWithoutWait => "lost.without_wait",
            Self::LostIgnoresEpoch => "lost.ignores_epoch",
            Self::CompleteIgnoresClaim => "complete.ignores_claim",
            Self::CompleteIgnoresLog => "complete.ignores_log",
            Self::CancelLosesToComplete => "cancel.loses_to_complete",
            Self::LogFreesReceived => "log.frees_received",
            Self::GuardNeverEnds => "guard.never_ends",
            Self::FencedKeepsContainer => "fenced.keeps_container",
            Self::SessionVouchesFromMemory => "session.vouches_from_memory",
        }
    }
}

impl Bug {
    /// Tells whether it is a compare that is left out.
    pub(super) fn leaves_out(self) -> bool {
        matches!(self, Self::OfferIgnoresSession | Self::LostIgnoresEpoch)
    }

    /// Tells whether it leaves this compare out of this transaction.
    pub(super) fn leaves(self, txn: &Txn, compare: &Compare) -> bool {
        let writes_it = txn.ops().iter().any(|op| op.key() == compare.key);
        match self {
            Self::OfferIgnoresSession => {
                let is_session = kind_of(&compare.key) == "session";
                is_session && compare.expected == Expected::Present && !txn.ops().is_empty()
            }
            Self::LostIgnoresEpoch => kind_of(&compare.key) == "incarnation" && !writes_it,
            _ => false,
        }
    }
}

/// Lets a completion end a cancelled task as what it reports.
pub(super) fn cancel_loses(store: &ModelStore, txn: Txn) -> Txn {
    let mut bent = txn
        .compares()
        .iter()
        .fold(Txn::new(), |bent, compare| bent.when(compare.key.as_str(), compare.expected));
    for op in txn.ops() {
        bent = match op {
            Op::Put { key, value, lease: None } => {
                let value = beaten(store, &txn, (key, value)).unwrap_or_else(|| value.clone());
                bent.put(key, value)
            }
            Op::Put { key, value, lease: Some(lease) } => bent.put_under(*lease, key, value.clone()),
            Op::Delete { key } => bent.delete(key),
        };
    }
    bent
}

fn beaten(store: &ModelStore, txn: &Txn, (key, value): (&str, &bytes::Bytes)) -> Option<bytes::Bytes> {
    let seen = txn.compares().iter().find(|compare| compare.key == key)?;
    let Expected::At(at) = seen.expected else { return None };
    let before = Stored::read(&store.version(key, Some(at))?).ok()?;
    let was_cancelling = matches!(before.task()?.state, TaskState::Cancelling { .. });
    let mut task = task_of(value, key)?;
    let TaskState::Finished { outcome: Outcome::Cancelled { result: Some(result), .. } } = &task.state else {
        return None;
    };
    let outcome = (**result).clone();
    task.state = TaskState::Finished { outcome };
    was_cancelling.then(|| encode(&task, mark_of(value)))
}

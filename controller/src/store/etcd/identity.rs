//! Is this still the cluster that we knew?
//!
//! A cluster restored from an older snapshot has forgotten what it promised: its revisions begin
//! again below ones that were seen, and usually its id changes. Acting on it would do work twice or
//! bring dead attempts back, so every call is refused from then on until a person confirms.
//! Only an answer from a time when the revision was already seen counts: the one of an older read may
//! come late, and a paused member may answer one read from the past (etcd 20418).

use std::sync::Mutex;

use crate::store::{Error, Revision};

/// What of a cluster is remembered between two lives of a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub cluster: u64,
    /// The newest revision that was seen.
    pub revision: Revision,
}

/// Why the cluster is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    #[error(
        "etcd cluster {found:x} answers where cluster {known:x} was; if it was replaced on purpose, confirm it"
    )]
    OtherCluster { known: u64, found: u64 },
    #[error(
        "etcd is at revision {found} but was at {known} before: it has lost what came after; \
         if it was restored on purpose, confirm it"
    )]
    WentBack { known: Revision, found: Revision },
}

/// How much an answer proves about the store's revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Went through the log: cannot be from the past.
    Logged,
    /// A linearizable read.
    Read,
    /// From a stream, or about one member: no order with other answers.
    Unordered,
}

impl Proof {
    /// Judges the refusal of an answer. A write that was answered has happened, whoever answered.
    pub(super) fn outcome(self, refusal: Error) -> Error {
        match self {
            Self::Logged => Error::Unknown(Box::new(refusal)),
            Self::Read | Self::Unordered => refusal,
        }
    }
}

/// What an answer says about the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sighting {
    Ours,
    /// Behind, by a read; the next one decides.
    Doubtful(Stranger),
    Strange(Stranger),
}

#[derive(Debug, Default)]
pub(super) struct Recall {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Identity>,
    stranger: Option<Stranger>,
}

impl Recall {
    pub(super) fn new(known: Option<Identity>) -> Self {
        Self { state: Mutex::new(State { known, stranger: None }) }
    }

    /// Returns the revision that an answer to a call sent now must have reached.
    pub(super) fn floor(&self) -> Result<Revision, Stranger> {
        let state = self.lock();
        match &state.stranger {
            Some(stranger) => Err(stranger.clone()),
            None => Ok(state.known.map(|known| known.revision).unwrap_or_default()),
        }
    }

    /// Takes note of an answer's header.
    pub(super) fn sight(&self, found: Identity, floor: Revision, proof: Proof) -> Sighting {
        let mut state = self.lock();
        let Some(known) = &mut state.known else {
            state.known = Some(found);
            return Sighting::Ours;
        };
        if known.cluster != found.cluster {
            let stranger = Stranger::OtherCluster { known: known.cluster, found: found.cluster };
            state.stranger = Some(stranger.clone());
            return Sighting::Strange(stranger);
        }
        known.revision = known.revision.max(found.revision);
        if found.revision >= floor {
            return Sighting::Ours;
        }
        let stranger = Stranger::WentBack { known: floor, found: found.revision };
        match proof {
            Proof::Unordered => Sighting::Ours,
            Proof::Read => Sighting::Doubtful(stranger),
            Proof::Logged => {
                state.stranger = Some(stranger.clone());
                Sighting::Strange(stranger)
            }
        }
    }

    pub(super) fn condemn(&self, stranger: Stranger) {
        self.lock().stranger = Some(stranger);
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.lock().known
    }

    /// Takes the cluster as it is from now on.
    pub(super) fn confirm(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cluster: u64, revision: i64) -> Identity {
        Identity { cluster, revision: Revision(revision) }
    }

    #[test]
    fn an_answer_that_was_under_way_may_be_older() {
        let recall = Recall::new(None);
        let floor = recall.floor().expect("ours");
        assert_eq!(recall.sight(at(1, 50), floor, Proof::Logged), Sighting::Ours);
        assert_eq!(recall.sight(at(1, 40), floor, Proof::Read), Sighting::Ours);
        assert_eq!(recall.identity(), Some(at(1, 50)));
    }

    #[test]
    fn a_read_from_the_past_is_doubted_and_a_write_is_believed() {
        let recall = Recall::new(Some(at(1, 50)));
        let floor = recall.floor().expect("ours");
        assert!(matches!(recall.sight(at(1, 40), floor, Proof::Read), Sighting::Doubtful(_)));
        assert!(recall.floor().is_ok());
        assert!(matches!(recall.sight(at(1, 41), floor, Proof::Logged), Sighting::Strange(_)));
        assert_eq!(recall.floor(), Err(Stranger::WentBack { known: Revision(50), found: Revision(41) }));
    }

    #[test]
    fn another_cluster_stays_strange_until_it_is_confirmed() {
        let recall = Recall::new(Some(at(1, 50)));
        assert!(matches!(recall.sight(at(2, 60), Revision(0), Proof::Unordered), Sighting::Strange(_)));
        assert!(matches!(recall.sight(at(1, 60), Revision(0), Proof::Read), Sighting::Ours));
        assert!(recall.floor().is_err());
        recall.confirm();
        assert_eq!(recall.sight(at(2, 3), Revision(0), Proof::Read), Sighting::Ours);
        assert_eq!(recall.floor(), Ok(Revision(3)));
    }
}

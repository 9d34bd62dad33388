//! Whether the code of an event was written by one who may push to the repository.
//!
//! Only immutable ids are compared. No name, ref, author, label or flag of a payload is looked at:
//! each of them has made a fork look like the repository itself somewhere. What is unknown is
//! untrusted. A pull request is trusted for good only when the forge, asked by its API, gives the
//! same ids ([`PullRequest::confirmed_by`]).

use serde::{Deserialize, Serialize};

use super::{Event, EventKind, PullRequest, RepositoryId};
use crate::api::PullRequestFacts;

/// Whether an event's code may have secrets, write trusted caches and use trusted executors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    Trusted,
    Untrusted(Untrusted),
}

/// Why it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Untrusted {
    #[error("the head is in another repository")]
    Fork,
    #[error("the head is in no repository that is known")]
    HeadUnknown,
    #[error("the pull request does not say that it goes to this repository")]
    BaseUnknown,
    #[error("the forge's API says otherwise than the delivery")]
    NotConfirmed,
}

impl Trust {
    pub const fn is_trusted(self) -> bool {
        matches!(self, Self::Trusted)
    }
}

impl Event {
    /// Decides from the event alone. Who can push a branch or a tag can push to the repository.
    pub fn trust(&self) -> Trust {
        match &self.kind {
            EventKind::Push(_)
            | EventKind::BranchDeleted { .. }
            | EventKind::Tag(_)
            | EventKind::TagDeleted { .. } => Trust::Trusted,
            EventKind::PullRequest(pull) => same_repository(
                &self.repository.id,
                pull.head_repository_id.as_ref(),
                pull.base_repository_id.as_ref(),
            ),
        }
    }

    pub fn is_trusted(&self) -> bool {
        self.trust().is_trusted()
    }
}

impl PullRequest {
    /// Decides from what the API says of the same pull request of `repository`; the delivery can
    /// lower the trust, never raise it.
    pub fn confirmed_by(&self, facts: &PullRequestFacts, repository: &RepositoryId) -> Trust {
        let (head, base) = (facts.head_repository_id.as_ref(), facts.base_repository_id.as_ref());
        let told = (self.head_repository_id.as_ref(), self.base_repository_id.as_ref());
        match same_repository(repository, head, base) {
            // The head may have moved since, to a commit that comes with a delivery of its own.
            Trust::Trusted if told != (head, base) || facts.number != self.number => {
                Trust::Untrusted(Untrusted::NotConfirmed)
            }
            decided => decided,
        }
    }
}

fn same_repository(
    repository: &RepositoryId,
    head: Option<&RepositoryId>,
    base: Option<&RepositoryId>,
) -> Trust {
    match (head, base) {
        (_, None) => Trust::Untrusted(Untrusted::BaseUnknown),
        (None, Some(_)) => Trust::Untrusted(Untrusted::HeadUnknown),
        (Some(_), Some(base)) if base != repository => Trust::Untrusted(Untrusted::BaseUnknown),
        (Some(head), Some(base)) if head != base => Trust::Untrusted(Untrusted::Fork),
        (Some(_), Some(_)) => Trust::Trusted,
    }
}

//! When two deliveries tell of the same thing.
//!
//! The key is made of what happened and of nothing else: no delivery id, time, title or action, all
//! of which a redelivery, a replay or another source may tell otherwise.
//!
//! - **Push, tag**: the ref and both its ends, `(ref, before, after)`. With `after` alone, a branch
//!   that is forced back to an earlier commit could not be told from a replay of the earlier push,
//!   and would not be built. With `before` the step back, from another commit, is a step of its own.
//!   Only the very same step made a second time (A to B, back to A, again to B) has the key of the
//!   first: it can not be told from a replay by anything that is signed, and B has been built.
//! - **Pull request**: the number, the head and the branch it goes to; the word that the forge has
//!   for what happened is not in it. Bitbucket says *updated* for a changed title too, and a pull
//!   request that was closed and opened again has nothing new to build. Another base is another key.
//! - **Repository** and **forge**: the immutable id, so a renamed or transferred repository keeps
//!   its keys. Two instances may give out the same number: an id derived from a key is derived
//!   [within](SemanticKey::digest_within) the project.
//!
//! The bytes are stable: a version, then each part with its length before it, so that no two lists
//! of parts have the same bytes.

use std::fmt;

use super::{CommitId, Event, EventKind};
use crate::text::{hex, sha256};

/// Leads every key; a key of another form leads with another.
const VERSION: &[u8] = b"ocelot-event-1";

/// What makes two events one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SemanticKey(Vec<u8>);

impl SemanticKey {
    fn of(parts: &[&str]) -> Self {
        let mut bytes = VERSION.to_vec();
        for part in parts {
            append(&mut bytes, part.as_bytes());
        }
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The SHA-256 of the key inside a scope, as the project's own id.
    pub fn digest_within(&self, scope: &[u8]) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(scope.len() + self.0.len() + 8);
        append(&mut bytes, scope);
        append(&mut bytes, &self.0);
        sha256(&bytes)
    }

    /// A UUIDv8 of the key inside a scope: the same event is the same id at every controller.
    pub fn uuid_within(&self, scope: &[u8]) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&self.digest_within(scope)[..16]);
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        uuid
    }
}

fn append(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

impl fmt::Debug for SemanticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SemanticKey({})", hex(&sha256(&self.0)[..8]))
    }
}

fn text(commit: &Option<CommitId>) -> &str {
    commit.as_ref().map_or("", CommitId::as_str)
}

impl Event {
    /// The key by which duplicates, redeliveries and replays are known.
    pub fn key(&self) -> SemanticKey {
        let forge = self.forge.map_or("git", crate::Forge::word);
        let (repository, word) = (self.repository.id.as_str(), self.kind.word());
        match &self.kind {
            EventKind::Push(push) => {
                let (before, after) = (text(&push.before), push.after.as_str());
                SemanticKey::of(&[forge, repository, word, &push.branch, before, after])
            }
            EventKind::Tag(tag) => {
                let (before, after) = (text(&tag.before), tag.object.as_str());
                SemanticKey::of(&[forge, repository, word, &tag.tag, before, after])
            }
            EventKind::BranchDeleted { branch, before } => {
                SemanticKey::of(&[forge, repository, word, branch, text(before)])
            }
            EventKind::TagDeleted { tag, before } => {
                SemanticKey::of(&[forge, repository, word, tag, text(before)])
            }
            EventKind::PullRequest(pull) => {
                let (number, head) = (pull.number.to_string(), pull.head_commit.as_str());
                SemanticKey::of(&[forge, repository, word, &number, head, &pull.base_ref])
            }
        }
    }
}

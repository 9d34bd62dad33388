//! Reading: revisions, values and pages.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::lease::LeaseId;

/// The store's clock: every committed change has a greater one than all before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub i64);

impl Revision {
    /// Returns the revision that a watch starts from to see all that follows this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One key as it stands at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: String,
    pub value: Bytes,
    pub create_revision: Revision,
    pub mod_revision: Revision,
    pub lease: Option<LeaseId>,
}

/// Which keys to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// First key, inclusive.
    pub from: String,
    /// Last key, exclusive; none is exactly the key `from`.
    pub to: Option<String>,
    /// At most [`Self::PAGE`].
    pub limit: usize,
    /// The past to read from; none is the present.
    pub at: Option<Revision>,
    /// Leaves the values empty.
    pub keys_only: bool,
}

impl RangeRequest {
    /// The longest page: a long read must not starve watches of the same member (etcd 15402).
    pub const PAGE: usize = 500;

    pub fn key(key: impl Into<String>) -> Self {
        Self { from: key.into(), to: None, limit: 1, at: None, keys_only: false }
    }

    pub fn prefix(prefix: impl Into<String>) -> Self {
        let from = prefix.into();
        let to = Some(prefix_end(&from));
        Self { from, to, limit: Self::PAGE, at: None, keys_only: false }
    }

    /// Whether one key is asked for, as it is now.
    pub(super) fn is_of_one(&self) -> bool {
        self.to.is_none() && self.at.is_none()
    }

    #[must_use]
    pub fn at(self, revision: Revision) -> Self {
        Self { at: Some(revision), ..self }
    }

    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit: limit.clamp(1, Self::PAGE), ..self }
    }

    #[must_use]
    pub fn keys_only(self) -> Self {
        Self { keys_only: true, ..self }
    }

    /// Returns the request for what follows `page`, which answered this one, at the same revision.
    pub fn after(&self, page: &Page) -> Option<Self> {
        let last = page.items.last().filter(|_| page.more)?;
        Some(Self {
            from: format!("{}\0", last.key),
            at: Some(self.at.unwrap_or(page.revision)),
            ..self.clone()
        })
    }
}

/// One answer to a [`RangeRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub items: Vec<KeyValue>,
    pub more: bool,
    /// The store's revision when it answered.
    pub revision: Revision,
}

/// Returns the first key after all that begin with `prefix`. Our keys are ASCII, so the last
/// character always has a successor.
pub(super) fn prefix_end(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    match end.pop() {
        Some(last) if last.is_ascii() && last < '\x7f' => end.push(char::from(last as u8 + 1)),
        Some(last) => {
            end.push(last);
            end.push('\x7f');
        }
        None => end.push('\x7f'),
    }
    end
}

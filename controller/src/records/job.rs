//! A job as it is stored: the text that an admin wrote, and the texts before it.

use serde::{Deserialize, Serialize};

use ocelot_domain::outcome::Actor;
use ocelot_domain::task::state::Timestamp;

use crate::store::codec::Record;

/// Versions that a job remembers, the current one included.
const VERSIONS_MAX: usize = 50;
/// Bytes of all remembered texts; the oldest go first.
const HISTORY_BYTES_MAX: usize = 256 * 1024;

/// One job with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    pub name: String,
    /// Newest last; never empty.
    pub versions: Vec<JobVersion>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobVersion {
    pub version: u32,
    pub text: String,
    pub by: Actor,
    pub at: Timestamp,
}

/// How many runs a job has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobNumber(pub u64);

impl Record for JobRecord {
    const KIND: &'static str = "job";
    const VERSION: u32 = 1;
}

impl Record for JobNumber {
    const KIND: &'static str = "job_number";
    const VERSION: u32 = 1;
}

impl JobRecord {
    pub fn current(&self) -> &JobVersion {
        self.versions.last().expect("a job is put with its first version and never loses its last")
    }

    /// Returns the record with one more version, without those that no longer fit.
    #[must_use]
    pub fn with(mut self, text: String, by: Actor, at: Timestamp) -> Self {
        let version = self.current().version.saturating_add(1);
        self.versions.push(JobVersion { version, text, by, at });
        let bytes = |versions: &[JobVersion]| versions.iter().map(|one| one.text.len()).sum::<usize>();
        while self.versions.len() > 1
            && (self.versions.len() > VERSIONS_MAX || bytes(&self.versions) > HISTORY_BYTES_MAX)
        {
            self.versions.remove(0);
        }
        self
    }
}

//! What scripts are given: the shapes of `--output json`. They are a contract: fields are only added.
//!
//! Times are RFC 3339 in UTC, ids are text, durations are milliseconds; what is not there is null.

mod artifact;
mod fleet;
mod job;
mod project;
mod run;
mod schedule;
mod secret;

pub(crate) use artifact::{Artifact, Fetched};
pub(crate) use fleet::{Executor, Fleet, Token};
pub(crate) use job::Job;
pub(crate) use project::{Event, Project};
pub(crate) use run::{Reason, Run};
pub(crate) use schedule::Schedule;
pub(crate) use secret::{Secret, place};

use uuid_text::uuid;

mod uuid_text {
    use ocelot_core::id::RunId;

    /// Writes the sixteen bytes of an id as people and scripts know it.
    pub(crate) fn uuid(bytes: &[u8]) -> String {
        <[u8; 16]>::try_from(bytes).map(|bytes| RunId::from_bytes(bytes).to_string()).unwrap_or_default()
    }
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

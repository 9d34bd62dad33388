//! What scripts are given, in the shapes of `ocelot --output json`: one shape per thing.
//!
//! They are a contract: fields are only added. What is not there is null.

mod attempt;
mod job;
mod log;
mod run;

use jiff::Timestamp as Moment;
use ocelot_domain::task::state::Timestamp;

pub(super) use job::{Job, JobPage};
pub(super) use log::{LogEnd, LogKind, LogLine, Loss};
pub(super) use run::{Beside, Outcome, Run, RunPage, Task};

/// Returns a moment for scripts: RFC 3339 in UTC, to the microsecond; nothing for none.
pub(super) fn precise(unix_us: u64) -> Option<String> {
    let unix_us = i64::try_from(unix_us).ok().filter(|at| *at != 0)?;
    Moment::from_microsecond(unix_us).ok().map(|moment| format!("{moment:.6}"))
}

fn stamped(at: Timestamp) -> Option<String> {
    precise(at.unix_ms.saturating_mul(1000))
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

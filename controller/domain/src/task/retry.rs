//! Whether a task whose try ended badly is tried again, and after how long.
//!
//! Tries are acknowledged attempts; a delivery that failed is none. A `once` task is never tried
//! again after it was acknowledged, whatever its policy says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use ocelot_core::id::TaskId;
use ocelot_core::plan::{self, Cause, Class, duration_ms};

use crate::outcome::{Failure, Outcome, Timeout};

/// The most retries that any policy gets; the schema allows no more.
pub const RETRIES_MAX: u32 = 5;

/// The longest delay before a retry.
pub const DELAY_MAX: Duration = Duration::from_secs(600);

/// When a failed task is tried again, as its record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How often after the first try.
    pub limit: u32,
    pub on: Vec<Cause>,
    /// With [`Cause::Exit`]: only these codes; empty means any.
    pub exit_codes: Vec<i32>,
    #[serde(rename = "delay_ms", with = "duration_ms")]
    pub delay: Duration,
}

impl From<&plan::Retry> for Policy {
    fn from(retry: &plan::Retry) -> Self {
        Self {
            limit: retry.limit.min(RETRIES_MAX),
            on: retry.on.clone(),
            exit_codes: retry.exit_codes.clone(),
            delay: retry.delay,
        }
    }
}

/// A fraction of one, in 65,536ths: how far a delay is moved between its half and its whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(pub u16);

impl Jitter {
    /// Returns the jitter of one try of one task. Equal for every controller, so that two that
    /// race write the same record, and spread over tasks that fell together.
    pub fn of(id: TaskId, tries: u32) -> Self {
        // FNV-1a: a few stable lines, and nothing here needs more than an even spread.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let seed = [id.index.to_le_bytes(), tries.to_le_bytes()].concat();
        for byte in id.run.as_bytes().iter().chain(&seed) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let [high, low, ..] = hash.to_be_bytes();
        Self(u16::from_be_bytes([high, low]))
    }
}

/// Returns how long to wait before the next try, or none when this end is final.
pub fn next_try(
    class: Class,
    policy: &Policy,
    tries: u32,
    outcome: &Outcome,
    jitter: Jitter,
) -> Option<Duration> {
    match class {
        Class::Once => return None,
        Class::Normal | Class::Exclusive => {}
    }
    let cause = cause(outcome)?;
    if tries > policy.limit.min(RETRIES_MAX) || !policy.on.contains(&cause) || !code_counts(policy, outcome) {
        return None;
    }
    match cause {
        // The machine is gone, not the world that the task needs: another one can have it now.
        Cause::Lost => Some(Duration::ZERO),
        Cause::Exit | Cause::Signal | Cause::Oom | Cause::Timeout | Cause::Image | Cause::Disk => {
            Some(backoff(policy.delay, tries, jitter))
        }
    }
}

/// Returns the delay before try `tries + 1`: doubled with each try, bounded, moved by the jitter.
pub fn backoff(delay: Duration, tries: u32, jitter: Jitter) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    let whole = delay.saturating_mul(1 << doublings).min(DELAY_MAX);
    let half = whole / 2;
    half + half.saturating_mul(u32::from(jitter.0)) / u32::from(u16::MAX)
}

fn cause(outcome: &Outcome) -> Option<Cause> {
    match outcome {
        Outcome::Failed { failure, .. } => match failure {
            Failure::Exit(_) => Some(Cause::Exit),
            Failure::Signal(_) => Some(Cause::Signal),
            Failure::OutOfMemory { .. } => Some(Cause::Oom),
            Failure::Image { .. } => Some(Cause::Image),
            Failure::Disk { .. } => Some(Cause::Disk),
            // It would end in the same way again.
            Failure::Policy { .. } | Failure::Setup { .. } => None,
        },
        Outcome::TimedOut(timeout) => match timeout {
            Timeout::Run | Timeout::Stage { .. } | Timeout::Quiet => Some(Cause::Timeout),
            Timeout::Queue => None,
        },
        Outcome::Lost { .. } => Some(Cause::Lost),
        Outcome::Succeeded
        | Outcome::Cancelled { .. }
        | Outcome::Skipped { .. }
        | Outcome::Rejected { .. } => None,
    }
}

fn code_counts(policy: &Policy, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed { failure: Failure::Exit(code), .. } => {
            policy.exit_codes.is_empty() || policy.exit_codes.contains(code)
        }
        Outcome::Failed { .. }
        | Outcome::TimedOut(_)
        | Outcome::Lost { .. }
        | Outcome::Succeeded
        | Outcome::Cancelled { .. }
        | Outcome::Skipped { .. }
        | Outcome::Rejected { .. } => true,
    }
}

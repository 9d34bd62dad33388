//! The schedules of a job as they are stored: what its file says of them, and how far they are.
//!
//! One record for all of a job, so that it changes with the job in one transaction. A schedule is known
//! by its number among them; what tells it from every other that ever was is its seed, of which the ids
//! of its runs are made.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use ocelot_core::id::RunId;
use ocelot_core::schedule::{CatchUp, Overlap};
use ocelot_domain::outcome::Actor;
use ocelot_domain::schedule::{Mark, Moment, Passed, Rule};
use ocelot_domain::task::state::Timestamp;

use super::Digest;
use crate::store::codec::Record;

/// The newest runs that a schedule remembers; which of them go on decides about the next.
const RUNS_MAX: usize = 10;

/// The schedules of one job, in the order of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulesRecord {
    pub job: String,
    /// The version of the job that they are of.
    pub version: u32,
    pub schedules: Vec<ScheduleRecord>,
}

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    pub seed: u64,
    pub cron: String,
    pub timezone: String,
    /// Of the arguments, which stand in the job's text.
    pub arguments: Digest,
    pub overlap: Overlap,
    pub catch_up: CatchUp,
    pub jitter_ms: u64,
    pub mark: Mark,
    /// Newest last.
    pub runs: Vec<ScheduledRun>,
    /// The newest moment that did not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<PassedMoment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Why the last run could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A run that a schedule has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledRun {
    pub run: RunId,
    /// None if somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
}

/// A moment that did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedMoment {
    pub moment: Moment,
    pub why: Passed,
}

/// A pause: who wanted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub by: Actor,
    pub at: Timestamp,
}

impl Record for SchedulesRecord {
    const KIND: &'static str = "schedules";
    const VERSION: u32 = 1;
}

impl SchedulesRecord {
    /// Returns the name of the schedule at a place of the file: `JOB/1` is the first.
    pub fn name(&self, place: usize) -> String {
        format!("{}/{}", self.job, place + 1)
    }
}

impl ScheduleRecord {
    pub fn rule(&self) -> Rule {
        let jitter = Duration::from_millis(self.jitter_ms);
        Rule { overlap: self.overlap, catch_up: self.catch_up, jitter }
    }

    /// Returns the id of the run of one moment: the same, whoever makes it.
    pub fn run_of(&self, moment: Moment) -> RunId {
        let cause = Digest::of(format!("schedule\0{:016x}\0{}", self.seed, moment.unix_ms).as_bytes());
        let (id, _) = cause.as_bytes().split_first_chunk::<16>().expect("a digest has 32 bytes");
        RunId::derived(*id)
    }

    /// Remembers a run, unless it is remembered already.
    pub fn remember(&mut self, run: ScheduledRun) {
        if self.runs.iter().all(|known| known.run != run.run) {
            self.runs.push(run);
            let too_many = self.runs.len().saturating_sub(RUNS_MAX);
            self.runs.drain(..too_many);
        }
    }

    /// Notes moments that did not begin.
    pub fn pass(&mut self, passed: &[(Moment, Passed)]) {
        if let Some((moment, why)) = passed.iter().max_by_key(|(moment, _)| *moment) {
            self.passed = Some(PassedMoment { moment: *moment, why: *why });
        }
    }
}

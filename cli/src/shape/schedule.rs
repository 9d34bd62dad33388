//! Schedules, with the moments that they are about.

use std::collections::BTreeMap;

use ocelot_proto::wire;
use serde::Serialize;

use super::{Run, text};
use crate::show::precise;
use crate::words;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Schedule {
    /// `JOB/NUMBER`.
    pub(crate) name: String,
    pub(crate) job: String,
    pub(crate) cron: String,
    pub(crate) timezone: String,
    pub(crate) arguments: BTreeMap<String, String>,
    /// `skip` `queue` `allow`.
    pub(crate) overlap: &'static str,
    /// `none` `one` `all`.
    pub(crate) catch_up: &'static str,
    pub(crate) jitter_ms: u64,
    /// The next five.
    pub(crate) next: Vec<Moment>,
    /// Moments that have come and wait for the last run to end.
    pub(crate) waiting: Vec<Moment>,
    /// The newest first.
    pub(crate) runs: Vec<Scheduled>,
    /// The newest moment that made no run.
    pub(crate) passed: Option<Passed>,
    pub(crate) paused: Option<Paused>,
    pub(crate) trouble: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Moment {
    pub(crate) at: Option<String>,
    /// As the clock of its zone shows it.
    pub(crate) local: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Scheduled {
    /// Null if somebody asked for it.
    pub(crate) moment: Option<Moment>,
    pub(crate) run: Option<Run>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Passed {
    pub(crate) moment: Option<Moment>,
    /// `missed` `goes_on` `too_many` `paused`.
    pub(crate) why: &'static str,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Paused {
    pub(crate) by: Option<String>,
    pub(crate) at: Option<String>,
}

impl From<&wire::Schedule> for Schedule {
    fn from(schedule: &wire::Schedule) -> Self {
        Self {
            name: schedule.name.clone(),
            job: schedule.job.clone(),
            cron: schedule.cron.clone(),
            timezone: schedule.timezone.clone(),
            arguments: schedule.arguments.clone().into_iter().collect(),
            overlap: words::overlap(schedule.overlap()),
            catch_up: words::catch_up(schedule.catch_up()),
            jitter_ms: schedule.jitter_ms,
            next: schedule.next.iter().map(Moment::from).collect(),
            waiting: schedule.waiting.iter().map(Moment::from).collect(),
            runs: schedule.runs.iter().map(Scheduled::from).collect(),
            passed: schedule.passed.as_ref().map(|passed| Passed {
                moment: passed.moment.as_ref().map(Moment::from),
                why: words::passed(passed.why()).0,
            }),
            paused: schedule
                .paused
                .as_ref()
                .map(|paused| Paused { by: text(&paused.by), at: precise(paused.at_unix_us) }),
            trouble: text(&schedule.trouble),
        }
    }
}

impl From<&wire::schedule::Moment> for Moment {
    fn from(moment: &wire::schedule::Moment) -> Self {
        Self { at: precise(moment.unix_us), local: moment.local.clone() }
    }
}

impl From<&wire::schedule::ScheduledRun> for Scheduled {
    fn from(run: &wire::schedule::ScheduledRun) -> Self {
        Self { moment: run.moment.as_ref().map(Moment::from), run: run.run.as_ref().map(Run::from) }
    }
}

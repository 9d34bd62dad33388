//! Schedules: they come and go with their job, fire by the clock, and are paused and run by people.
//!
//! A firing is an acceptance like any other, of a run whose id is derived from the schedule and the
//! moment: however many controllers fire it, it is one run. The record moves on afterwards by
//! compare-and-swap. In between, whoever looks finds the same decision to make and the run made.

mod people;
mod turn;

use std::collections::BTreeMap;

use ocelot_domain::schedule::{Mark, Moment};
use ocelot_spec::Job;

pub use people::{SchedulePage, SeenSchedule};
pub(crate) use turn::{Rest, Turn};

use super::Service;
use super::error::{Error, Result};
use crate::records::{Digest, JobRecord, ScheduleRecord, SchedulesRecord};
use crate::store::codec::{decode, encode};
use crate::store::keys::{Folder, Key};
use crate::store::{Expected, Revision, Txn};
use crate::timetable::Timetable;

/// The most schedules of one job.
const SCHEDULES_MAX: usize = 100;

/// The schedules of a job as they were read, to be changed together with it.
pub(super) struct Standing {
    job: String,
    known: Option<(SchedulesRecord, Revision)>,
}

impl Standing {
    fn key(&self) -> String {
        Key::Schedule(self.job.clone()).to_string()
    }

    fn as_read(&self) -> Txn {
        let expected = self.known.as_ref().map_or(Expected::Absent, |(_, revision)| Expected::At(*revision));
        Txn::new().when(self.key(), expected)
    }

    /// Returns the part of the job's transaction that gives it these schedules.
    pub(super) fn after(&self, timed: &[ScheduleRecord], version: u32) -> Txn {
        if timed.is_empty() {
            return self.gone();
        }
        let known = self.known.as_ref().map(|(record, _)| record.schedules.as_slice());
        let schedules = carried_over(known.unwrap_or_default(), timed);
        let record = SchedulesRecord { job: self.job.clone(), version, schedules };
        self.as_read().put(self.key(), encode(&record, None))
    }

    /// Returns the part of the job's transaction that takes its schedules away.
    pub(super) fn gone(&self) -> Txn {
        match self.known {
            Some(_) => self.as_read().delete(self.key()),
            None => Txn::new(),
        }
    }
}

impl Service {
    /// Returns the schedules that a job's text asks for, as if they were all new.
    pub(super) fn timed(&self, job: &Job) -> Result<Vec<ScheduleRecord>> {
        if job.schedules.len() > SCHEDULES_MAX {
            return Err(Error::invalid(format!("a job has at most {SCHEDULES_MAX} schedules")));
        }
        let until = self.moment_now();
        let timed = job.schedules.iter().map(|schedule| {
            // Looked at here, because only a controller knows the zones there are.
            Timetable::new(&schedule.cron, &schedule.timezone).map_err(Error::invalid)?;
            let jitter_ms = u64::try_from(schedule.jitter.as_millis()).unwrap_or(u64::MAX);
            Ok(ScheduleRecord {
                seed: u64::from_le_bytes(self.random()),
                cron: schedule.cron.clone(),
                timezone: schedule.timezone.clone(),
                arguments: digest_of(&schedule.args),
                overlap: schedule.overlap,
                catch_up: schedule.catch_up,
                jitter_ms,
                mark: Mark { until, waiting: Vec::new() },
                runs: Vec::new(),
                passed: None,
                paused: None,
                trouble: None,
            })
        });
        timed.collect()
    }

    pub(super) async fn schedules_standing(&self, job: &str) -> Result<Standing> {
        let item = self.read(&Key::Schedule(job.to_owned()).to_string()).await?;
        let known = item.map(|item| Ok::<_, Error>((decode(&item.value)?, item.mod_revision))).transpose()?;
        Ok(Standing { job: job.to_owned(), known })
    }

    /// Makes the records of schedules of jobs that were put before there were such records. They begin
    /// now.
    pub(crate) async fn adopt_schedules(&self) -> Result<()> {
        let folder = Folder::Jobs.to_string();
        let jobs: Vec<(JobRecord, Revision)> = self.view.read(|items| {
            let jobs = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let unknown = jobs.filter(|(key, _)| {
                let schedules = key.replacen(&folder, &Folder::Schedules.to_string(), 1);
                !items.contains_key(&schedules)
            });
            let jobs = unknown.filter_map(|(_, entry)| Some((entry.known()?.job()?, entry.mod_revision)));
            let speaks = jobs.filter(|(job, _)| job.current().text.contains("schedule"));
            speaks.map(|(job, revision)| (job.clone(), revision)).collect()
        });
        for (job, revision) in jobs {
            let Ok(parsed) = Job::parse(&job.name, job.current().text.as_bytes()) else { continue };
            let Ok(timed) = self.timed(&parsed) else { continue };
            if timed.is_empty() {
                continue;
            }
            let standing = Standing { job: job.name.clone(), known: None };
            let txn = standing.after(&timed, job.current().version);
            self.commit_duty(txn.when(Key::Job(job.name), Expected::At(revision))).await?;
        }
        Ok(())
    }

    /// Returns the time of day, which schedules go by.
    pub(crate) fn moment_now(&self) -> Moment {
        Moment { unix_ms: self.timestamp().unix_ms }
    }
}

fn digest_of(arguments: &BTreeMap<String, String>) -> Digest {
    Digest::of(&serde_json::to_vec(arguments).expect("texts can be written to memory"))
}

/// Gives each schedule of a new text what the one of the old text has behind it that it is: the one of
/// the same times and arguments, else the one of the same times. A new one begins now.
fn carried_over(known: &[ScheduleRecord], timed: &[ScheduleRecord]) -> Vec<ScheduleRecord> {
    let mut left: Vec<&ScheduleRecord> = known.iter().collect();
    let mut found: Vec<Option<&ScheduleRecord>> = vec![None; timed.len()];
    for with_arguments in [true, false] {
        for (new, found) in timed.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            let place = left.iter().position(|old| {
                let same_times = old.cron == new.cron && old.timezone == new.timezone;
                same_times && (!with_arguments || old.arguments == new.arguments)
            });
            *found = place.map(|place| left.remove(place));
        }
    }
    let carried = timed.iter().zip(found).map(|(new, old)| match old {
        None => new.clone(),
        Some(old) => ScheduleRecord {
            seed: old.seed,
            mark: old.mark.clone(),
            runs: old.runs.clone(),
            passed: old.passed,
            paused: old.paused.clone(),
            ..new.clone()
        },
    });
    carried.collect()
}

#[cfg(test)]
mod tests;

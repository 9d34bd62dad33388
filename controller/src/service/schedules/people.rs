//! What people do with schedules: see them, pause them, let them go on, run them now.

use std::collections::BTreeMap;
use std::ops::Bound;

use ocelot_core::id::RunId;
use ocelot_domain::outcome::Actor;
use ocelot_domain::schedule::{Mark, Moment, Passed};
use ocelot_spec::Job;

use crate::records::{Paused, ScheduleRecord, ScheduledRun, SchedulesRecord, Stored, Trigger, TriggerKind};
use crate::service::error::{Error, Result, What};
use crate::service::jobs::{PAGE_MAX, settled};
use crate::service::{ExecuteRequest, Executed, Service};
use crate::store::codec::decode;
use crate::store::keys::{Folder, Key};
use crate::store::update::Edit;
use crate::store::view::Entry;
use crate::timetable::Timetable;

/// Moments to come that a schedule is shown with.
const NEXT_SHOWN: usize = 5;

/// A schedule with what is shown beside its record.
#[derive(Debug, Clone)]
pub struct SeenSchedule {
    /// `JOB/N`: the N-th of its job.
    pub name: String,
    pub job: String,
    pub schedule: ScheduleRecord,
    pub arguments: BTreeMap<String, String>,
    /// The next moments, whether or not it is paused.
    pub next: Vec<Moment>,
    /// Why it cannot run, or could not the last time.
    pub trouble: Option<String>,
    table: Option<Timetable>,
}

/// One page of schedules, by name.
#[derive(Debug, Clone)]
pub struct SchedulePage {
    pub schedules: Vec<SeenSchedule>,
    /// Job and number after which the next page begins; none on the last.
    pub next: Option<(String, usize)>,
}

impl SeenSchedule {
    /// Returns a moment as the clock of the schedule's zone shows it.
    pub fn shown(&self, moment: Moment) -> String {
        self.table.as_ref().map(|table| table.shown(moment)).unwrap_or_default()
    }
}

impl Service {
    /// Lists schedules, of one job or all, from the one after job and number `after`.
    pub fn schedules(
        &self,
        job: Option<&str>,
        after: Option<&(String, usize)>,
        limit: usize,
    ) -> SchedulePage {
        let folder = Folder::Schedules.to_string();
        let start = after.map_or(folder.clone(), |(job, _)| Key::Schedule(job.clone()).to_string());
        let limit = limit.clamp(1, PAGE_MAX);
        let mut found: Vec<(SchedulesRecord, usize)> = Vec::new();
        self.view.read(|items| {
            let items = items.range((Bound::Included(start), Bound::Unbounded));
            let items = items.take_while(|(key, _)| key.starts_with(&folder));
            let is_after =
                |job: &str, number: usize| after.is_none_or(|(last, seen)| job != last || number > *seen);
            for record in
                items.filter_map(|(_, entry): (_, &Entry<Stored>)| entry.known()?.schedules().cloned())
            {
                if job.is_some_and(|job| job != record.job) {
                    continue;
                }
                let numbers = 1..=record.schedules.len();
                found.extend(
                    numbers
                        .filter(|number| is_after(&record.job, *number))
                        .map(|number| (record.clone(), number)),
                );
                if found.len() > limit {
                    break;
                }
            }
        });
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(record, number)| (record.job.clone(), *number));
        let schedules = found.iter().map(|(record, number)| {
            let job = self.view.get(&Key::Job(record.job.clone()).to_string());
            let text = job.and_then(|entry| Some(entry.known()?.job()?.current().text.clone()));
            self.shown_schedule(record, number - 1, text.as_deref())
        });
        SchedulePage { schedules: schedules.collect(), next }
    }

    /// Returns one schedule: `JOB/N`, or `JOB` for the only one of a job.
    pub async fn schedule(&self, name: &str) -> Result<SeenSchedule> {
        let (record, place) = self.find_schedule(name).await?;
        let job = self.job(&record.job).await?;
        Ok(self.shown_schedule(&record, place, Some(&job.current().text)))
    }

    /// Lets a schedule make no runs by itself until it is resumed. One that is paused stays as it is.
    pub async fn pause_schedule(&self, name: &str, by: &Actor) -> Result<SeenSchedule> {
        let paused = Paused { by: by.clone(), at: self.timestamp() };
        self.change_schedule(name, |schedule| {
            if schedule.paused.is_some() {
                return false;
            }
            let waiting: Vec<_> =
                schedule.mark.waiting.drain(..).map(|moment| (moment, Passed::Paused)).collect();
            schedule.pass(&waiting);
            schedule.paused = Some(paused.clone());
            true
        })
        .await?;
        tracing::info!(schedule = name, by = by.0, "a schedule was paused");
        self.schedule(name).await
    }

    /// Lets a schedule make runs again, from now on: what came while it was paused is not made up for.
    pub async fn resume_schedule(&self, name: &str, by: &Actor) -> Result<SeenSchedule> {
        let now = self.moment_now();
        self.change_schedule(name, |schedule| {
            if schedule.paused.take().is_none() {
                return false;
            }
            schedule.mark = Mark { until: schedule.mark.until.max(now), waiting: Vec::new() };
            true
        })
        .await?;
        tracing::info!(schedule = name, by = by.0, "a schedule was resumed");
        self.schedule(name).await
    }

    /// Makes a run as the schedule would, now and whatever goes on. The same id again finds the same run.
    pub async fn run_schedule(&self, name: &str, id: RunId, by: &Actor) -> Result<Executed> {
        let seen = self.schedule(name).await?;
        let trigger =
            Trigger { kind: TriggerKind::Schedule, by: by.clone(), schedule: Some(seen.name.clone()) };
        let SeenSchedule { name, job, arguments, .. } = seen;
        let env = BTreeMap::new();
        let executed = self.execute(ExecuteRequest { id, job, arguments, env, trigger }).await?;
        let run = ScheduledRun { run: id, moment: None };
        self.change_schedule(&name, |schedule| {
            let is_known = schedule.runs.iter().any(|known| known.run == id);
            schedule.remember(run);
            !is_known
        })
        .await?;
        Ok(executed)
    }

    async fn find_schedule(&self, name: &str) -> Result<(SchedulesRecord, usize)> {
        let job = name.split('/').next().unwrap_or_default();
        let item = self.read(&Key::Schedule(job.to_owned()).to_string()).await?;
        let record = item.map(|item| decode::<SchedulesRecord>(&item.value)).transpose()?;
        let record = record.ok_or_else(|| Error::not_found(What::Schedule, name))?;
        let place = place(&record, name)?;
        Ok((record, place))
    }

    /// Changes one schedule; `change` tells whether it did.
    async fn change_schedule(
        &self,
        name: &str,
        mut change: impl FnMut(&mut ScheduleRecord) -> bool,
    ) -> Result<()> {
        let job = name.split('/').next().unwrap_or_default();
        let key = Key::Schedule(job.to_owned()).to_string();
        let updated = self.updater.update(&key, |known: Option<SchedulesRecord>| {
            let mut record = known.ok_or_else(|| Error::not_found(What::Schedule, name))?;
            let place = place(&record, name)?;
            let changed = change(&mut record.schedules[place]);
            Ok::<_, Error>(if changed { Edit::Put(record) } else { Edit::Keep })
        });
        settled(updated.await).map(drop)
    }

    fn shown_schedule(&self, record: &SchedulesRecord, place: usize, text: Option<&str>) -> SeenSchedule {
        let schedule = record.schedules[place].clone();
        let (table, trouble) = match Timetable::new(&schedule.cron, &schedule.timezone) {
            Ok(table) => (Some(table), schedule.trouble.clone()),
            Err(error) => (None, Some(error.to_string())),
        };
        let parsed = text.and_then(|text| Job::parse(&record.job, text.as_bytes()).ok());
        let arguments = parsed.and_then(|job| job.schedules.into_iter().nth(place)).map(|one| one.args);
        let after = schedule.mark.until.max(self.moment_now());
        let next = std::iter::successors(Some(after), |after| table.as_ref()?.next(*after));
        SeenSchedule {
            name: record.name(place),
            job: record.job.clone(),
            arguments: arguments.unwrap_or_default(),
            next: next.skip(1).take(NEXT_SHOWN).collect(),
            trouble,
            schedule,
            table,
        }
    }
}

/// Returns the place of the schedule that is meant.
fn place(record: &SchedulesRecord, name: &str) -> Result<usize> {
    let count = record.schedules.len();
    match name.split_once('/') {
        None if count == 1 => Ok(0),
        None => {
            let matches = (0..count).map(|place| record.name(place)).collect();
            Err(Error::Ambiguous { what: What::Schedule, text: name.to_owned(), matches })
        }
        Some((_, number)) => (0..count)
            .find(|place| (place + 1).to_string() == number)
            .ok_or_else(|| Error::not_found(What::Schedule, name)),
    }
}

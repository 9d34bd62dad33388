//! One look at a job's schedules: what is due begins, and the record moves on.
//!
//! Two controllers may look at once, by clocks that differ, and one may die between a run and the
//! record's move. So nothing is settled on faith: a run is put only while the record is the one that it
//! was decided on; a moment is passed only while it has no run; and the runs of moments that another
//! controller had begun are remembered before anything new is decided.

use std::collections::BTreeSet;
use std::time::Duration;

use ocelot_core::id::RunId;
use ocelot_domain::outcome::Actor;
use ocelot_domain::schedule::{Due, Mark, Moment, Passed, Times, due, offset};
use ocelot_proto::kit::chaos;
use ocelot_spec::Job;

use crate::records::{RunRecord, ScheduleRecord, ScheduledRun, SchedulesRecord, Trigger, TriggerKind};
use crate::service::error::{Error, Result};
use crate::service::{ExecuteRequest, Service};
use crate::store::codec::{decode, encode};
use crate::store::keys::Key;
use crate::store::{Expected, Revision, Txn};
use crate::timetable::{NoTimetable, Timetable};

/// The newest of the passed moments that are looked at: of one passed long ago no run goes on.
const LOOKED_AT_MAX: usize = 100;

/// When a job's schedules are to be looked at again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) at: Option<Moment>,
    /// Or when one of these runs has ended.
    pub(crate) on: BTreeSet<RunId>,
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something has changed: look again.
    Moved,
    Rests(Rest),
}

/// The moments of a schedule, and how much later each begins.
struct Moments<'a> {
    table: Timetable,
    schedule: &'a ScheduleRecord,
}

impl<'a> Moments<'a> {
    fn of(schedule: &'a ScheduleRecord) -> std::result::Result<Self, NoTimetable> {
        Ok(Self { table: Timetable::new(&schedule.cron, &schedule.timezone)?, schedule })
    }
}

impl Times for Moments<'_> {
    fn next(&self, after: Moment) -> Option<Moment> {
        self.table.next(after)
    }

    fn offset(&self, moment: Moment) -> Duration {
        offset(self.schedule.run_of(moment), Duration::from_millis(self.schedule.jitter_ms))
    }
}

/// One schedule, as its record was read.
struct Read<'a> {
    record: &'a SchedulesRecord,
    revision: Revision,
    place: usize,
}

/// What became of an attempt to make the run of a moment.
enum Made {
    Run,
    /// The record is another by now.
    Stale,
    /// It can never be made.
    Never(String),
}

impl Rest {
    fn until(at: Option<Moment>) -> Self {
        Self { at, on: BTreeSet::new() }
    }

    fn and(&mut self, other: Self) {
        self.at = self.at.into_iter().chain(other.at).min();
        self.on.extend(other.on);
    }
}

impl Service {
    /// Returns when a job's schedules are to be looked at, as far as the view tells; none if it has none.
    pub(crate) fn schedules_rest(&self, job: &str) -> Option<Rest> {
        let entry = self.view.get(&Key::Schedule(job.to_owned()).to_string())?;
        let record = entry.known()?.schedules()?.clone();
        let mut rest = Rest::default();
        for schedule in record.schedules.iter().filter(|schedule| schedule.paused.is_none()) {
            let Ok(moments) = Moments::of(schedule) else { continue };
            let goes_on = |run: &ScheduledRun| {
                self.run_at_hand(run.run).is_some_and(|(_, record)| !record.is_finished())
            };
            let on: BTreeSet<RunId> =
                schedule.runs.iter().filter(|run| goes_on(run)).map(|run| run.run).collect();
            let now = self.moment_now();
            rest.and(match due(&schedule.rule(), &schedule.mark, &moments, !on.is_empty(), now) {
                Due::Nothing { until } if schedule.mark.waiting.is_empty() => Rest::until(until),
                Due::Nothing { until } => Rest { at: until, on },
                Due::Move { .. } | Due::Fire { .. } => Rest::until(Some(now)),
            });
        }
        Some(rest)
    }

    /// Looks at a job's schedules, and does the first thing that is due.
    pub(crate) async fn turn(&self, job: &str) -> Result<Turn> {
        let Some(item) = self.read(&Key::Schedule(job.to_owned()).to_string()).await? else {
            return Ok(Turn::Rests(Rest::default()));
        };
        let record: SchedulesRecord = decode(&item.value)?;
        let mut rest = Rest::default();
        for place in 0..record.schedules.len() {
            let read = Read { record: &record, revision: item.mod_revision, place };
            match self.look(&read).await? {
                Turn::Moved => return Ok(Turn::Moved),
                Turn::Rests(one) => rest.and(one),
            }
        }
        Ok(Turn::Rests(rest))
    }

    async fn look(&self, read: &Read<'_>) -> Result<Turn> {
        let schedule = read.schedule();
        if schedule.paused.is_some() {
            return Ok(Turn::Rests(Rest::default()));
        }
        let moments = match Moments::of(schedule) {
            Ok(moments) => moments,
            Err(error) => {
                tracing::warn!(schedule = read.name(), %error, "this controller cannot read a schedule");
                return Ok(Turn::Rests(Rest::default()));
            }
        };
        let (rule, now) = (schedule.rule(), self.moment_now());
        // Most often nothing is due, whatever goes on; then there is nothing to be read.
        if let Due::Nothing { until } = due(&rule, &schedule.mark, &moments, true, now)
            && schedule.mark.waiting.is_empty()
        {
            return Ok(Turn::Rests(Rest::until(until)));
        }
        let on = self.going_on(schedule).await?;
        match due(&rule, &schedule.mark, &moments, !on.is_empty(), now) {
            Due::Nothing { until } => Ok(Turn::Rests(Rest { at: until, on })),
            Due::Move { mark, passed } => {
                if !self.remember_runs_of(read, &passed).await? {
                    self.settle(read, moved(schedule, mark, &passed), &passed).await?;
                }
                Ok(Turn::Moved)
            }
            Due::Fire { moment, mark, passed } => {
                if !self.remember_runs_of(read, &passed).await? {
                    self.fire(read, moment, moved(schedule, mark, &passed), &passed).await?;
                }
                Ok(Turn::Moved)
            }
        }
    }

    /// Returns the runs of a schedule that have not ended, read for this call.
    async fn going_on(&self, schedule: &ScheduleRecord) -> Result<BTreeSet<RunId>> {
        let mut on = BTreeSet::new();
        for ScheduledRun { run, .. } in &schedule.runs {
            // Once it has ended it never goes on again, so of that the view is enough.
            if self.run_at_hand(*run).is_some_and(|(_, record)| record.is_finished()) {
                continue;
            }
            if self.run_now(*run).await?.is_some_and(|record| !record.is_finished()) {
                on.insert(*run);
            }
        }
        Ok(on)
    }

    async fn run_now(&self, run: RunId) -> Result<Option<RunRecord>> {
        let item = self.read(&Key::Run(run).to_string()).await?;
        Ok(item.map(|item| decode(&item.value)).transpose()?)
    }

    /// Remembers the runs of passed moments that have one after all; returns whether there were any.
    async fn remember_runs_of(&self, read: &Read<'_>, passed: &[(Moment, Passed)]) -> Result<bool> {
        let schedule = read.schedule();
        let mut next = schedule.clone();
        for moment in newest(passed) {
            let run = schedule.run_of(moment);
            let is_known = schedule.runs.iter().any(|known| known.run == run);
            if !is_known && self.run_now(run).await?.is_some() {
                next.remember(ScheduledRun { run, moment: Some(moment) });
            }
        }
        if next == *schedule {
            return Ok(false);
        }
        self.settle(read, next, &[]).await?;
        Ok(true)
    }

    /// Makes the run of a moment, then lets the record move on.
    async fn fire(
        &self,
        read: &Read<'_>,
        moment: Moment,
        mut next: ScheduleRecord,
        passed: &[(Moment, Passed)],
    ) -> Result<()> {
        let run = next.run_of(moment);
        match self.make(read, run).await? {
            Made::Stale => return Ok(()),
            Made::Run => {
                chaos::point("schedule.fired");
                tracing::info!(schedule = read.name(), run.id = %run, "a schedule has made a run");
                next.trouble = None;
                next.remember(ScheduledRun { run, moment: Some(moment) });
            }
            Made::Never(why) => {
                tracing::warn!(schedule = read.name(), why, "a schedule could not make its run");
                next.trouble = Some(why);
            }
        }
        if self.settle(read, next, passed).await? {
            chaos::point("schedule.moved");
        }
        Ok(())
    }

    async fn make(&self, read: &Read<'_>, run: RunId) -> Result<Made> {
        let job = match self.job(&read.record.job).await {
            Err(error @ Error::NotFound { .. }) => return Ok(Made::Never(error.to_string())),
            job => job?,
        };
        if job.current().version != read.record.version {
            return Ok(Made::Stale);
        }
        let parsed = match Job::parse(&job.name, job.current().text.as_bytes()) {
            Ok(parsed) => parsed,
            Err(problems) => return Ok(Made::Never(problems.to_string())),
        };
        let name = read.name();
        let arguments = parsed.schedules.into_iter().nth(read.place).map(|schedule| schedule.args);
        let request = ExecuteRequest {
            id: run,
            job: job.name,
            arguments: arguments.unwrap_or_default(),
            env: std::collections::BTreeMap::new(),
            trigger: Trigger { kind: TriggerKind::Schedule, by: Actor(name.clone()), schedule: Some(name) },
        };
        let beside = Txn::new().when(read.key(), Expected::At(read.revision));
        match self.execute_beside(request, &beside).await {
            Ok(Some(_)) => Ok(Made::Run),
            Ok(None) => Ok(Made::Stale),
            // It was made of the job's text of before: a moment has one run.
            Err(Error::AlreadyExists { .. }) => Ok(Made::Run),
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => Ok(Made::Never(error.to_string())),
        }
    }

    /// Writes a schedule if its record is as it was read and no passed moment has a run.
    async fn settle(
        &self,
        read: &Read<'_>,
        next: ScheduleRecord,
        passed: &[(Moment, Passed)],
    ) -> Result<bool> {
        let mut record = read.record.clone();
        let schedule = read.schedule();
        let txn = newest(passed)
            .map(|moment| schedule.run_of(moment))
            .filter(|run| schedule.runs.iter().all(|known| known.run != *run))
            .fold(Txn::new(), |txn, run| txn.when(Key::Run(run), Expected::Absent));
        for (moment, why) in passed {
            let moment = moment.unix_ms;
            tracing::info!(schedule = read.name(), moment, ?why, "a moment of a schedule has passed");
        }
        record.schedules[read.place] = next;
        let txn = txn.when(read.key(), Expected::At(read.revision)).put(read.key(), encode(&record, None));
        self.commit_duty(txn).await
    }
}

impl Read<'_> {
    fn schedule(&self) -> &ScheduleRecord {
        &self.record.schedules[self.place]
    }

    fn key(&self) -> String {
        Key::Schedule(self.record.job.clone()).to_string()
    }

    fn name(&self) -> String {
        self.record.name(self.place)
    }
}

fn moved(schedule: &ScheduleRecord, mark: Mark, passed: &[(Moment, Passed)]) -> ScheduleRecord {
    let mut next = ScheduleRecord { mark, ..schedule.clone() };
    next.pass(passed);
    next
}

fn newest(passed: &[(Moment, Passed)]) -> impl Iterator<Item = Moment> {
    let mut moments: Vec<Moment> = passed.iter().map(|(moment, _)| *moment).collect();
    moments.sort_unstable();
    moments.into_iter().rev().take(LOOKED_AT_MAX)
}

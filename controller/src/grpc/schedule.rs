//! The service of schedules.

use std::sync::Arc;

use ocelot_core::schedule::{CatchUp, Overlap};
use ocelot_domain::schedule::{Moment, Passed};
use ocelot_proto::wire;
use ocelot_proto::wire::schedule_service_server::ScheduleService;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::page;
use crate::records::ScheduledRun;
use crate::service::{SeenSchedule, Service};

use super::{convert, invalid, person};

const PAGE: u32 = 100;

/// Answers for schedules.
#[derive(Debug, Clone)]
pub struct Schedules {
    service: Arc<Service>,
}

impl Schedules {
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    fn shown(&self, seen: &SeenSchedule) -> wire::Schedule {
        let schedule = &seen.schedule;
        let moment = |moment: Moment| shown(seen, moment);
        wire::Schedule {
            name: seen.name.clone(),
            job: seen.job.clone(),
            cron: schedule.cron.clone(),
            timezone: schedule.timezone.clone(),
            arguments: seen.arguments.clone().into_iter().collect(),
            overlap: overlap(schedule.overlap).into(),
            catch_up: catch_up(schedule.catch_up).into(),
            jitter_ms: schedule.jitter_ms,
            next: seen.next.iter().copied().map(moment).collect(),
            waiting: schedule.mark.waiting.iter().copied().map(moment).collect(),
            runs: schedule.runs.iter().rev().map(|run| self.run(seen, run)).collect(),
            passed: schedule.passed.map(|passed| wire::schedule::Passed {
                moment: Some(moment(passed.moment)),
                why: why(passed.why).into(),
            }),
            paused: schedule.paused.as_ref().map(|paused| wire::schedule::Paused {
                by: paused.by.0.clone(),
                at_unix_us: convert::micros(paused.at),
            }),
            trouble: seen.trouble.clone().unwrap_or_default(),
        }
    }

    fn run(&self, seen: &SeenSchedule, run: &ScheduledRun) -> wire::schedule::ScheduledRun {
        let found = self.service.sight_of(run.run);
        let summary = found.map(|found| convert::summary(&found.run, Some(&found.tasks)));
        // One that has left the live store is known by its id.
        let summary = summary.unwrap_or_else(|| wire::RunSummary {
            id: run.run.as_bytes().to_vec().into(),
            ..wire::RunSummary::default()
        });
        wire::schedule::ScheduledRun {
            run: Some(summary),
            moment: run.moment.map(|moment| shown(seen, moment)),
        }
    }
}

fn shown(seen: &SeenSchedule, moment: Moment) -> wire::schedule::Moment {
    let unix_us = i64::try_from(moment.unix_ms).unwrap_or(i64::MAX).saturating_mul(1000);
    wire::schedule::Moment { unix_us, local: seen.shown(moment) }
}

fn overlap(overlap: Overlap) -> wire::schedule::Overlap {
    match overlap {
        Overlap::Skip => wire::schedule::Overlap::Skip,
        Overlap::Queue => wire::schedule::Overlap::Queue,
        Overlap::Allow => wire::schedule::Overlap::Allow,
    }
}

fn catch_up(catch_up: CatchUp) -> wire::schedule::CatchUp {
    match catch_up {
        CatchUp::None => wire::schedule::CatchUp::None,
        CatchUp::One => wire::schedule::CatchUp::One,
        CatchUp::All => wire::schedule::CatchUp::All,
    }
}

fn why(passed: Passed) -> wire::schedule::passed::Why {
    match passed {
        Passed::Missed => wire::schedule::passed::Why::Missed,
        Passed::GoesOn => wire::schedule::passed::Why::GoesOn,
        Passed::TooMany => wire::schedule::passed::Why::TooMany,
        Passed::Paused => wire::schedule::passed::Why::Paused,
    }
}

/// Returns the schedule behind which a page begins: `JOB/N`.
fn after(token: &str) -> Result<Option<(String, usize)>, Status> {
    let Some(name) = page::after(token)? else { return Ok(None) };
    let parts = name.split_once('/').and_then(|(job, number)| Some((job.to_owned(), number.parse().ok()?)));
    parts.map(Some).ok_or_else(|| invalid("page_token is not one of ours"))
}

#[async_trait::async_trait]
impl ScheduleService for Schedules {
    async fn list_schedules(
        &self,
        request: Request<wire::ListSchedulesRequest>,
    ) -> Result<Response<wire::ListSchedulesResponse>, Status> {
        person(&request)?;
        let wire::ListSchedulesRequest { job, page_size, page_token } = request.into_inner();
        let (limit, after) = (page::size(page_size, PAGE)?, after(&page_token)?);
        self.service.see_latest().await;
        let job = Some(job).filter(|job| !job.is_empty());
        let found = self.service.schedules(job.as_deref(), after.as_ref(), limit);
        let next = found.next.map(|(job, number)| format!("{job}/{number}"));
        let schedules = found.schedules.iter().map(|seen| self.shown(seen)).collect();
        let next_page_token = page::token(next.as_deref());
        Ok(Response::new(wire::ListSchedulesResponse { schedules, next_page_token }))
    }

    async fn get_schedule(
        &self,
        request: Request<wire::GetScheduleRequest>,
    ) -> Result<Response<wire::GetScheduleResponse>, Status> {
        person(&request)?;
        let seen = self.service.schedule(&request.into_inner().name).await.map_err(Error::from)?;
        self.service.see_latest().await;
        Ok(Response::new(wire::GetScheduleResponse { schedule: Some(self.shown(&seen)) }))
    }

    async fn pause_schedule(
        &self,
        request: Request<wire::PauseScheduleRequest>,
    ) -> Result<Response<wire::PauseScheduleResponse>, Status> {
        let by = person(&request)?;
        let seen = self.service.pause_schedule(&request.into_inner().name, &by).await.map_err(Error::from)?;
        Ok(Response::new(wire::PauseScheduleResponse { schedule: Some(self.shown(&seen)) }))
    }

    async fn resume_schedule(
        &self,
        request: Request<wire::ResumeScheduleRequest>,
    ) -> Result<Response<wire::ResumeScheduleResponse>, Status> {
        let by = person(&request)?;
        let seen =
            self.service.resume_schedule(&request.into_inner().name, &by).await.map_err(Error::from)?;
        Ok(Response::new(wire::ResumeScheduleResponse { schedule: Some(self.shown(&seen)) }))
    }

    async fn run_schedule(
        &self,
        request: Request<wire::RunScheduleRequest>,
    ) -> Result<Response<wire::RunScheduleResponse>, Status> {
        let by = person(&request)?;
        let wire::RunScheduleRequest { id, name } = request.into_inner();
        let id = convert::run_id(&id)?;
        let executed = self.service.run_schedule(&name, id, &by).await.map_err(Error::from)?;
        let run = Some(convert::summary(&executed.run, None));
        Ok(Response::new(wire::RunScheduleResponse { run, existed: executed.existed }))
    }
}

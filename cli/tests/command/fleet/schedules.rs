//! Schedules of the fleet that a test scripts.

use ocelot_proto::wire;
use ocelot_proto::wire::schedule_service_server::ScheduleService;
use tonic::{Request, Response, Status};

use super::services::{Answer, Served, none};
use super::{Script, run};

fn found<'a>(script: &'a mut Script, name: &str) -> Result<&'a mut wire::Schedule, Status> {
    let schedules = &mut script.schedules;
    schedules.iter_mut().find(|one| one.name == name).ok_or_else(|| none("schedule", name))
}

#[tonic::async_trait]
impl ScheduleService for Served {
    async fn list_schedules(
        &self,
        request: Request<wire::ListSchedulesRequest>,
    ) -> Answer<wire::ListSchedulesResponse> {
        let script = self.asked("list_schedules", &request)?;
        let job = request.into_inner().job;
        let of = script.schedules.iter().filter(|one| job.is_empty() || one.job == job);
        let schedules = of.cloned().collect();
        Ok(Response::new(wire::ListSchedulesResponse { schedules, next_page_token: String::new() }))
    }

    async fn get_schedule(
        &self,
        request: Request<wire::GetScheduleRequest>,
    ) -> Answer<wire::GetScheduleResponse> {
        let mut script = self.asked("get_schedule", &request)?;
        let schedule = found(&mut script, &request.into_inner().name)?.clone();
        Ok(Response::new(wire::GetScheduleResponse { schedule: Some(schedule) }))
    }

    async fn pause_schedule(
        &self,
        request: Request<wire::PauseScheduleRequest>,
    ) -> Answer<wire::PauseScheduleResponse> {
        let mut script = self.asked("pause_schedule", &request)?;
        let schedule = found(&mut script, &request.into_inner().name)?;
        let paused = wire::schedule::Paused { by: "ada".into(), at_unix_us: super::ago(super::MINUTE) };
        schedule.paused = Some(paused);
        Ok(Response::new(wire::PauseScheduleResponse { schedule: Some(schedule.clone()) }))
    }

    async fn resume_schedule(
        &self,
        request: Request<wire::ResumeScheduleRequest>,
    ) -> Answer<wire::ResumeScheduleResponse> {
        let mut script = self.asked("resume_schedule", &request)?;
        let schedule = found(&mut script, &request.into_inner().name)?;
        schedule.paused = None;
        Ok(Response::new(wire::ResumeScheduleResponse { schedule: Some(schedule.clone()) }))
    }

    async fn run_schedule(
        &self,
        request: Request<wire::RunScheduleRequest>,
    ) -> Answer<wire::RunScheduleResponse> {
        let mut script = self.asked("run_schedule", &request)?;
        let asked = request.into_inner();
        found(&mut script, &asked.name)?;
        script.schedule_runs.push(asked.clone());
        let trigger = wire::Trigger {
            kind: wire::trigger::Kind::Schedule.into(),
            by: "ada".into(),
            schedule: asked.name,
        };
        let run = wire::RunSummary { trigger: Some(trigger), ..run(4, None) };
        Ok(Response::new(wire::RunScheduleResponse { run: Some(run), existed: false }))
    }
}

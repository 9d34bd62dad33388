//! Runs: one, and lists of them.

use axum::Json;
use axum::extract::State;
use ocelot_core::id::ExecutorId;
use ocelot_domain::outcome::Actor;
use ocelot_domain::task::state::Timestamp;
use ocelot_spec::Glob;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::page;
use crate::records::ProgressRecord;
use crate::server::Problem;
use crate::service::{AttemptRef, RunFilter, RunWithTasks};

use super::Rest;
use super::extract::{Asked, At};
use super::refusal::Refusal;
use super::shape::{Beside, Run, RunPage};

const PAGE: u32 = 50;

/// Which runs are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Of this job.
    job: Option<String>,
    /// Of projects whose `owner/name` fits this pattern.
    project: Option<String>,
    /// Of this branch.
    branch: Option<String>,
    /// Of this person, or what else started them.
    by: Option<String>,
    /// Of this concurrency group.
    group: Option<String>,
    /// Only those that failed, timed out or were lost.
    failed: bool,
    /// Accepted at this moment or later: RFC 3339.
    since: Option<String>,
    /// At most 500; 50 if it is not said.
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: String,
}

/// A query that may hold nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl Beside for Rest {
    fn executor(&self, id: ExecutorId) -> Option<String> {
        self.service.executor_name(id)
    }

    fn log_bytes(&self, attempt: &AttemptRef) -> u64 {
        self.logs.known_bytes(attempt)
    }

    fn progress(&self, attempt: &AttemptRef) -> Option<ProgressRecord> {
        self.service.progress_of(attempt)
    }
}

impl Rest {
    async fn shown(&self, text: &str) -> Result<Json<Run>, Refusal> {
        let id = self.find(text).await?;
        let found: RunWithTasks = self.service.run(id).await?;
        let plan = self.service.plan(&found.run).await?;
        Ok(Json(Run::whole(&found, &plan, self)))
    }
}

/// One run with its tasks
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "An id, any unique part of one, `name#number` (write # as %23), or a name for its last run")),
    responses(
        (status = 200, description = "The run", body = Run),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_run(
    State(rest): State<Rest>,
    At(id): At<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<Run>, Refusal> {
    rest.shown(&id).await
}

/// One run of a project, by its number
#[utoipa::path(
    get,
    path = "/api/v1/projects/{owner}/{name}/runs/{number}",
    tag = "runs",
    params(
        ("owner" = String, Path, description = "The project's owner"),
        ("name" = String, Path, description = "The project's name"),
        ("number" = u64, Path, description = "The run's number"),
    ),
    responses(
        (status = 200, description = "The run", body = Run),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_project_run(
    State(rest): State<Rest>,
    At((owner, name, number)): At<(String, String, u64)>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<Run>, Refusal> {
    rest.shown(&format!("{owner}/{name}#{number}")).await
}

/// Runs, the newest first
#[utoipa::path(
    get,
    path = "/api/v1/runs",
    tag = "runs",
    params(Wanted),
    responses(
        (status = 200, description = "One page", body = RunPage),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_runs(
    State(rest): State<Rest>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<RunPage>, Refusal> {
    let (limit, after) = (page::size(wanted.page_size, PAGE)?, page::after_id(&wanted.page_token)?);
    let filter = wanted.filter()?;
    rest.service.see_latest().await;
    let found = rest.service.runs(&filter, after, limit);
    let shown = found.runs.iter().map(|run| {
        let sight = rest.service.sight_of(run.id);
        Run::of(run, sight.as_ref().map(|sight| sight.tasks.as_slice()))
    });
    Ok(Json(RunPage {
        runs: shown.collect(),
        more: found.next.is_some(),
        next_page_token: found.next.map(|next| page::token(Some(&next.to_string()))),
    }))
}

impl Wanted {
    fn filter(self) -> Result<RunFilter, Refusal> {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let project = some(self.project).map(|glob| Glob::compile(&glob)).transpose();
        Ok(RunFilter {
            job: some(self.job),
            project: project.map_err(|why| Refusal::invalid(why.to_string()))?,
            branch: some(self.branch),
            by: some(self.by).map(Actor),
            group: some(self.group),
            finished: None,
            failed: self.failed,
            since: some(self.since).map(|since| moment(&since)).transpose()?,
        })
    }
}

/// Runs are stamped to the millisecond: one accepted within the one that is named counts.
fn moment(text: &str) -> Result<Timestamp, Refusal> {
    let moment = text.parse::<jiff::Timestamp>().ok();
    let unix_ms = moment.and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
    let wrong = || Refusal::invalid(format!("since is a moment such as 2026-09-01T12:00:00Z, not {text:?}"));
    unix_ms.map(|unix_ms| Timestamp { unix_ms }).ok_or_else(wrong)
}

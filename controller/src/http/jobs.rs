//! Jobs: what there are, and the execution of one.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ocelot_core::id::RunId;
use ocelot_domain::outcome::Actor;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::page;
use crate::records::{Trigger, TriggerKind};
use crate::server::Problem;
use crate::service::{ExecuteRequest, Executed};

use super::Rest;
use super::extract::{Asked, At, Sent};
use super::refusal::Refusal;
use super::runs::Nothing;
use super::shape::{Job, JobPage, Run};

const PAGE: u32 = 100;
/// The id of the run, as a header: what makes a repeat of the request harmless.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Which jobs are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// At most 500; 100 if it is not said.
    page_size: u32,
    /// `next_page_token` of the page before.
    page_token: String,
}

/// What a job is executed with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRun {
    /// A UUID, best of version 7, that becomes the run's id. The same request with the same id makes one
    /// run, however often it is sent; without one, each makes another.
    id: Option<String>,
    /// The job's arguments; all are text.
    #[serde(default)]
    arguments: BTreeMap<String, String>,
    /// Variables for this run alone.
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// Jobs, by name
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    tag = "jobs",
    params(Wanted),
    responses(
        (status = 200, description = "One page", body = JobPage),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_jobs(
    State(rest): State<Rest>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<JobPage>, Refusal> {
    let (limit, after) = (page::size(wanted.page_size, PAGE)?, page::after(&wanted.page_token)?);
    rest.service.see_latest().await;
    let found = rest.service.jobs(after.as_deref(), limit);
    Ok(Json(JobPage {
        jobs: found.jobs.iter().map(Job::from).collect(),
        more: found.next.is_some(),
        next_page_token: found.next.map(|next| page::token(Some(&next))),
    }))
}

/// Execute a job
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{job}/runs",
    tag = "jobs",
    params(
        ("job" = String, Path, description = "The job's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "The run's id, if it is not in the body"),
    ),
    request_body = NewRun,
    responses(
        (status = 201, description = "The run is accepted", body = Run, headers(("Location" = String, description = "The run"))),
        (status = 200, description = "An earlier request with this id had made it", body = Run, headers(("Location" = String, description = "The run"))),
        (status = 409, description = "The id was used for something else", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn execute(
    State(rest): State<Rest>,
    Extension(by): Extension<Actor>,
    At(job): At<String>,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    Sent(new): Sent<NewRun>,
) -> Result<Response, Refusal> {
    let id = id_of(new.id.as_deref(), headers.get(IDEMPOTENCY_KEY))?;
    let executed = rest.service.execute(ExecuteRequest {
        id: id.unwrap_or_else(|| rest.service.new_run_id()),
        job,
        arguments: new.arguments,
        env: new.env,
        trigger: Trigger { kind: TriggerKind::Rest, by, schedule: None },
    });
    let Executed { run, existed } = executed.await?;
    let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
    let place = format!("/api/v1/runs/{}", run.id);
    Ok((status, [(header::LOCATION, place)], Json(Run::of(&run, None))).into_response())
}

/// Returns the id that the client brought, in whichever of both places.
fn id_of(body: Option<&str>, header: Option<&HeaderValue>) -> Result<Option<RunId>, Refusal> {
    let wrong = || Refusal::invalid("the id of a run, and so an Idempotency-Key, is a UUID");
    // A draft of the header's standard puts the key in quotes.
    let text = header.map(|key| key.to_str().map(|key| key.trim_matches('"')));
    let header = text.transpose().map_err(|_| wrong())?;
    let parsed = |text: Option<&str>| text.map(|text| text.parse::<RunId>().map_err(|_| wrong())).transpose();
    match (parsed(body)?, parsed(header)?) {
        (Some(body), Some(header)) if body != header => {
            Err(Refusal::invalid("the body's id and the Idempotency-Key are not the same"))
        }
        (body, header) => Ok(body.or(header)),
    }
}

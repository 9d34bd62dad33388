//! What changes in a run, as server-sent events.
//!
//! A stream begins with the run as it is, so a reader that comes back needs no place to go on from.
//! It is read as fast as its reader reads: nobody waits for it, and nothing is kept for it but which
//! run changed.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt, stream};
use ocelot_core::id::RunId;
use serde::Serialize;
use serde_json::json;

use crate::api_error::shown;
use crate::error::Error;
use crate::server::Problem;
use crate::service::RunWithTasks;
use crate::store::view::Changes;

use super::Rest;
use super::extract::{Asked, At};
use super::refusal::Refusal;
use super::runs::Nothing;
use super::shape::{Run, Task};

/// How often a silent stream shows that it is alive: more often than what lies between gives up.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);

pub(super) fn heartbeat() -> KeepAlive {
    KeepAlive::new().interval(HEARTBEAT)
}

/// Returns an event of this name with a document.
pub(super) fn event(name: &str, document: &impl Serialize) -> Event {
    let json = serde_json::to_string(document).expect("what is shown has only text keys");
    Event::default().event(name).data(json)
}

/// Tells a reader why its stream ends before what it reads does.
pub(super) fn broken(error: &Error) -> Event {
    event("error", &json!({ "code": shown(error.kind()).word, "detail": error.to_string() }))
}

/// One reader of one run.
struct Watch {
    rest: Rest,
    id: RunId,
    news: Changes,
    /// None before the first look.
    told: Option<(Run, Vec<Task>)>,
}

/// Changes of a run, until it ends
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}/events",
    tag = "runs",
    params(("id" = String, Path, description = "As for one run")),
    responses(
        (status = 200, content_type = "text/event-stream", body = String,
         description = "Server-sent events: `run` (a run without its tasks) and `task` (one task), first as they are and then whenever they change; `outcome` (a run without its tasks) is the last; `error` ends a stream that breaks off. A comment every 15 s"),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn run_events(
    State(rest): State<Rest>,
    At(id): At<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let id = rest.find(&id).await?;
    let news = rest.service.news();
    let first = rest.service.run(id).await?;
    let watch = Watch { rest, id, news, told: None };
    let events = stream::unfold(Some((watch, Some(first))), |state| async move {
        let (watch, first) = state?;
        Some(watch.step(first).await)
    });
    Ok(Sse::new(events.flat_map(stream::iter).map(Ok)).keep_alive(heartbeat()))
}

impl Watch {
    /// Returns the next events, and what goes on after them.
    async fn step(
        mut self,
        first: Option<RunWithTasks>,
    ) -> (Vec<Event>, Option<(Self, Option<RunWithTasks>)>) {
        let found = match first {
            Some(found) => Ok(found),
            None => {
                let draining = self.rest.tasks.clone();
                tokio::select! {
                    found = self.rest.service.next_sight(self.id, &mut self.news) => found.map_err(Error::from),
                    () = draining.draining() => Err(Error::leaving()),
                }
            }
        };
        let told = match found {
            Ok(found) => self.tell(&found).await.map(|events| (events, found.run.is_finished())),
            Err(error) => Err(error),
        };
        match told {
            Ok((events, true)) => (events, None),
            Ok((events, false)) => (events, Some((self, None))),
            Err(error) => (vec![broken(&error)], None),
        }
    }

    async fn tell(&mut self, found: &RunWithTasks) -> Result<Vec<Event>, Error> {
        let plan = self.rest.service.plan(&found.run).await?;
        let run = Run::of(&found.run, Some(&found.tasks));
        let tasks = Task::all(found, &plan, &self.rest);
        let (told_run, told_tasks) = self.told.take().unzip();
        let told_tasks = told_tasks.unwrap_or_default();
        let mut events = Vec::new();
        if told_run.as_ref() != Some(&run) {
            events.push(event("run", &run));
        }
        let changed = tasks.iter().filter(|task| !told_tasks.contains(task));
        events.extend(changed.map(|task| event("task", task)));
        if found.run.is_finished() {
            events.push(event("outcome", &run));
        }
        self.told = Some((run, tasks));
        Ok(events)
    }
}

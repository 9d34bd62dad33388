//! Logs: what is there of one, by range, and what comes, as server-sent events.
//!
//! A log is read as its reader takes it and never ahead, so a slow reader holds up nobody.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response, Sse};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use ocelot_core::id::RunId;
use ocelot_core::plan::{TaskPlan, Work};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::{Error, Kind};
use crate::server::Problem;
use crate::service::RunWithTasks;

use super::events::{broken, event, heartbeat};
use super::extract::{Asked, At};
use super::log::{Form, Place, Scribe};
use super::range::{ByteRange, Part};
use super::refusal::Refusal;
use super::shape::{LogEnd, LogLine, Loss, Outcome};
use super::{LogPiece, LogPieces, LogWanted, Rest};

/// Which log is wanted, from where, and how.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The task's name or its place; a run of one task needs none.
    task: Option<String>,
    /// The number of the attempt, or the next one that began; the newest if it is not said.
    attempt: u32,
    /// A place in the log: `next` of an entry.
    offset: u64,
    /// As the job wrote it, with every control that it holds.
    raw: bool,
}

/// One log that is read.
struct Reading {
    pieces: LogPieces,
    scribe: Scribe,
    form: Form,
}

/// The log of a task, as far as it is there
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}/log",
    tag = "logs",
    params(
        ("id" = String, Path, description = "As for one run"),
        Wanted,
        ("Accept" = Option<String>, Header, description = "`application/json` for an entry on each line"),
        ("Range" = Option<String>, Header, description = "`bytes=`: a part of the answer, of at most 4 MiB; Content-Range tells what it is"),
    ),
    responses(
        (status = 200, description = "What the job wrote, or one entry on each line", content(
            (String = "text/plain"), (Vec<u8> = "application/octet-stream"), (LogLine = "application/x-ndjson"),
        )),
        (status = 206, description = "A part of it", body = String, content_type = "text/plain"),
        (status = 416, description = "The part begins behind the end", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get_log(
    State(rest): State<Rest>,
    At(id): At<String>,
    Asked(wanted): Asked<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let form = if accepts_json(&headers) { Form::Lines } else { Form::Text };
    let place = Place::new(wanted.attempt, wanted.offset);
    let (reading, _) = rest.open((&id, &wanted), &place, form, false).await?;
    let kind = match (form, wanted.raw) {
        (Form::Lines, _) => "application/x-ndjson",
        (Form::Text, true) => "application/octet-stream",
        (Form::Text, false) => "text/plain; charset=utf-8",
    };
    let kind = [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::ACCEPT_RANGES, "bytes"),
    ];
    // Asked before the answer begins, so that what cannot be read is an error of the call.
    let mut whole = Box::pin(reading.written().peekable());
    if whole.as_mut().peek().await.is_some_and(Result::is_err)
        && let Some(Err(error)) = whole.next().await
    {
        return Err(error.into());
    }
    // There is no validator that If-Range could name, so it never holds.
    let range = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE));
    let Some(range) = range.and_then(|range| ByteRange::parse(range.to_str().ok()?)) else {
        return Ok((kind, Body::from_stream(whole)).into_response());
    };
    match range.collect(whole).await? {
        Part::Found { first, bytes, total } => {
            let last = first + (bytes.len() as u64).saturating_sub(1);
            let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
            let part = [(header::CONTENT_RANGE, format!("bytes {first}-{last}/{total}"))];
            Ok((StatusCode::PARTIAL_CONTENT, kind, part, bytes).into_response())
        }
        Part::Beyond { total } => {
            let error = Error::new(Kind::Invalid, format!("there are {total} bytes of it now"));
            let there =
                HeaderValue::try_from(format!("bytes */{total}")).expect("digits are a header's value");
            Err(Refusal::with(StatusCode::RANGE_NOT_SATISFIABLE, error).and(header::CONTENT_RANGE, there))
        }
    }
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = accepted.flat_map(|value| value.split(','));
    let mut kinds = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    kinds.any(|kind| matches!(kind, "application/json" | "application/x-ndjson"))
}

impl Rest {
    /// Opens a log; with the names and ids that its entries bear.
    async fn open(
        &self,
        (id, wanted): (&str, &Wanted),
        place: &Place,
        form: Form,
        follow: bool,
    ) -> Result<(Reading, (RunId, u32, String)), Refusal> {
        let run = self.find(id).await?;
        let found = self.service.run(run).await?;
        let plan = self.service.plan(&found.run).await?;
        let (index, planned) = chosen(wanted.task.as_deref(), &plan.tasks)?;
        let Place { attempt, offset, .. } = *place;
        let pieces = self.logs.read(LogWanted { run, task: index, attempt, offset, follow }).await?;
        let scribe = Scribe::new(planned.name.clone(), stages(planned), place, wanted.raw);
        Ok((Reading { pieces, scribe, form }, (run, index, planned.name.clone())))
    }

    /// Waits until it is known how an attempt ended.
    async fn fate(&self, run: RunId, index: u32, attempt: u32) -> Result<Option<Outcome>, Error> {
        let mut news = self.service.news();
        let mut found: RunWithTasks = self.service.run(run).await?;
        loop {
            let task = found.tasks.iter().find(|task| task.id.index == index);
            let ended =
                task.and_then(|task| task.ended.iter().find(|ended| ended.attempt.number() == attempt));
            let outcome = ended.map(|ended| &ended.outcome).or_else(|| task.and_then(|task| task.outcome()));
            if outcome.is_some() || found.run.is_finished() {
                return Ok(outcome.map(Outcome::from));
            }
            found = tokio::select! {
                found = self.service.next_sight(run, &mut news) => found?,
                () = self.tasks.draining() => return Err(Error::leaving()),
            };
        }
    }
}

/// Finds a task by its name or its place.
fn chosen<'a>(task: Option<&str>, tasks: &'a [TaskPlan]) -> Result<(u32, &'a TaskPlan), Refusal> {
    let numbered = || (0_u32..).zip(tasks);
    let names = || tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match (task, tasks) {
        (None, [_]) => numbered().next(),
        (None, _) => {
            return Err(Refusal::invalid(format!("say which task of the run; its tasks: {}", names())));
        }
        (Some(task), _) => {
            let named = numbered().find(|(_, planned)| planned.name == task);
            named.or_else(|| numbered().find(|(index, _)| task.parse() == Ok(*index)))
        }
    };
    found.ok_or_else(|| {
        let why = format!("the run has no task {:?}; its tasks: {}", task.unwrap_or_default(), names());
        Error::new(Kind::NotFound, why).into()
    })
}

fn stages(planned: &TaskPlan) -> Vec<String> {
    match &planned.work {
        Work::Stages { stages, .. } => stages.iter().map(|stage| stage.name.clone()).collect(),
        Work::Command(_) => vec!["command".to_owned()],
    }
}

impl Reading {
    /// Returns the log as its reader wants it, to its end.
    fn written(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        stream::unfold(Some(self), |reading| async move {
            let mut reading = reading?;
            match reading.pieces.next().await {
                Some(Ok(piece)) => match reading.write(&piece) {
                    Ok(bytes) => Some((Ok(bytes), Some(reading))),
                    Err(error) => Some((Err(error), None)),
                },
                Some(Err(error)) => Some((Err(error), None)),
                None => Some((Ok(reading.end()), None)),
            }
        })
    }

    fn write(&mut self, piece: &LogPiece) -> Result<Bytes, Error> {
        match self.form {
            Form::Text => self.scribe.text(&piece.frames).map(Bytes::from),
            Form::Lines => {
                let lines = self.scribe.lines(piece.attempt, &piece.frames)?;
                Ok(lines.iter().flat_map(|(line, _)| on_a_line(line)).collect())
            }
        }
    }

    fn end(&mut self) -> Bytes {
        match self.form {
            Form::Text => self.scribe.rest().into(),
            Form::Lines => self.scribe.rest_lines().iter().flat_map(on_a_line).collect(),
        }
    }
}

fn on_a_line(line: &LogLine) -> Vec<u8> {
    let mut json = serde_json::to_vec(line).expect("an entry has only text keys");
    json.push(b'\n');
    json
}

/// One reader that follows a log.
struct Following {
    rest: Rest,
    reading: Reading,
    of: (RunId, u32, String),
    /// The attempt whose log is over, with what is missing of it.
    over: Option<(u32, Option<Loss>)>,
}

/// The log of a task, and what comes to it until it ends
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}/log/stream",
    tag = "logs",
    params(
        ("id" = String, Path, description = "As for one run"),
        Wanted,
        ("Last-Event-ID" = Option<String>, Header, description = "Goes on after this event; it comes before the query"),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = String,
         description = "Server-sent events: `log` (an entry), then `outcome` (how the attempt ended) as the last; `error` ends a stream that breaks off: ask again with the last id. An id is `attempt:offset`. A comment every 15 s"),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn stream_log(
    State(rest): State<Rest>,
    At(id): At<String>,
    Asked(wanted): Asked<Wanted>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let last = headers.get("last-event-id").filter(|last| !last.is_empty());
    let place = match last {
        Some(last) => last.to_str().unwrap_or_default().parse::<Place>()?,
        None => Place::new(wanted.attempt, wanted.offset),
    };
    let (reading, of) = rest.open((&id, &wanted), &place, Form::Lines, true).await?;
    let events = stream::unfold(Some(Following { rest, reading, of, over: None }), |following| async move {
        let mut following = following?;
        match following.step().await {
            Ok((events, false)) => Some((events, Some(following))),
            Ok((events, true)) => Some((events, None)),
            Err(error) => Some((vec![broken(&error)], None)),
        }
    });
    Ok(Sse::new(events.flat_map(stream::iter).map(Ok)).keep_alive(heartbeat()))
}

impl Following {
    /// Returns the next events, and whether they are the last.
    async fn step(&mut self) -> Result<(Vec<Event>, bool), Error> {
        if let Some((attempt, loss)) = self.over.take() {
            return Ok((vec![self.last(attempt, loss).await?], true));
        }
        let Some(piece) = self.reading.pieces.next().await else { return Ok((Vec::new(), true)) };
        let LogPiece { attempt, frames, complete, loss } = piece?;
        let lines = self.reading.scribe.lines(attempt, &frames)?;
        let shown = lines.iter().map(|(line, place)| event("log", line).id(place.to_string()));
        let mut events: Vec<Event> = shown.collect();
        if complete {
            events.extend(self.reading.scribe.rest_lines().iter().map(|line| event("log", line)));
            self.over = Some((attempt, loss.map(|(at, reason)| Loss { at, reason })));
        }
        Ok((events, false))
    }

    /// Waits for how the attempt ended: what it wrote is told already.
    async fn last(&mut self, attempt: u32, log_loss: Option<Loss>) -> Result<Event, Error> {
        let (run, index, task) = &self.of;
        let outcome = self.rest.fate(*run, *index, attempt).await?;
        Ok(event("outcome", &LogEnd { task: task.clone(), attempt, outcome, log_loss }))
    }
}

//! Streams that mend themselves: the changes of a run, and a log from an offset.
//!
//! When a connection breaks, the next one goes on where this one was. A log's bytes come once and in
//! order, whichever controllers sent them.

use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use ocelot_core::id::RunId;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::by_id;
use crate::client::{Client, is_lost, pause, refused};
use crate::error::Error;
use crate::words;

/// For so long in a row nobody may answer.
const MENDING: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
pub(crate) enum WatchEvent {
    Changed(Box<wire::WatchRunResponse>),
    Broken,
    Failed(Box<Error>),
}

#[derive(Debug)]
pub(crate) enum LogEvent {
    /// Whole frames, exactly those that follow the piece before.
    Piece(wire::ReadLogResponse),
    /// There is no such log yet; the run will say when to ask again.
    NotYet,
    /// Nothing follows.
    Over,
    Broken,
    Failed(Box<Error>),
}

/// How long it has been broken, and how often in a row.
#[derive(Debug, Default)]
struct Mending {
    failures: u32,
    since: Option<Instant>,
}

impl Mending {
    fn whole(&mut self) {
        *self = Self::default();
    }

    /// Waits before the next try; false if it took too long altogether.
    async fn again(&mut self) -> bool {
        let now = SystemClock.monotonic();
        let since = *self.since.get_or_insert(now);
        self.failures += 1;
        if now - since > MENDING {
            return false;
        }
        if self.failures > 1 {
            SystemClock.sleep(pause(self.failures - 1)).await;
        }
        true
    }
}

/// What a try to go on came to.
enum Step<T> {
    Got(T),
    Again,
    Ended,
    Failed(Box<Error>),
}

/// Judges a broken or refused stream.
fn judge<T>(client: &Client, number: u64, doing: &str, status: &Status) -> Step<T> {
    if is_lost(status) {
        client.leave(number);
        return Step::Again;
    }
    Step::Failed(Box::new(refused(doing, status, client.target())))
}

fn gone(client: &Client, doing: &str) -> Error {
    let status = Status::unavailable("nobody answered for minutes");
    refused(doing, &status, client.target())
}

struct Watch {
    client: Client,
    id: RunId,
    stream: Option<(u64, Streaming<wire::WatchRunResponse>)>,
    mending: Mending,
    told_broken: bool,
    over: bool,
}

/// Tells each change of a run until it has ended.
pub(super) fn watch(client: Client, id: RunId) -> impl Stream<Item = WatchEvent> + Send {
    let mending = Mending::default();
    let watch = Watch { client, id, stream: None, mending, told_broken: false, over: false };
    unfold(watch, async |mut watch| {
        let event = watch.next().await?;
        Some((event, watch))
    })
}

impl Watch {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if self.over {
                return None;
            }
            match self.step().await {
                Step::Got(change) => {
                    self.mending.whole();
                    self.told_broken = false;
                    self.over = change.run.as_ref().is_some_and(|run| words::run_outcome(run).is_some());
                    return Some(WatchEvent::Changed(Box::new(change)));
                }
                Step::Failed(error) => {
                    self.over = true;
                    return Some(WatchEvent::Failed(error));
                }
                Step::Again | Step::Ended => {
                    self.stream = None;
                    if self.mending.failures > 0 && !self.told_broken {
                        self.told_broken = true;
                        return Some(WatchEvent::Broken);
                    }
                    if !self.mending.again().await {
                        self.over = true;
                        return Some(WatchEvent::Failed(Box::new(gone(&self.client, "follow the run"))));
                    }
                }
            }
        }
    }

    async fn step(&mut self) -> Step<wire::WatchRunResponse> {
        let (number, stream) = match &mut self.stream {
            Some(open) => (open.0, &mut open.1),
            None => {
                let Ok(api) = self.client.api().await else { return Step::Again };
                let request = wire::WatchRunRequest { run: Some(by_id(self.id)) };
                match api.runs().watch_run(request).await {
                    Ok(answer) => {
                        let open = self.stream.insert((api.number(), answer.into_inner()));
                        (open.0, &mut open.1)
                    }
                    Err(status) => return judge(&self.client, api.number(), "follow the run", &status),
                }
            }
        };
        match stream.message().await {
            Ok(Some(change)) => Step::Got(change),
            Ok(None) => Step::Ended,
            Err(status) => judge(&self.client, number, "follow the run", &status),
        }
    }
}

/// One log to read: which, from where, and whether to wait for more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogReader {
    pub(crate) id: RunId,
    pub(crate) task: u32,
    /// 0: the newest.
    pub(crate) attempt: u32,
    pub(crate) offset: u64,
    pub(crate) follow: bool,
}

struct Reading {
    reader: LogReader,
    client: Client,
    stream: Option<(u64, Streaming<wire::ReadLogResponse>)>,
    mending: Mending,
    told_broken: bool,
    over: bool,
}

impl LogReader {
    /// Reads the log; the stream ends after its last event.
    pub(crate) fn read(self, client: Client) -> impl Stream<Item = LogEvent> + Send {
        let mending = Mending::default();
        let reading =
            Reading { reader: self, client, stream: None, mending, told_broken: false, over: false };
        unfold(reading, async |mut reading| {
            let event = reading.next().await?;
            Some((event, reading))
        })
    }
}

impl Reading {
    async fn next(&mut self) -> Option<LogEvent> {
        loop {
            if self.over {
                return None;
            }
            match self.step().await {
                Step::Got(piece) => {
                    self.mending.whole();
                    self.told_broken = false;
                    if let Some(piece) = self.take(piece) {
                        return Some(LogEvent::Piece(piece));
                    }
                }
                Step::Ended if !self.reader.follow => {
                    self.over = true;
                    return Some(LogEvent::Over);
                }
                Step::Failed(error) => {
                    self.over = true;
                    return Some(LogEvent::Failed(error));
                }
                Step::Again | Step::Ended => {
                    self.stream = None;
                    if self.over {
                        return Some(LogEvent::NotYet);
                    }
                    if self.mending.failures > 0 && !self.told_broken {
                        self.told_broken = true;
                        return Some(LogEvent::Broken);
                    }
                    if !self.mending.again().await {
                        self.over = true;
                        return Some(LogEvent::Failed(Box::new(gone(&self.client, "read the log"))));
                    }
                }
            }
        }
    }

    /// Takes a piece over: cuts off what came before already, and notes where to go on.
    fn take(&mut self, mut piece: wire::ReadLogResponse) -> Option<wire::ReadLogResponse> {
        let end = piece.offset + piece.frames.len() as u64;
        if piece.offset < self.reader.offset && !piece.frames.is_empty() {
            let known = (self.reader.offset - piece.offset).min(piece.frames.len() as u64);
            drop(piece.frames.split_to(usize::try_from(known).unwrap_or(usize::MAX)));
            piece.offset += known;
        }
        self.reader.offset = self.reader.offset.max(end);
        if piece.attempt > 0 {
            self.reader.attempt = piece.attempt;
        }
        self.over = piece.complete;
        (!piece.frames.is_empty() || piece.complete).then_some(piece)
    }

    async fn step(&mut self) -> Step<wire::ReadLogResponse> {
        let (number, stream) = match &mut self.stream {
            Some(open) => (open.0, &mut open.1),
            None => {
                let Ok(api) = self.client.api().await else { return Step::Again };
                let LogReader { id, task, attempt, offset, follow } = self.reader;
                let request = wire::ReadLogRequest { run: Some(by_id(id)), task, attempt, offset, follow };
                match api.runs().read_log(request).await {
                    Ok(answer) => {
                        let open = self.stream.insert((api.number(), answer.into_inner()));
                        (open.0, &mut open.1)
                    }
                    Err(status) => return self.refused(api.number(), &status),
                }
            }
        };
        match stream.message().await {
            Ok(Some(piece)) => Step::Got(piece),
            Ok(None) => Step::Ended,
            Err(status) => self.refused(number, &status),
        }
    }

    fn refused(&mut self, number: u64, status: &Status) -> Step<wire::ReadLogResponse> {
        let none_yet = matches!(status.code(), Code::NotFound | Code::FailedPrecondition);
        if self.reader.follow && none_yet && !is_lost(status) {
            self.over = true;
            return Step::Again;
        }
        judge(&self.client, number, "read the log", status)
    }
}

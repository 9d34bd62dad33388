//! Reading logs, whichever controller has them.
//!
//! The live end of a log is at the controller that its executor sends to, and it moves when that one
//! dies. Nobody has to know where it is: a reader is fed by this controller's own log and by every
//! other controller at once. The sequence of bytes is fixed, so whoever has the next ones first is
//! right, and what another one sends later is dropped by its offset.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, SelectAll, StreamExt};
use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
use ocelot_domain::task::state::LogEnd;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::error::{Error, Kind};
use crate::service::logs::{Chunk, Follow, LogId, Logs};
use crate::service::{AttemptRef, Service};

use super::client::{find, stopping};
use super::convert;
use super::peers::Peers;
use super::pick::{Pick, pick};
use super::{Answers, invalid};

/// How often it is looked whether another controller has come, and whether the log can still end.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so much silence the shared home of bytes is asked, too.
const SILENCE: Duration = Duration::from_secs(3);

/// Reads logs for people and for other controllers.
#[derive(Debug, Clone)]
pub struct LogReaders {
    service: Arc<Service>,
    logs: Arc<Logs>,
    peers: Arc<Peers>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
}

/// What one reader wants.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    log: LogId,
    offset: u64,
    follow: Follow,
}

/// What one source says.
#[derive(Debug)]
enum Heard {
    Piece(Piece),
    Failed(Status),
    /// It has no more.
    Ended,
}

#[derive(Debug)]
struct Piece {
    offset: u64,
    frames: Bytes,
    complete: bool,
    loss: Option<wire::LogLoss>,
}

/// Everything that one reader is fed by.
struct Sources {
    /// By name of the controller; none is this one.
    open: SelectAll<BoxStream<'static, (Option<String>, Heard)>>,
    names: BTreeSet<Option<String>>,
}

type Sender = mpsc::Sender<Result<wire::ReadLogResponse, Status>>;

impl LogReaders {
    pub fn new(
        service: Arc<Service>,
        logs: Arc<Logs>,
        peers: Arc<Peers>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Self {
        Self { service, logs, peers, clock, tasks }
    }

    /// Returns how much of an attempt's log is open here.
    pub fn known_bytes(&self, attempt: &AttemptRef) -> u64 {
        self.logs.glance(log_id(attempt)).map_or(0, |progress| progress.visible)
    }

    /// Streams a log, from wherever it is.
    pub async fn read(
        &self,
        mut request: wire::ReadLogRequest,
    ) -> Result<Answers<wire::ReadLogResponse>, Status> {
        let run = find(&self.service, request.run.take()).await?;
        let id = TaskId { run, index: request.task };
        let found = self.service.run(run).await.map_err(Error::from)?;
        if request.task as usize >= found.run.plan.tasks() {
            let last = found.run.plan.tasks().saturating_sub(1);
            let why = format!("the run has no task {}; its last one is {last}", request.task);
            return Err(Error::new(Kind::NotFound, why).into());
        }
        let task = found.tasks.iter().find(|task| task.id == id);
        let pick = task.map_or(Pick::NotYet, |task| pick(task, request.attempt));
        if request.attempt > 0 && pick != Pick::NotYet && !matches!(pick, Pick::Attempt(..)) {
            let why = format!("the task has no attempt {}", request.attempt);
            return Err(Error::new(Kind::NotFound, why).into());
        }
        let (answers, received) = mpsc::channel(4);
        let own = self.clone();
        self.tasks.spawn("read-log", async move { own.serve(id, pick, &request, answers).await });
        Ok(Box::pin(ReceiverStream::new(received)))
    }

    /// Streams what this controller itself has of a log, for another one.
    pub(super) async fn read_here(
        &self,
        request: wire::ReadLogRequest,
    ) -> Result<Answers<wire::ReadLogResponse>, Status> {
        let run = match request.run.and_then(|run| run.reference) {
            Some(wire::run_reference::Reference::Id(id)) => convert::run_id(&id)?,
            Some(wire::run_reference::Reference::Text(_)) | None => {
                return Err(invalid("a controller names a run by its id"));
            }
        };
        let attempt = Attempt::new(request.attempt).ok_or_else(|| invalid("which attempt?"))?;
        let epoch = self.epoch_of(run, request.task).await?;
        let log = LogId { task: TaskId { run, index: request.task }, attempt, epoch };
        let follow = if request.follow { Follow::ToTheEnd } else { Follow::No };
        let own = self.own(Wanted { log, offset: request.offset, follow }).await?;
        let draining = self.tasks.clone();
        let number = request.attempt;
        let answers = own.filter_map(move |(_, heard)| async move {
            match heard {
                Heard::Piece(piece) => Some(Ok(answer(number, piece))),
                Heard::Failed(status) => Some(Err(status)),
                Heard::Ended => None,
            }
        });
        Ok(Box::pin(answers.take_until(async move { draining.draining().await })))
    }

    async fn epoch_of(&self, run: RunId, index: u32) -> Result<Epoch, Status> {
        let found = self.service.run(run).await.map_err(Error::from)?;
        let task = found.tasks.iter().find(|task| task.id.index == index);
        let task = task.ok_or_else(|| Status::from(Error::new(Kind::NotFound, "there is no such task")))?;
        Ok(task.epoch)
    }

    async fn serve(self, id: TaskId, pick: Pick, request: &wire::ReadLogRequest, answers: Sender) {
        let served = tokio::select! {
            served = self.copy(id, pick, request, &answers) => served,
            () = answers.closed() => return,
            () = self.tasks.draining() => Err(stopping()),
        };
        if let Err(status) = served {
            // Whoever is gone needs no reason.
            drop(answers.send(Err(status)).await);
        }
    }

    async fn copy(
        &self,
        id: TaskId,
        pick: Pick,
        request: &wire::ReadLogRequest,
        answers: &Sender,
    ) -> Result<(), Status> {
        let pick = match pick {
            Pick::NotYet if request.follow => self.begun(id, request.attempt).await?,
            pick => pick,
        };
        let (attempt, epoch) = match pick {
            Pick::Attempt(attempt, epoch) => (attempt, epoch),
            Pick::NotYet | Pick::Never => {
                let complete = pick == Pick::Never;
                let nothing = Piece { offset: request.offset, frames: Bytes::new(), complete, loss: None };
                drop(answers.send(Ok(answer(0, nothing))).await);
                return Ok(());
            }
        };
        let follow = if request.follow { Follow::ToTheEnd } else { Follow::No };
        let log = LogId { task: id, attempt, epoch };
        self.merge(Wanted { log, offset: request.offset, follow }, answers).await
    }

    /// Waits until the task has an attempt to read, or can have none any more.
    async fn begun(&self, id: TaskId, attempt: u32) -> Result<Pick, Status> {
        let mut news = self.service.news();
        loop {
            news.next().await;
            let sight = match self.service.sight_of(id.run) {
                Some(sight) => sight,
                None => self.service.run(id.run).await.map_err(Error::from)?,
            };
            match sight.tasks.iter().find(|task| task.id == id).map(|task| pick(task, attempt)) {
                Some(pick @ (Pick::Attempt(..) | Pick::Never)) => return Ok(pick),
                Some(Pick::NotYet) | None => {}
            }
        }
    }

    /// Sends the bytes in order, from whichever source has them first.
    async fn merge(&self, wanted: Wanted, answers: &Sender) -> Result<(), Status> {
        let number = wanted.log.attempt.number();
        let mut at = wanted.offset;
        let mut sources = Sources { open: SelectAll::new(), names: BTreeSet::new() };
        if wanted.follow == Follow::No {
            self.fetch(wanted.log).await;
        }
        sources.add(None, self.own(wanted).await?);
        self.reach_out(&mut sources, wanted).await;
        let mut last_heard = self.clock.monotonic();
        loop {
            let heard = tokio::select! {
                heard = sources.open.next() => heard,
                () = self.clock.sleep(LOOK_EVERY) => {
                    let silent = self.clock.monotonic() - last_heard >= SILENCE;
                    if let Some(last) = self.look(&mut sources, Wanted { offset: at, ..wanted }, silent).await? {
                        drop(answers.send(Ok(answer(number, last))).await);
                        return Ok(());
                    }
                    continue;
                }
            };
            match heard {
                Some((_, Heard::Piece(piece))) => {
                    let Some(new) = piece.behind(at) else { continue };
                    (at, last_heard) = (at + new.frames.len() as u64, self.clock.monotonic());
                    let complete = new.complete;
                    if answers.send(Ok(answer(number, new))).await.is_err() || complete {
                        return Ok(());
                    }
                }
                Some((name, Heard::Ended)) => _ = sources.names.remove(&name),
                Some((None, Heard::Failed(status))) => return Err(status),
                Some((name, Heard::Failed(status))) => {
                    tracing::debug!(controller = name, %status, "a log cannot be read there");
                    sources.names.remove(&name);
                }
                None if wanted.follow == Follow::No => return Ok(()),
                None => self.clock.sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Fetches what a controller that is gone has put into the home of bytes since the log was opened here.
    async fn fetch(&self, log: LogId) {
        let is_open = self.logs.glance(log).is_some_and(|progress| !progress.ended);
        if is_open && let Err(error) = self.logs.refresh(log).await {
            tracing::warn!(%log, %error, "of the log of {log} only what controllers have can be read");
        }
    }

    /// Looks for other sources, and for the end of a log that nobody sends any more.
    async fn look(
        &self,
        sources: &mut Sources,
        wanted: Wanted,
        silent: bool,
    ) -> Result<Option<Piece>, Status> {
        if wanted.follow == Follow::No {
            return Ok(None);
        }
        self.reach_out(sources, wanted).await;
        if !silent {
            return Ok(None);
        }
        self.logs.refresh(wanted.log).await.map_err(Error::from)?;
        let progress = self.logs.progress(wanted.log).await.map_err(Error::from)?;
        if progress.ended || progress.visible > wanted.offset {
            return Ok(None);
        }
        Ok(self.abandoned(wanted).await)
    }

    /// Returns the last word on a log whose attempt was taken away and that nobody has ended.
    async fn abandoned(&self, wanted: Wanted) -> Option<Piece> {
        let sight = self.service.sight_of(wanted.log.task.run)?;
        let task = sight.tasks.iter().find(|task| task.id == wanted.log.task)?;
        let ended = task.ended.iter().find(|ended| ended.attempt == wanted.log.attempt)?;
        let reason = match ended.completion.as_ref().map(|completed| &completed.log) {
            Some(LogEnd::Whole { bytes, .. }) if *bytes > wanted.offset => return None,
            Some(LogEnd::Whole { .. }) => None,
            Some(LogEnd::Truncated { why, .. }) => Some(why.clone()),
            None => Some("the attempt was taken from its executor before its log was whole".to_owned()),
        };
        let loss = reason.map(|reason| wire::LogLoss { at: wanted.offset, reason });
        Some(Piece { offset: wanted.offset, frames: Bytes::new(), complete: true, loss })
    }

    /// Opens the log at every other controller where it is not open.
    async fn reach_out(&self, sources: &mut Sources, wanted: Wanted) {
        for other in self.peers.others() {
            let name = Some(other.name.clone());
            if sources.names.contains(&name) {
                continue;
            }
            let run = wanted.log.task.run.as_bytes().to_vec().into();
            let reference = wire::run_reference::Reference::Id(run);
            let request = wire::ReadLogRequest {
                run: Some(wire::RunReference { reference: Some(reference) }),
                task: wanted.log.task.index,
                attempt: wanted.log.attempt.number(),
                offset: wanted.offset,
                follow: wanted.follow == Follow::ToTheEnd,
            };
            let (peers, said) = (Arc::clone(&self.peers), name.clone());
            // Connecting is a part of the stream: one that hangs holds up no other.
            let opened = stream::once(async move { peers.read_log(&other, request).await });
            let heard = opened.flat_map(|opened| match opened {
                Ok(answers) => answers.map(heard).left_stream(),
                Err(status) => stream::iter([Heard::Failed(status)]).right_stream(),
            });
            let heard = heard.chain(stream::iter([Heard::Ended]));
            sources.add(name, heard.map(move |heard| (said.clone(), heard)).boxed());
        }
    }

    /// Returns what this controller has.
    async fn own(&self, wanted: Wanted) -> Result<BoxStream<'static, (Option<String>, Heard)>, Status> {
        let reader = self.logs.read(wanted.log, wanted.offset, wanted.follow).await.map_err(Error::from)?;
        let (logs, log) = (Arc::clone(&self.logs), wanted.log);
        let pieces = stream::unfold(Some(reader), move |reader| {
            let logs = Arc::clone(&logs);
            async move {
                let mut reader = reader?;
                match reader.next().await {
                    Ok(None) => Some((Heard::Ended, None)),
                    Ok(Some(Chunk { offset, frames, complete })) => {
                        let loss = if complete { loss_of(&logs, log).await } else { None };
                        Some((Heard::Piece(Piece { offset, frames, complete, loss }), Some(reader)))
                    }
                    Err(error) => Some((Heard::Failed(Error::from(error).into()), None)),
                }
            }
        });
        Ok(pieces.map(|heard| (None, heard)).boxed())
    }
}

impl Sources {
    fn add(&mut self, name: Option<String>, source: BoxStream<'static, (Option<String>, Heard)>) {
        self.names.insert(name);
        self.open.push(source);
    }
}

impl Piece {
    /// Returns what of the piece comes at `at` or later; none if that is nothing.
    fn behind(self, at: u64) -> Option<Self> {
        let known = at.checked_sub(self.offset)?;
        let length = self.frames.len() as u64;
        if known > length || (known == length && !self.complete) {
            return None;
        }
        // Every source cuts at frames, so what is known ends where one does.
        let frames = self.frames.slice(usize::try_from(known).ok()?..);
        Some(Self { offset: at, frames, ..self })
    }
}

async fn loss_of(logs: &Logs, log: LogId) -> Option<wire::LogLoss> {
    let end = logs.ended(log).await.ok().flatten()?;
    end.loss.map(|loss| wire::LogLoss { at: loss.at, reason: loss.reason })
}

fn heard(answer: Result<wire::ReadLogResponse, Status>) -> Heard {
    match answer {
        Ok(wire::ReadLogResponse { offset, frames, complete, loss, .. }) => {
            Heard::Piece(Piece { offset, frames, complete, loss })
        }
        Err(status) => Heard::Failed(status),
    }
}

fn answer(attempt: u32, piece: Piece) -> wire::ReadLogResponse {
    let Piece { offset, frames, complete, loss } = piece;
    wire::ReadLogResponse { offset, frames, complete, attempt, loss }
}

fn log_id(attempt: &AttemptRef) -> LogId {
    LogId { task: attempt.task, attempt: attempt.attempt, epoch: attempt.epoch }
}

//! Sends what the spools have: one stream to a controller for all attempts of this executor.
//!
//! Each attempt goes on from where its controller has it; what is not acknowledged may be sent again,
//! since the bytes are fixed. Attempts take turns, piece by piece, and none has more than a window on
//! its way, so that one whose answers are slow holds up no other. An idle stream sends at once: a piece
//! is what is there when the one before it is on its way.

pub(super) mod course;
mod lanes;

use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ocelot_core::frame::Offset;
use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::attempt_log::AttemptLog;
use super::shared::Shared;
use super::spool::SpoolError;
use crate::attempt::{AttemptId, LogDigest};
use course::Next;
use lanes::Lanes;

/// Pieces that are ready while the network is busy.
const READY_PIECES: usize = 4;
/// How long a stream may take to open.
const OPEN: Duration = Duration::from_secs(10);
/// While bytes are on their way, a stream without any answer for so long is given up.
const ANSWER: Duration = Duration::from_secs(20);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Opens streams for logs.
#[async_trait]
pub trait Link: fmt::Debug + Send + Sync {
    /// Opens one with the credential and to the controller that count now. The pieces begin to come
    /// while it is being opened.
    async fn open(
        &self,
        pieces: ReceiverStream<wire::PushLogRequest>,
    ) -> Result<Streaming<wire::PushLogResponse>, Status>;
}

/// Sends the logs of all attempts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pusher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Arc<dyn Link>,
    clock: Arc<dyn Clock>,
    waits: Policy,
    tasks: Tasks,
    lanes: Mutex<Lanes>,
    bell: Arc<Notify>,
}

/// Why a stream is over.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("{0}")]
    Status(#[from] Status),
    #[error("the controller did not open it in time")]
    NotOpened,
    #[error("the controller closed it")]
    Closed,
    #[error("nothing came back for {ANSWER:?}")]
    Silent,
    #[error("the controller asked for bytes that were durable")]
    Doubted,
}

impl Pusher {
    /// Starts to send, until [`Pusher::stop`] or the end of the program.
    pub fn start(link: Arc<dyn Link>, clock: Arc<dyn Clock>, tasks: &Tasks) -> Self {
        let waits = Policy::new(FIRST_WAIT, LONGEST_WAIT, 0.5).expect("the first wait is the shorter one");
        let (lanes, bell) = (Mutex::default(), Arc::new(Notify::new()));
        let inner = Arc::new(Inner { link, clock, waits, tasks: tasks.clone(), lanes, bell });
        let pusher = Self { inner: Arc::clone(&inner) };
        tasks.spawn("logs", async move { inner.run().await });
        pusher
    }

    /// Sends this log too, until nothing more of it is to be sent.
    pub fn add(&self, log: &AttemptLog) {
        let log = Arc::clone(log.shared());
        let id = to_wire(log.id);
        log.ring(Arc::clone(&self.inner.bell));
        self.inner.lanes().add(id, log);
        self.inner.bell.notify_one();
    }

    /// Ends the sending. Logs that are not whole at the controller are left to the next process.
    pub fn stop(&self) {
        self.inner.lanes().stopped = true;
        self.inner.bell.notify_one();
    }
}

impl Inner {
    async fn run(&self) {
        let mut failures = 0;
        while !self.is_over() {
            if !self.lanes().have_something() {
                self.rung().await;
                continue;
            }
            let before = self.lanes().received();
            let Err(cut) = self.stream().await else { break };
            failures = if self.lanes().received() > before { 1 } else { failures + 1 };
            tracing::debug!(%cut, failures, "a stream of logs is over: {cut}");
            // Many executors lose their controller in the same moment.
            let random = (self.clock.wall().0 % 1_000) as f64 / 1_000.0;
            self.clock.sleep(self.waits.wait(failures, random)).await;
        }
        self.lanes().clear();
    }

    /// Waits until something may have changed.
    async fn rung(&self) {
        tokio::select! {
            () = self.bell.notified() => {}
            () = self.tasks.draining(), if !self.tasks.is_draining() => {}
        }
    }

    /// Whether nobody needs anything sent any more: the program ends, and no log is held.
    fn is_over(&self) -> bool {
        let mut lanes = self.lanes();
        lanes.forget_what_is_over();
        lanes.stopped || (self.tasks.is_draining() && lanes.is_empty())
    }

    /// Opens a stream and sends until it breaks. Returns once there is nothing to do any more.
    async fn stream(&self) -> Result<(), Cut> {
        self.lanes().begin();
        let (pieces, sent) = mpsc::channel(READY_PIECES);
        tokio::select! {
            () = self.feed(pieces) => Ok(()),
            cut = self.listen(ReceiverStream::new(sent)) => Err(cut),
        }
    }

    /// Sends piece by piece until told to stop.
    async fn feed(&self, pieces: mpsc::Sender<wire::PushLogRequest>) {
        loop {
            let Ok(room) = pieces.reserve().await else {
                // The other side of the stream says why.
                return pending().await;
            };
            // Not before there is room: what came meanwhile goes in the same piece.
            let (log, next) = loop {
                if self.is_over() {
                    return;
                }
                let next = self.lanes().next();
                match next {
                    Some(next) => break next,
                    None => self.rung().await,
                }
            };
            let id = to_wire(log.id);
            let (request, sent) = match next {
                Next::Piece { offset, most } => {
                    let Some(bytes) = read(&log, offset, most).await else { continue };
                    let sent = Next::Piece { offset, most: bytes.len() };
                    (piece(id, offset, bytes), sent)
                }
                Next::Ask { offset } => (piece(id, offset, Bytes::new()), next),
                Next::End(digest) => (end(id, digest), next),
            };
            self.lanes().sent(&log, &sent);
            room.send(request);
        }
    }

    /// Obeys what comes back, until the stream is over.
    async fn listen(&self, pieces: ReceiverStream<wire::PushLogRequest>) -> Cut {
        let opened = tokio::select! {
            opened = self.link.open(pieces) => opened,
            () = self.clock.sleep(OPEN) => return Cut::NotOpened,
        };
        let mut answers = match opened {
            Ok(answers) => answers,
            Err(status) => return status.into(),
        };
        let mut waited = false;
        loop {
            let answer = tokio::select! {
                answer = answers.message() => answer,
                () = self.clock.sleep(ANSWER) => {
                    // Bytes that were sent just before the time was over get another one.
                    let waits = self.lanes().wait_for_answers();
                    if waits && waited {
                        return Cut::Silent;
                    }
                    waited = waits;
                    continue;
                }
            };
            waited = false;
            match answer {
                Ok(Some(wire::PushLogResponse { answer: Some(answer) })) => {
                    if let Err(cut) = self.lanes().take(answer) {
                        return cut;
                    }
                }
                Ok(Some(wire::PushLogResponse { answer: None })) => {}
                Ok(None) => return Cut::Closed,
                Err(status) => return status.into(),
            }
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a piece that is at hand, or reads it on a thread that may wait for the disk. None where it
/// was freed meanwhile, or cannot be read, which breaks the log.
async fn read(log: &Arc<Shared>, offset: Offset, most: usize) -> Option<Bytes> {
    if let Some(bytes) = log.look(|standing| standing.recent.read(offset, most, standing.fixed)) {
        return Some(bytes);
    }
    let (view, fixed) = log.look(|standing| (standing.view.clone(), standing.fixed));
    let why = match tokio::task::spawn_blocking(move || view.read(offset, most, fixed)).await {
        Ok(Ok(chunk)) => return Some(chunk.bytes.into()),
        Ok(Err(SpoolError::Freed { .. })) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(died) => died.to_string(),
    };
    log.broken(offset, &why);
    None
}

fn piece(id: wire::AttemptId, offset: Offset, bytes: Bytes) -> wire::PushLogRequest {
    let crc32c = crc32c::crc32c(&bytes);
    wire::PushLogRequest { attempt: Some(id), offset: offset.0, bytes, crc32c, end: None }
}

fn end(id: wire::AttemptId, digest: LogDigest) -> wire::PushLogRequest {
    let end = wire::LogEnd { length: digest.length.0, sha256: digest.sha256.to_vec().into() };
    wire::PushLogRequest {
        attempt: Some(id),
        offset: digest.length.0,
        bytes: Default::default(),
        crc32c: crc32c::crc32c(&[]),
        end: Some(end),
    }
}

fn to_wire(id: AttemptId) -> wire::AttemptId {
    let task = wire::TaskId { run: id.task.run.as_bytes().to_vec().into(), index: id.task.index };
    wire::AttemptId { task: Some(task), number: id.number.number(), epoch: id.epoch.0 }
}

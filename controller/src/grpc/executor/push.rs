//! One stream of log bytes: pieces of many attempts in, offsets out the moment they move.
//!
//! There is no clock here: the log library says when bytes are received or durable. A fenced
//! attempt ends nothing but itself.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, Stream};
use ocelot_domain::task::Session;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire;
use ocelot_proto::wire::push_log_response::{Answer, Diverged, Gap};
use tokio::sync::watch;
use tonic::{Status, Streaming};

use crate::error::Error;
use crate::service::logs::{self, Claim, Digest, LogId, Logs, PIECE_BYTES_MAX, Progress, Sealing, Sent};
use crate::service::{AttemptRef, HELD_MAX, LogOffsets};

use super::{decode, encode};

/// What one stream is about.
pub(super) struct Push {
    session: Session,
    logs: Arc<Logs>,
    tasks: Tasks,
    incoming: Streaming<wire::PushLogRequest>,
    /// Said before anything more is taken.
    answers: VecDeque<Answer>,
    followed: BTreeSet<LogId>,
    moves: FuturesUnordered<BoxFuture<'static, (LogId, watch::Receiver<Progress>)>>,
    /// Nothing more comes in; what is left to say is what is on its way to be safe.
    done: bool,
}

/// What happened next.
enum News {
    Piece(wire::PushLogRequest),
    Moved(LogId, watch::Receiver<Progress>),
    NoMorePieces,
    Over,
}

impl Push {
    pub(super) fn new(
        session: Session,
        logs: Arc<Logs>,
        tasks: Tasks,
        incoming: Streaming<wire::PushLogRequest>,
    ) -> Self {
        let (answers, followed, moves) = (VecDeque::new(), BTreeSet::new(), FuturesUnordered::new());
        Self { session, logs, tasks, incoming, answers, followed, moves, done: false }
    }

    pub(super) fn answers(self) -> impl Stream<Item = Result<wire::PushLogResponse, Status>> + Send {
        futures_util::stream::unfold(Some(self), |push| async {
            let mut push = push?;
            match push.next().await {
                Ok(Some(answer)) => Some((Ok(wire::PushLogResponse { answer: Some(answer) }), Some(push))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Answer>, Status> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(Some(answer));
            }
            match self.news().await? {
                News::Piece(piece) => self.take(piece).await?,
                News::Moved(id, progress) => self.moved(id, progress)?,
                News::NoMorePieces => self.done = true,
                News::Over => return Ok(None),
            }
        }
    }

    /// Waits for what happens next. Every branch is cancel-safe.
    async fn news(&mut self) -> Result<News, Status> {
        if self.done && self.moves.is_empty() {
            return Ok(News::Over);
        }
        tokio::select! {
            biased;
            Some((id, progress)) = self.moves.next() => Ok(News::Moved(id, progress)),
            piece = self.incoming.message(), if !self.done => {
                Ok(piece?.map_or(News::NoMorePieces, News::Piece))
            }
            () = self.tasks.draining() => Ok(News::Over),
        }
    }

    async fn take(&mut self, piece: wire::PushLogRequest) -> Result<(), Status> {
        let attempt = decode::attempt(piece.attempt)?;
        let end = piece.end.map(|end| decode::log_end("end", end)).transpose()?;
        if piece.bytes.len() > PIECE_BYTES_MAX {
            return Err(decode::invalid("bytes", &format!("at most {PIECE_BYTES_MAX} at a time")));
        }
        let id = LogId::from(attempt);
        let sent = Sent { offset: piece.offset, bytes: piece.bytes, crc32c: piece.crc32c };
        match self.logs.append(self.session, id, sent).await.map_err(status)? {
            logs::Answer::Taken(progress) => {
                self.follow(id, progress).await?;
                if let Some(end) = end {
                    self.seal(attempt, Claim { length: end.bytes, sha256: Digest(end.sha256) }).await?;
                }
            }
            logs::Answer::Gap { expected } => self.answers.push_back(gap(attempt, expected)),
            logs::Answer::Diverged { at } => {
                let attempt = Some(encode::attempt(&attempt));
                self.answers.push_back(Answer::Diverged(Diverged { attempt, at }));
            }
            logs::Answer::Fenced => self.answers.push_back(Answer::Fenced(encode::attempt(&attempt))),
        }
        Ok(())
    }

    /// Ends the log before the attempt's completion asks for it, so that neither readers nor the
    /// completion wait.
    async fn seal(&mut self, attempt: AttemptRef, claim: Claim) -> Result<(), Status> {
        match self.logs.seal(attempt.into(), claim).await.map_err(status)? {
            Sealing::Ended(_) => {}
            Sealing::Incomplete { expected } => self.answers.push_back(gap(attempt, expected)),
        }
        Ok(())
    }

    /// Begins to tell how far a log is, with how far it is now.
    async fn follow(&mut self, id: LogId, progress: Progress) -> Result<(), Status> {
        if self.followed.contains(&id) {
            return Ok(());
        }
        if self.followed.len() >= HELD_MAX {
            return Err(decode::invalid("attempt", &format!("at most {HELD_MAX} attempts on one stream")));
        }
        let mut following = self.logs.follow(id).await.map_err(status)?;
        following.mark_unchanged();
        self.followed.insert(id);
        self.answers.push_back(Answer::Offsets(offsets(id, progress)));
        self.wait(id, following, progress);
        Ok(())
    }

    fn moved(&mut self, id: LogId, following: watch::Receiver<Progress>) -> Result<(), Status> {
        let progress = *following.borrow();
        if progress.failed {
            // The stream ends, so that everything after what is received is sent again.
            return Err(status(logs::Error::Failed("it is taken anew from what is received".into())));
        }
        self.answers.push_back(Answer::Offsets(offsets(id, progress)));
        self.wait(id, following, progress);
        Ok(())
    }

    /// Waits until more is safe than was told; of a log that is over and safe there is no more.
    fn wait(&mut self, id: LogId, mut following: watch::Receiver<Progress>, told: Progress) {
        if told.ended && told.durable >= told.received {
            self.followed.remove(&id);
            return;
        }
        let waiting = async move {
            let is_news =
                |now: &Progress| now.failed || (now.received, now.durable) != (told.received, told.durable);
            let ended = following.wait_for(is_news).await.is_err();
            if ended {
                // The log was closed, and nothing moves any more.
                std::future::pending::<()>().await;
            }
            (id, following)
        };
        self.moves.push(waiting.boxed());
    }
}

fn offsets(id: LogId, progress: Progress) -> wire::LogOffsets {
    let Progress { received, durable, .. } = progress;
    encode::offsets(&LogOffsets { attempt: id.into(), received, durable })
}

fn gap(attempt: AttemptRef, expected: u64) -> Answer {
    Answer::Gap(Gap { attempt: Some(encode::attempt(&attempt)), expected })
}

fn status(error: logs::Error) -> Status {
    Error::from(error).into()
}

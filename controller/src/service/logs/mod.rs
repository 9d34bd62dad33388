//! The log of each attempt: taken from executors by offset, kept once, read by many.
//!
//! A log is one gap-free sequence of bytes. What was acknowledged is never lost, changed, doubled or
//! put in another order; what is missing is said in the log itself. This module must not decide who
//! holds an attempt: it asks [`Holders`].

mod disk;
mod end;
mod error;
mod expire;
mod id;
mod inner;
mod judge;
mod keep;
mod log;
mod open;
mod place;
mod read;
mod scan;
mod ship;
mod sync;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ocelot_domain::task::state::Session;
use ocelot_proto::kit::chaos;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use tokio::time::Instant;

use crate::bytes::{Home, files};

pub use disk::{Disk, DiskFile, Listed, MachineDisk};
pub use end::{Claim, Digest, End, Loss, LossKind};
pub use error::{Error, Result};
pub use expire::Expired;
pub use id::LogId;
pub use judge::{Judgement, Piece, State, append, overlap};
pub use keep::Retention;
pub use log::{Progress, Sealing};
pub use read::{Chunk, Follow, Reader};
pub use sync::SyncPolicy;

use log::{Log, Taken};
use open::{Open, OpenLog};
use ship::Ship;
use sync::Syncer;

/// The most bytes of one piece.
pub const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// Knows which session holds an attempt.
#[async_trait]
pub trait Holders: fmt::Debug + Send + Sync {
    /// Tells whether the attempt is still the session's: by a linearizable read made for this call, or by a
    /// write that is hardly older.
    async fn holds(
        &self,
        log: LogId,
        session: Session,
    ) -> std::result::Result<bool, Box<dyn std::error::Error + Send + Sync>>;
}

/// Where logs are kept, and how.
#[derive(Debug)]
pub struct Settings {
    /// Made if it is not there.
    pub directory: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub holders: Arc<dyn Holders>,
    pub sync: SyncPolicy,
    pub retention: Retention,
    /// Where all controllers put logs; none is this disk.
    pub home: Option<Arc<dyn Home>>,
}

/// A piece of a log as it came over the wire.
#[derive(Debug, Clone)]
pub struct Sent {
    pub offset: u64,
    pub bytes: Bytes,
    /// CRC-32C of `bytes`.
    pub crc32c: u32,
}

/// What an executor is told of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is taken. How far the log is safe comes with [`Logs::follow`] too.
    Taken(Progress),
    /// Bytes before it are missing: go on from here.
    Gap { expected: u64 },
    /// It contradicts what is stored. The log has ended with a recorded loss.
    Diverged { at: u64 },
    /// The attempt is not this session's.
    Fenced,
}

/// The logs of this controller.
#[derive(Debug)]
pub struct Logs {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    holders: Arc<dyn Holders>,
    retention: Retention,
    home: Option<Arc<dyn Home>>,
    syncer: Arc<Syncer>,
    open: Mutex<Open>,
    /// Bytes that executors sent and that were new here, since the start.
    received: Arc<AtomicU64>,
}

/// A confirmation that an attempt is a session's counts for so long.
const CONFIRMED_FOR: Duration = Duration::from_secs(2);

/// How often it is looked whether bytes are due for the home of bytes.
const ROUND: Duration = Duration::from_secs(1);
/// Every tenth minute it is looked which logs are not kept any more.
const EXPIRE_ROUNDS: u32 = 600;

impl Logs {
    /// Opens the directory. Blocks. Logs are recovered when they are first asked for.
    pub fn open(settings: Settings) -> Result<Self> {
        let Settings { directory, disk, clock, holders, sync, retention, home } = settings;
        disk.ensure_directory(&directory)?;
        for left in disk.list(&directory)?.iter().filter(|file| files::is_temporary(&file.name)) {
            disk.remove(&directory.join(&left.name))?;
        }
        let syncer = Arc::new(Syncer::start(sync)?);
        Ok(Self {
            directory,
            disk,
            clock,
            holders,
            retention,
            home,
            syncer,
            open: Mutex::default(),
            received: Arc::default(),
        })
    }

    /// Takes a piece from the session that holds the attempt.
    pub async fn append(&self, session: Session, id: LogId, sent: Sent) -> Result<Answer> {
        if sent.bytes.len() > PIECE_BYTES_MAX {
            return Err(Error::TooLong { bytes: sent.bytes.len() });
        }
        let open = self.ensure_open(id).await?;
        if !self.is_held(&open, session).await? {
            return Ok(Answer::Fenced);
        }
        let mut taken = self.take(&open, sent.clone()).await?;
        if let (Taken::Gap { .. }, Some(home)) = (taken, &self.home) {
            // Another controller may have taken what is missing here.
            self.catch_up(home.as_ref(), &open.log).await?;
            taken = self.take(&open, sent).await?;
        }
        Ok(match taken {
            Taken::New { .. } | Taken::AlreadyThere => Answer::Taken(open.log.progress()),
            Taken::Gap { expected } => Answer::Gap { expected },
            Taken::Diverged { at } => Answer::Diverged { at },
        })
    }

    /// Ends a log of which everything is received and is as the executor claims. Repeating it gives
    /// the same answer.
    pub async fn seal(&self, id: LogId, claim: Claim) -> Result<Sealing> {
        let log = self.ensure_open(id).await?.log;
        let unix_us = self.clock.wall().0;
        let seal = |log: Arc<Log>| blocking(move || log.seal(claim, unix_us));
        let sealing = seal(Arc::clone(&log)).await?;
        if let (Sealing::Incomplete { .. }, Some(home)) = (&sealing, &self.home) {
            // The executor does not have any more what another controller made durable.
            self.catch_up(home.as_ref(), &log).await?;
            return seal(log).await;
        }
        Ok(sealing)
    }

    /// Ends a log of which something is missing for good, with a mark that readers see. A log that
    /// is over already keeps its end.
    pub async fn end_with_loss(&self, id: LogId, kind: LossKind, reason: String) -> Result<End> {
        let log = Arc::clone(&self.ensure_open(id).await?.log);
        let unix_us = self.clock.wall().0;
        blocking(move || log.end_with_loss(kind, &reason, unix_us)).await
    }

    /// Returns how the log ended, if it did.
    pub async fn ended(&self, id: LogId) -> Result<Option<End>> {
        let log = Arc::clone(&self.ensure_open(id).await?.log);
        blocking(move || Ok(log.ended())).await
    }

    /// Returns how far the log is.
    pub async fn progress(&self, id: LogId) -> Result<Progress> {
        Ok(self.ensure_open(id).await?.log.progress())
    }

    /// Returns how far the log is, if it is open here.
    pub fn progress_at_hand(&self, id: LogId) -> Option<Progress> {
        self.open_logs().at_hand(&id).map(|open| open.log.progress())
    }

    /// Returns how many new bytes of logs executors have sent here since the start.
    pub fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Follows how far the log is: what an executor is told while it sends.
    pub async fn follow(&self, id: LogId) -> Result<tokio::sync::watch::Receiver<Progress>> {
        Ok(self.ensure_open(id).await?.log.follow())
    }

    /// Reads a log from `offset`, which is the first byte of a frame. A log of which nothing came
    /// yet is empty, and can be followed.
    pub async fn read(&self, id: LogId, offset: u64, follow: Follow) -> Result<Reader> {
        Ok(Reader::new(Arc::clone(&self.ensure_open(id).await?.log), offset, follow))
    }

    /// Puts what is due into the home of bytes, and deletes what is not kept any more, for as long
    /// as the program runs.
    pub fn run(self: &Arc<Self>, tasks: &Tasks) {
        let (own, tasks_left) = (Arc::clone(self), tasks.clone());
        tasks.spawn("logs", async move {
            own.resume_shipping().await;
            let mut round: u32 = 0;
            while !tasks_left.is_draining() {
                own.ship_once(Ship::Due).await;
                if round.is_multiple_of(EXPIRE_ROUNDS) {
                    for expired in [own.expire_once().await, own.expire_home_once().await] {
                        if let Err(error) = expired {
                            tracing::warn!(%error, "logs could not be expired");
                        }
                    }
                }
                round = round.wrapping_add(1);
                tokio::select! {
                    () = own.clock.sleep(ROUND) => {}
                    () = tasks_left.draining() => {}
                }
            }
            own.ship_once(Ship::All).await;
        });
    }

    async fn take(&self, open: &OpenLog, sent: Sent) -> Result<Taken> {
        let (log, syncer, unix_us) = (Arc::clone(&open.log), Arc::clone(&self.syncer), self.clock.wall().0);
        let received = Arc::clone(&self.received);
        blocking(move || {
            let piece = Piece { offset: sent.offset, bytes: &sent.bytes, crc32c: sent.crc32c };
            let taken = log.append(&piece, unix_us)?;
            chaos::point("log.appended");
            // Not after the wait for this: who sent the piece may be gone by then.
            if let Taken::New { bytes, wake } = taken {
                received.fetch_add(bytes as u64, Ordering::Relaxed);
                syncer.note(bytes, wake.then_some(log));
            }
            Ok(taken)
        })
        .await
    }

    async fn is_held(&self, open: &OpenLog, session: Session) -> Result<bool> {
        let asked = self.clock.monotonic();
        let fresh = |(holder, at): (Session, Instant)| holder == session && asked - at < CONFIRMED_FOR;
        if open.confirmed().is_some_and(fresh) {
            return Ok(true);
        }
        let held = self.holders.holds(open.log.id(), session).await.map_err(Error::Unconfirmed)?;
        // The answer is as old as the question.
        open.confirm(held.then_some((session, asked)));
        Ok(held)
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(act).await;
    done.unwrap_or_else(|died| Err(Error::Disk(std::io::Error::other(died))))
}

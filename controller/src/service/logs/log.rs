//! One attempt's log on the disk of this controller.
//!
//! Its file holds the log's bytes and nothing else, so a place in the log is a place in the file.
//! What is acknowledged is always whole frames: their own checksums are what recovery trusts, and
//! no second file has to be synced. Everything here blocks, and belongs on a thread that may.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use ocelot_core::frame::{Decoder, Offset};
use ocelot_proto::kit::chaos;
use sha2::Digest as _;
use tokio::sync::watch;

use super::disk::DiskFile;
use super::end::{Claim, Digest, End, Loss, LossKind};
use super::error::{Error, Result};
use super::id::LogId;
use super::inner::Inner;
use super::judge::{self, Judgement, Piece, State};
use super::place::Place;
use super::scan::{self, Scanned};

/// How far a log is, for those who wait for more of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whole frames that a reader may see. They need not be durable: a resend is the same bytes.
    pub visible: u64,
    /// Whole frames that are synced here.
    pub received: u64,
    /// Whole frames that are in the home of bytes.
    pub durable: u64,
    pub ended: bool,
    /// The disk failed: nothing more is received here.
    pub failed: bool,
}

#[derive(Debug)]
pub(super) struct Log {
    place: Place,
    inner: Mutex<Inner>,
    /// Rung when a sync is over.
    synced: Condvar,
    progress: watch::Sender<Progress>,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// So many bytes are new; `wake` when the syncing thread does not know of any yet.
    New {
        bytes: usize,
        wake: bool,
    },
    AlreadyThere,
    Gap {
        expected: u64,
    },
    Diverged {
        at: u64,
    },
}

/// What became of the claim that a log is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealing {
    /// It is over: whole as claimed, or with the loss that it was ended with.
    Ended(End),
    /// Bytes from here on are to be sent first.
    Incomplete { expected: u64 },
}

impl Log {
    /// Opens what there is of a log. A tail that a crash tore is cut off: it was never acknowledged.
    pub(super) fn load(place: Place) -> Result<Self> {
        let ended = place.read_end()?;
        let file = match place.disk.open(&place.file()) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let (end, scanned) = match (&ended, &file) {
            (Some(ended), None) if ended.length > 0 => return Err(Error::NotFound(place.id)),
            (Some(ended), _) => (ended.length, Scanned::default()),
            (None, None) => (0, Scanned::default()),
            (None, Some(file)) => {
                let scanned = scan::recover(file.as_ref())?;
                (scanned.whole, scanned)
            }
        };
        // What another home has, it is asked for.
        let durable = if place.alone { end } else { 0 };
        let progress =
            Progress { visible: end, received: end, durable, ended: ended.is_some(), failed: false };
        let inner = Inner {
            file,
            end,
            frames: Decoder::at(Offset(end)),
            sha256: scanned.sha256,
            waits_for_sync: false,
            syncing: false,
            ended,
            end_shipped: place.alone,
            failed: None,
        };
        let (inner, progress) = (Mutex::new(inner), watch::Sender::new(progress));
        Ok(Self { place, inner, synced: Condvar::new(), progress })
    }

    pub(super) fn id(&self) -> LogId {
        self.place.id
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    pub(super) fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Tells whether nobody loses anything when the log is closed.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.inner();
        let progress = self.progress();
        match &inner.ended {
            Some(_) => inner.end_shipped && progress.durable == progress.visible,
            None => inner.file.is_none(),
        }
    }

    /// Writes what is new of a piece. It is visible at once, and received after the next sync.
    pub(super) fn append(&self, piece: &Piece<'_>, unix_us: u64) -> Result<Taken> {
        let inner = self.inner();
        inner.check()?;
        let state = State { end: inner.end, sealed: inner.ended.is_some() };
        let stored = inner.stored(judge::overlap(state, piece))?;
        match judge::append(state, piece, &stored) {
            Judgement::Append(new) => self.write(inner, new, unix_us),
            Judgement::AlreadyThere => Ok(Taken::AlreadyThere),
            Judgement::Gap { expected } => Ok(Taken::Gap { expected }),
            Judgement::Damaged => Err(Error::Damaged),
            Judgement::Sealed => Ok(Taken::Diverged { at: state.end }),
            // What is over never changes.
            Judgement::Diverged { at } if state.sealed => Ok(Taken::Diverged { at }),
            Judgement::Diverged { at } => {
                tracing::error!(log = %self.place.id, at, "an executor contradicts the log of {}", self.place.id);
                self.end(inner, LossKind::Bytes, DIVERGED, unix_us)?;
                Ok(Taken::Diverged { at })
            }
        }
    }

    /// Ends the log if all of it is here and is what the executor says it is.
    pub(super) fn seal(&self, claim: Claim, unix_us: u64) -> Result<Sealing> {
        let mut inner = self.settled(self.inner());
        inner.check()?;
        if let Some(ended) = &inner.ended {
            return Ok(Sealing::Ended(ended.clone()));
        }
        if inner.end < claim.length {
            return Ok(Sealing::Incomplete { expected: inner.end });
        }
        let sha256 = Digest(inner.sha256.clone().finalize().into());
        let whole = inner.frames.offset().0 == inner.end;
        if inner.end > claim.length || !whole {
            return self.end(inner, LossKind::Bytes, DIVERGED, unix_us).map(Sealing::Ended);
        }
        if sha256 != claim.sha256 {
            // Sent again from the front, the first byte that differs is found.
            return Ok(Sealing::Incomplete { expected: 0 });
        }
        let end = End { length: inner.end, sha256, loss: None };
        self.store_end(&mut inner, end).map(Sealing::Ended)
    }

    /// Ends the log with a mark that says what is missing. One that is over already stays as it is.
    pub(super) fn end_with_loss(&self, kind: LossKind, reason: &str, unix_us: u64) -> Result<End> {
        self.end(self.inner(), kind, reason, unix_us)
    }

    /// Makes durable what is written. After a failure nothing more is acknowledged of this log
    /// before it is opened anew, from what the disk has.
    pub(super) fn sync(&self) {
        let (file, whole) = {
            let mut inner = self.settled(self.inner());
            inner.waits_for_sync = false;
            let file = match &inner.file {
                // What is over was synced with its end.
                Some(file) if inner.failed.is_none() && inner.ended.is_none() => Arc::clone(file),
                Some(_) | None => return,
            };
            inner.syncing = true;
            (file, inner.frames.offset().0)
        };
        let synced = file.sync();
        let mut inner = self.inner();
        inner.syncing = false;
        match synced {
            Ok(()) => {
                chaos::point("log.synced");
                self.publish(|progress| progress.received = progress.received.max(whole));
            }
            Err(error) => self.fail(&mut inner, &error),
        }
        drop(inner);
        self.synced.notify_all();
    }

    #[cfg(test)]
    pub(super) fn is_syncing(&self) -> bool {
        self.inner().syncing
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.inner().ended.clone()
    }

    /// Notes that the home of bytes has everything up to `durable`.
    pub(super) fn shipped(&self, durable: u64) {
        self.publish(|progress| progress.durable = progress.durable.max(durable));
    }

    /// Returns the end that the home of bytes does not have yet.
    pub(super) fn end_to_ship(&self) -> Option<End> {
        let inner = self.inner();
        inner.ended.clone().filter(|_| !inner.end_shipped)
    }

    pub(super) fn end_shipped(&self) {
        self.inner().end_shipped = true;
    }

    /// Ends the log as another controller did, if all of it is here.
    pub(super) fn adopt_end(&self, end: End) -> Result<()> {
        let mut inner = self.settled(self.inner());
        inner.check()?;
        match &inner.ended {
            Some(own) if *own == end => {}
            Some(_) => return Err(Error::Contradicted(self.place.id)),
            None => {
                let sha256 = Digest(inner.sha256.clone().finalize().into());
                if (inner.end, sha256) != (end.length, end.sha256) {
                    return Err(Error::Contradicted(self.place.id));
                }
                self.store_end(&mut inner, end)?;
            }
        }
        inner.end_shipped = true;
        Ok(())
    }

    /// Returns bytes that are stored.
    pub(super) fn read(&self, offset: u64, bytes_max: usize) -> Result<Vec<u8>> {
        let file = self.inner().file.clone();
        let Some(file) = file else { return Ok(Vec::new()) };
        let mut buffer = vec![0; bytes_max];
        let filled = file.read_at(&mut buffer, offset)?;
        buffer.truncate(filled);
        Ok(buffer)
    }

    fn write(&self, mut inner: MutexGuard<'_, Inner>, new: &[u8], unix_us: u64) -> Result<Taken> {
        // If it fails, part of it may be there: the next piece is written over it, or it is cut off.
        self.file(&mut inner)?.write_at(new, inner.end)?;
        let before = inner.frames.offset().0;
        if let Err(corrupt) = inner.push(new) {
            let at = corrupt.at.0;
            tracing::error!(log = %self.place.id, at, "an executor sent what is no frame: {corrupt}");
            self.end(inner, LossKind::Bytes, NO_FRAME, unix_us)?;
            return Ok(Taken::Diverged { at });
        }
        inner.sha256.update(new);
        inner.end += new.len() as u64;
        let wake = !std::mem::replace(&mut inner.waits_for_sync, true);
        let visible = inner.frames.offset().0;
        if visible != before {
            self.publish(|progress| {
                progress.visible = visible;
                if chaos::bug("log.acknowledges_unsynced") {
                    progress.received = visible;
                }
            });
        }
        Ok(Taken::New { bytes: new.len(), wake })
    }

    /// Cuts the log to its whole frames, marks it and closes it. One that is over stays as it is.
    fn end(&self, inner: MutexGuard<'_, Inner>, kind: LossKind, reason: &str, unix_us: u64) -> Result<End> {
        let mut inner = self.settled(inner);
        if let Some(ended) = &inner.ended {
            return Ok(ended.clone());
        }
        inner.check()?;
        let file = self.file(&mut inner)?;
        file.cut(inner.frames.offset().0)?;
        let Scanned { whole: at, mut sha256 } = scan::scan(file.as_ref())?;
        inner.end = at;
        inner.frames = Decoder::at(Offset(at));
        inner.sha256 = sha256.clone();
        let mark = kind.mark(unix_us, reason);
        file.write_at(&mark, at)?;
        sha256.update(&mark);
        let end = End {
            length: at + mark.len() as u64,
            sha256: Digest(sha256.finalize().into()),
            loss: Some(Loss { at, reason: reason.to_owned(), kind }),
        };
        self.store_end(&mut inner, end)
    }

    /// The file has no other sync under way: the kernel tells of a failed write once, and only one
    /// of two would hear it. A log without a byte has no file.
    fn store_end(&self, inner: &mut Inner, end: End) -> Result<End> {
        if let Some(file) = inner.file.clone() {
            if file.size_bytes()? != end.length {
                file.cut(end.length)?;
            }
            if let Err(error) = file.sync_bytes() {
                self.fail(inner, &error);
                return Err(Error::Disk(error));
            }
        }
        // The name of the log's file becomes durable with that of its end.
        self.place.store_end(&end)?;
        inner.ended = Some(end.clone());
        inner.end = end.length;
        self.publish(|progress| {
            progress.visible = end.length;
            progress.received = end.length;
            progress.ended = true;
        });
        Ok(end)
    }

    /// Returns the file, which is made with the first byte.
    fn file(&self, inner: &mut Inner) -> Result<Arc<dyn DiskFile>> {
        if let Some(file) = &inner.file {
            return Ok(Arc::clone(file));
        }
        let file = self.place.disk.create(&self.place.file())?;
        Ok(Arc::clone(inner.file.insert(file)))
    }

    fn fail(&self, inner: &mut Inner, error: &io::Error) {
        tracing::error!(log = %self.place.id, %error, "the disk failed the log of {}", self.place.id);
        inner.failed.get_or_insert_with(|| error.to_string());
        self.publish(|progress| progress.failed = true);
    }

    fn publish(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(|progress| {
            change(progress);
            if self.place.alone {
                progress.durable = progress.received;
            }
        });
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect(UNPOISONED)
    }

    /// Waits until no sync is under way. Others may have had the lock meanwhile.
    fn settled<'a>(&self, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.synced.wait_while(inner, |inner| inner.syncing).expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "nothing panics while it holds a log";
const DIVERGED: &str = "the executor sent other bytes than before";
const NO_FRAME: &str = "the executor sent bytes that are no log";

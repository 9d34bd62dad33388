//! The thread of one attempt's log: from the capture, through the masker, into the spool.
//!
//! The log's bytes are fixed by the capture and the mask set, so they may be sent before they are
//! synced: after a crash the same ones are made again. A line of the executor's own is in no capture,
//! so it is sent only behind a checkpoint; what services say is as well, since nobody could mix it with
//! the task's output in the same order again. `Taken` is said only of what a checkpoint holds, since the
//! capture may be deleted then. While the spool or the disk is full nothing is read, and the capture
//! makes the task wait.

mod beside;
mod ending;
mod saving;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::frame::{Body, Corrupt, Decoder, Offset};
use ocelot_proto::kit::chaos;
use ocelot_supervisor::tail::Tail;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::attempt::LogDigest;
use crate::disk::DiskError;
use crate::logs::attempt_log::LogError;
use crate::logs::kept::Kept;
use crate::logs::maker::Maker;
use crate::logs::news::Unsaid;
use crate::logs::place::{Place, followed};
use crate::logs::recent::Recent;
use crate::logs::shared::{Line, Orders, Sealed, Shared, Standing};
use crate::logs::spool::{Spool, SpoolError, View};
use crate::mask::Masker;
use beside::Beside;
use saving::Pending;

/// Bytes of the capture that are read at once. With a frame that was begun before, they make one piece.
const READ_BYTES: usize = 384 * 1024;
/// A full disk is tried again after so long.
const FULL_PATIENCE: Duration = Duration::from_millis(500);
/// News are told again to a busy listener after so long.
const NEWS_PATIENCE: Duration = Duration::from_millis(10);

/// Why a log ends before its capture does.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the capture cannot be read: {0}")]
    Capture(io::Error),
    #[error("the capture is damaged: {0}")]
    Corrupt(#[from] Corrupt),
    #[error("a value that the task added cannot be kept: {0}")]
    Kept(io::Error),
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There may be more to do.
    Moved,
    /// Nothing can be done before something is asked for, or a checkpoint is due.
    Idle,
    /// There is no room.
    Full,
}

pub(in crate::logs) struct Pump {
    place: Place,
    shared: Arc<Shared>,
    kept: Kept,
    spool: Spool,
    maker: Maker,
    /// None once the log is over.
    masker: Option<Masker>,
    tail: Option<Tail>,
    beside: Beside,
    /// Bytes behind the last checkpoint may have been sent by another process: they are made again
    /// before anything else comes into the log.
    remaking: bool,
    buffer: Vec<u8>,
    /// Made, and not in the spool yet.
    masked: Vec<u8>,
    /// Where the spool ends.
    appended: Offset,
    lines: VecDeque<Line>,
    lines_left_out: u64,
    /// Something is behind the last checkpoint that another process would not make again at the same
    /// place: a line of ours, or the end.
    told: bool,
    /// Values to mask that the task did not add itself.
    given: usize,
    /// Raw bytes that were taken at the last checkpoint that is on disk.
    checkpointed: Offset,
    /// The same at the last one that was begun.
    begun: Offset,
    pending: Option<Pending>,
    /// When something came behind the last checkpoint that was begun.
    dirty: Option<Instant>,
    /// How far the supervisor said that the capture is.
    captured: Offset,
    freed: Offset,
    unsaid: Unsaid,
    sealing: Vec<oneshot::Sender<Result<Sealed, LogError>>>,
    said_full: bool,
    /// Of the spool, as its readers know it.
    shape: Option<(Offset, Offset)>,
}

impl Pump {
    pub(in crate::logs) fn new(place: Place, spool: Spool, maker: Maker, masker: Option<Masker>) -> Self {
        let end = spool.log_end();
        let digest = LogDigest { length: end.length, sha256: end.sha256 };
        let standing = Standing {
            view: spool.view(),
            end: end.length,
            fixed: end.length,
            sealed: maker.sealed.then_some(digest),
            // More may have been freed than the last checkpoint knew to be received.
            received: maker.received.max(spool.first()),
            durable: spool.first(),
            again: None,
            over: false,
            recent: Recent::default(),
        };
        // What is made of one reading must fit into a spool of which a checkpoint can free the most.
        let read_bytes = READ_BYTES.min((place.settings.limits.quota_bytes / 8) as usize);
        let shared = Arc::new(Shared::new(place.id, Arc::clone(&place.settings.clock), standing));
        let unsaid = Unsaid { first_byte: maker.first_byte, broken: maker.loss.clone(), ..Unsaid::default() };
        let given = masker.as_ref().map_or(0, |masker| masker.set().len() - masker.added());
        let raw = masker.as_ref().map(Masker::raw).unwrap_or_default();
        let tail = masker.is_some().then(|| followed(&place.directory)).flatten();
        Self {
            kept: place.kept(),
            shared,
            buffer: vec![0; read_bytes],
            masked: Vec::new(),
            appended: end.length,
            lines: VecDeque::new(),
            lines_left_out: 0,
            told: false,
            given,
            checkpointed: raw,
            begun: raw,
            pending: None,
            dirty: None,
            captured: raw,
            freed: spool.first(),
            unsaid,
            sealing: Vec::new(),
            said_full: false,
            shape: spool.shape(),
            remaking: tail.is_some(),
            tail: tail.map(|control| Tail::at(&control, raw)),
            beside: Beside::default(),
            place,
            spool,
            maker,
            masker,
        }
    }

    pub(in crate::logs) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub(in crate::logs) fn directory(&self) -> PathBuf {
        self.place.directory.clone()
    }

    pub(in crate::logs) fn run(mut self) {
        loop {
            let mut orders = self.shared.take_orders();
            let dropped = std::mem::take(&mut orders.drop);
            if !dropped.is_empty() {
                return self.wipe(dropped);
            }
            if orders.left {
                return self.leave();
            }
            self.obey(orders);
            let turn = self.turns().unwrap_or_else(|failure| {
                self.break_off(self.spool.end(), failure.to_string());
                Turn::Moved
            });
            self.note_full(turn == Turn::Full);
            let heard = self.unsaid.say(self.place.id, &self.place.news);
            if turn != Turn::Moved {
                self.shared.wait(self.patience(turn, heard));
            }
        }
    }

    fn obey(&mut self, orders: Orders) {
        self.captured = self.captured.max(orders.captured);
        self.lines.extend(orders.lines);
        self.lines_left_out += orders.lines_left_out;
        self.sealing.extend(orders.seal);
        if let Some(control) = orders.follow.filter(|_| self.tail.is_none()) {
            self.follow(&control);
        }
        self.follow_services(orders.follow_services, orders.services_captured);
        if orders.fenced {
            self.unsaid.fenced = true;
            self.stop();
        }
        if let Some(loss) = orders.broken.filter(|_| self.maker.loss.is_none()) {
            self.break_off(loss.at, loss.why);
        }
        self.free();
    }

    fn follow(&mut self, control: &Path) {
        let Some(masker) = &self.masker else { return };
        self.tail = Some(Tail::at(control, masker.raw()));
    }

    /// Takes away what is durable elsewhere, and says so.
    fn free(&mut self) {
        let durable = self.shared.look(|standing| standing.durable);
        if durable <= self.freed {
            return;
        }
        self.freed = durable;
        self.unsaid.durable = Some(durable);
        self.free_segments();
    }

    /// Only what is behind a checkpoint can be freed, so this may come after the word that it is safe.
    fn free_segments(&mut self) {
        if let Err(error) = self.spool.free(self.freed) {
            tracing::warn!(attempt = %self.place.id, %error, "a part of a log could not be freed");
        }
        if let Some(view) = self.changed_view() {
            self.shared.publish(|standing| standing.view = view);
        }
    }

    /// Returns what reads the spool, if that is other than what readers were given last.
    fn changed_view(&mut self) -> Option<View> {
        let shape = self.spool.shape();
        (std::mem::replace(&mut self.shape, shape) != shape).then(|| self.spool.view())
    }

    fn turns(&mut self) -> Result<Turn, Failure> {
        match self.take_saved()? {
            Turn::Full => Ok(Turn::Full),
            Turn::Moved | Turn::Idle => self.turn(),
        }
    }

    /// Does the next thing there is to do.
    fn turn(&mut self) -> Result<Turn, Failure> {
        if !self.masked.is_empty() {
            return self.append();
        }
        if self.told {
            return self.checkpoint();
        }
        if self.is_due() {
            return self.begin_checkpoint();
        }
        if self.masker.is_none() {
            return Ok(self.discard());
        }
        if !self.remaking && (self.tell_line() || self.beside_in_turn()? || self.read()?) {
            return Ok(Turn::Moved);
        }
        if self.remaking {
            self.remaking = self.read()?;
            return Ok(Turn::Moved);
        }
        if self.read_beside()? {
            return Ok(Turn::Moved);
        }
        if self.sealing.is_empty() { Ok(Turn::Idle) } else { self.seal() }
    }

    /// Makes the next line of the executor's own, and returns whether there was one.
    fn tell_line(&mut self) -> bool {
        let Some(masker) = &mut self.masker else { return false };
        if let Some(line) = self.lines.pop_front() {
            masker.tell(line.unix_us, &line.text, &mut self.masked);
        } else if self.lines_left_out > 0 {
            let text = format!("{} more lines of the executor's were left out", self.lines_left_out);
            self.lines_left_out = 0;
            masker.tell(self.shared.clock.wall().0, &text, &mut self.masked);
        } else {
            return false;
        }
        self.told = true;
        true
    }

    /// Reads what the capture has, and returns whether it had anything.
    fn read(&mut self) -> Result<bool, Failure> {
        let (Some(tail), Some(masker)) = (&mut self.tail, &mut self.masker) else { return Ok(false) };
        let count = tail.read(&mut self.buffer).map_err(Failure::Capture)?;
        if count == 0 {
            return Ok(false);
        }
        let values = masker.set().len();
        let taken = masker.push(&self.buffer[..count], &mut self.masked);
        if masker.set().len() != values {
            // Before the capture that has them may be deleted.
            self.kept.write(masker.set(), self.given).map_err(Failure::Kept)?;
        }
        if self.dirty.is_none() {
            self.dirty = Some(self.shared.clock.monotonic());
        }
        self.note_first_byte();
        match taken {
            Ok(()) => Ok(true),
            Err(corrupt) => {
                // What came before it is whole.
                self.append()?;
                Err(corrupt.into())
            }
        }
    }

    fn note_first_byte(&mut self) {
        if self.maker.first_byte.is_some() {
            return;
        }
        let mut frames = Decoder::default();
        frames.push(&self.masked);
        while let Ok(Some(frame)) = frames.next_frame() {
            if matches!(frame.body, Body::Stdout(_) | Body::Stderr(_)) && frame.service().is_none() {
                self.maker.first_byte = Some(frame.unix_us);
                self.unsaid.first_byte = Some(frame.unix_us);
                return;
            }
        }
    }

    /// Puts what was made into the spool.
    fn append(&mut self) -> Result<Turn, Failure> {
        match self.spool.append(&self.masked) {
            Ok(()) => {}
            Err(SpoolError::Full { .. } | SpoolError::Disk(DiskError::NoSpace { .. })) => {
                return Ok(Turn::Full);
            }
            Err(error) => return Err(error.into()),
        }
        chaos::point("log.spooled");
        let (begin, end) = (self.appended, self.spool.end());
        self.appended = end;
        // A segment may have been made by an append that found no room for its bytes.
        let view = self.changed_view();
        let told = self.told;
        let masked = &mut self.masked;
        self.shared.publish(|standing| {
            standing.end = end;
            standing.recent.push(begin, masked);
            if let Some(view) = view {
                standing.view = view;
            }
            if !told {
                standing.fixed = end;
            }
        });
        Ok(Turn::Moved)
    }

    /// Says once that the log waits.
    fn note_full(&mut self, full: bool) {
        if full && !std::mem::replace(&mut self.said_full, true) {
            let id = self.place.id;
            tracing::warn!(attempt = %id, "the log of {id} waits: its spool or its disk is full");
        }
    }

    fn patience(&self, turn: Turn, heard: bool) -> Option<Duration> {
        let due = self.dirty.map(|since| {
            let left = self.place.settings.checkpoint_every;
            left.saturating_sub(self.shared.clock.monotonic() - since)
        });
        let room = (turn == Turn::Full).then_some(FULL_PATIENCE);
        let beside = (turn == Turn::Idle).then(|| self.beside_patience()).flatten();
        let news = (!heard).then_some(NEWS_PATIENCE);
        // A full disk is not asked again just because a checkpoint is due, and one that is on its way
        // wakes this thread.
        let due = due.filter(|_| turn != Turn::Full && self.pending.is_none());
        [due, room, news, beside].into_iter().flatten().min()
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // The next one to open the spool must be alone with it. What failed is found again there.
        let _settled = self.settle();
        self.shared.close();
    }
}

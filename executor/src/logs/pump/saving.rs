//! Checkpoints: those that the log waits for, and those that reach the disk while it goes on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use ocelot_core::frame::Offset;
use ocelot_proto::kit::chaos;

use super::{Failure, Pump, Turn};
use crate::disk::DiskError;
use crate::logs::spool::{Saving, SpoolError};
use crate::mask::Masker;

/// A checkpoint on its way to the disk.
pub(super) struct Pending {
    saving: Arc<Saving>,
    saved: Receiver<Result<(), SpoolError>>,
    /// How far the capture was taken when it began.
    raw: Offset,
}

impl Pump {
    /// Whether so much came behind the last checkpoint, or so long ago, that there is to be another.
    pub(super) fn is_due(&self) -> bool {
        let (Some(masker), Some(since)) = (&self.masker, self.dirty) else { return false };
        let settings = &self.place.settings;
        let bytes = settings.checkpoint_bytes.min(settings.limits.quota_bytes / 4);
        let late = self.shared.clock.monotonic() - since >= settings.checkpoint_every;
        masker.raw().0 - self.begun.0 >= bytes || (late && self.pending.is_none())
    }

    /// Makes what is in the spool what a crash goes back to, before anything else is done.
    pub(super) fn checkpoint(&mut self) -> Result<Turn, Failure> {
        if self.settle()? == Turn::Full {
            return Ok(Turn::Full);
        }
        let saving = self.begin()?;
        let saved = saving.run();
        let raw = self.begun;
        if self.end(&saving, saved, raw)? == Turn::Full {
            return Ok(Turn::Full);
        }
        self.told = false;
        self.shared.publish(|standing| standing.fixed = standing.end);
        Ok(Turn::Moved)
    }

    /// Lets a checkpoint reach the disk on a thread of its own. The one before it is waited for, so
    /// that no more than two checkpoints' bytes are ever behind the last one on disk.
    pub(super) fn begin_checkpoint(&mut self) -> Result<Turn, Failure> {
        if self.settle()? == Turn::Full {
            return Ok(Turn::Full);
        }
        let saving = self.begin()?;
        let saving = Arc::new(saving);
        let (sender, saved) = sync_channel(1);
        let (own, shared) = (Arc::clone(&saving), self.shared());
        let thread = std::thread::Builder::new().name("log-sync".to_owned()).spawn(move || {
            // Whoever does not wait for it is gone with the program.
            let _heard = sender.send(own.run());
            shared.order(|_| {});
        });
        if thread.is_err() {
            let saved = saving.run();
            return self.end(&saving, saved, self.begun);
        }
        self.pending = Some(Pending { saving, saved, raw: self.begun });
        Ok(Turn::Moved)
    }

    /// Notes the checkpoint that has reached the disk meanwhile, if one has.
    pub(super) fn take_saved(&mut self) -> Result<Turn, Failure> {
        match self.pending.as_ref().map(|pending| pending.saved.try_recv()) {
            None | Some(Err(TryRecvError::Empty)) => Ok(Turn::Moved),
            Some(Ok(saved)) => self.take(saved),
            Some(Err(TryRecvError::Disconnected)) => self.take(Err(SpoolError::Bad)),
        }
    }

    /// Waits for the checkpoint that is on its way to the disk, if there is one.
    pub(super) fn settle(&mut self) -> Result<Turn, Failure> {
        match self.pending.as_ref().map(|pending| pending.saved.recv()) {
            None => Ok(Turn::Moved),
            // Without an answer nobody knows what was synced.
            Some(saved) => self.take(saved.unwrap_or(Err(SpoolError::Bad))),
        }
    }

    fn take(&mut self, saved: Result<(), SpoolError>) -> Result<Turn, Failure> {
        match self.pending.take() {
            Some(Pending { saving, raw, .. }) => self.end(&saving, saved, raw),
            None => Ok(Turn::Moved),
        }
    }

    fn begin(&mut self) -> Result<Saving, Failure> {
        self.maker.masker = self.masker.as_ref().map(Masker::checkpoint);
        self.maker.received = self.shared.received();
        self.note_services();
        let saving = self.spool.begin_checkpoint(&self.maker.write(), self.freed)?;
        self.begun = self.masker.as_ref().map_or(self.begun, Masker::raw);
        self.dirty = None;
        Ok(saving)
    }

    fn end(&mut self, saving: &Saving, saved: Result<(), SpoolError>, raw: Offset) -> Result<Turn, Failure> {
        match self.spool.end_checkpoint(saving, saved) {
            Ok(()) => {}
            Err(SpoolError::Disk(DiskError::NoSpace { .. })) => {
                self.begun = self.checkpointed;
                self.dirty.get_or_insert_with(|| self.shared.clock.monotonic());
                return Ok(Turn::Full);
            }
            Err(error) => return Err(error.into()),
        }
        chaos::point("log.checkpointed");
        self.free_segments();
        if raw > self.checkpointed {
            self.checkpointed = raw;
            self.unsaid.taken = Some(raw);
        }
        self.services_saved();
        Ok(Turn::Moved)
    }
}

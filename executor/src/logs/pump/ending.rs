//! How a log ends: whole, broken, left to the next process, or taken away.

use ocelot_core::frame::Offset;
use tokio::sync::oneshot;

use super::{Failure, Pump, Turn};
use crate::attempt::{LogDigest, LogLoss};
use crate::logs::spool::Spool;

impl Pump {
    /// The capture is at its end: decides what is left, and answers with the whole.
    pub(super) fn seal(&mut self) -> Result<Turn, Failure> {
        if let Some(masker) = &mut self.masker {
            masker.finish(&mut self.masked);
            self.told = true;
        }
        if !self.masked.is_empty() && self.append()? == Turn::Full {
            return Ok(Turn::Full);
        }
        self.maker.sealed = true;
        if self.checkpoint()? == Turn::Full {
            self.maker.sealed = false;
            return Ok(Turn::Full);
        }
        self.masker = None;
        let digest = self.digest();
        self.shared.publish(|standing| standing.sealed = Some(digest));
        Ok(Turn::Moved)
    }

    /// Of a log that is over: answers, and lets the capture go.
    pub(super) fn discard(&mut self) -> Turn {
        self.lines.clear();
        self.lines_left_out = 0;
        let sealed = (self.digest(), self.maker.loss.clone());
        for answer in self.sealing.drain(..) {
            // Whoever asked may have given up.
            let _heard = answer.send(Ok(sealed.clone()));
        }
        if self.captured > self.checkpointed {
            self.checkpointed = self.captured;
            self.unsaid.taken = Some(self.captured);
        }
        self.discard_services();
        Turn::Idle
    }

    /// Makes nothing more of the capture.
    pub(super) fn stop(&mut self) {
        self.masker = None;
        self.masked.clear();
        self.told = false;
        self.dirty = None;
    }

    /// Ends the log where it is, with a loss.
    pub(super) fn break_off(&mut self, at: Offset, why: String) {
        let id = self.place.id;
        tracing::error!(attempt = %id, %at, "the log of {id} is broken: {why}");
        self.stop();
        let loss = LogLoss { at, why };
        self.maker.loss = Some(loss.clone());
        self.unsaid.broken = Some(loss);
        if let Err(error) = self.checkpoint() {
            tracing::error!(attempt = %id, %error, "the loss could not be noted; the next process finds it again");
        }
    }

    pub(super) fn digest(&self) -> LogDigest {
        let end = self.spool.log_end();
        LogDigest { length: end.length, sha256: end.sha256 }
    }

    /// Leaves the log to the next process.
    pub(super) fn leave(mut self) {
        let open = self.masker.is_some() && self.masked.is_empty();
        if open
            && self.dirty.is_some()
            && let Err(error) = self.checkpoint()
        {
            tracing::warn!(attempt = %self.place.id, %error, "a log was left without its last checkpoint");
        }
    }

    pub(super) fn wipe(mut self, dropped: Vec<oneshot::Sender<()>>) {
        // Whatever came of it is taken away too.
        let _settled = self.settle();
        let removed = Spool::remove(&self.place.spool()).map_err(|error| error.to_string());
        let removed = removed.and(self.kept.remove().map_err(|error| error.to_string()));
        if let Err(error) = removed {
            tracing::error!(attempt = %self.place.id, error, "a log could not be taken away");
        }
        for answer in dropped {
            // Whoever asked may have given up.
            let _heard = answer.send(());
        }
    }
}

//! The captures of services, read beside the task's own.
//!
//! In which order they mix with the task's output nobody could make again, so each piece of theirs is
//! like a line of the executor's own: in the log only behind a checkpoint, which says how far each of
//! them was taken. None of them can take the task's room: they are read in turn with its output, and
//! only while most of the spool is free. Until then a service waits, and loses nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ocelot_core::frame::{Corrupt, Decoder, Mark, Offset, service_stage};
use ocelot_supervisor::tail::Tail;
use tokio::time::Instant;

use super::{Failure, Pump};

/// A checkpoint is worth this much waiting: what comes meanwhile needs no other one.
const GATHER: Duration = Duration::from_millis(50);
/// Services may fill the spool up to one part in so many.
const SPOOL_PART: u64 = 4;

/// All that is read beside the task's own capture.
#[derive(Debug, Default)]
pub(super) struct Beside {
    services: BTreeMap<u16, Service>,
    /// How far supervisors said that captures are.
    captured: BTreeMap<u16, Offset>,
    /// Told to be taken.
    taken: BTreeMap<u16, Offset>,
    /// Taken at the last checkpoint that was begun.
    begun: BTreeMap<u16, Offset>,
    /// The service that was read last: the next one is looked at first.
    last: u16,
    /// Nothing is read before this moment.
    due: Option<Instant>,
    /// The task's own output was looked at since.
    in_turn: bool,
}

#[derive(Debug)]
struct Service {
    stage: u16,
    decoder: Decoder,
    /// None once it cannot be read any more.
    tail: Option<Tail>,
}

impl Pump {
    pub(super) fn follow_services(&mut self, follow: Vec<(u16, PathBuf)>, captured: BTreeMap<u16, Offset>) {
        for (service, end) in captured {
            let known = self.beside.captured.entry(service).or_default();
            *known = end.max(*known);
        }
        if self.masker.is_none() {
            return;
        }
        for (service, control) in follow {
            let Some(stage) = service_stage(service.into()) else { continue };
            let from = self.maker.services.get(&service).copied().unwrap_or_default();
            self.beside.services.entry(service).or_insert_with(|| Service {
                stage,
                decoder: Decoder::at(from),
                tail: Some(Tail::at(&control, from)),
            });
        }
    }

    /// Reads a service's output before the task's, if the task's was looked at since the last time.
    pub(super) fn beside_in_turn(&mut self) -> Result<bool, Failure> {
        match std::mem::replace(&mut self.beside.in_turn, true) {
            true => self.read_beside(),
            false => Ok(false),
        }
    }

    /// Reads what one service has, and returns whether any had anything.
    pub(super) fn read_beside(&mut self) -> Result<bool, Failure> {
        if self.beside.services.is_empty() || !self.may_read_beside() {
            return Ok(false);
        }
        let after = self.beside.services.range(self.beside.last.saturating_add(1)..);
        let order = after.chain(self.beside.services.range(..=self.beside.last));
        let order: Vec<u16> = order.map(|(service, _)| *service).collect();
        for service in order {
            if self.read_service(service)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn may_read_beside(&self) -> bool {
        // The end waits for everything.
        if !self.sealing.is_empty() {
            return true;
        }
        let kept = self.spool.end().0 - self.spool.first().0;
        let room = kept < self.place.settings.limits.quota_bytes / SPOOL_PART;
        room && self.beside.due.is_none_or(|due| self.shared.clock.monotonic() >= due)
    }

    fn read_service(&mut self, service: u16) -> Result<bool, Failure> {
        let Some(of) = self.beside.services.get_mut(&service) else { return Ok(false) };
        let (Some(tail), Some(masker)) = (&mut of.tail, &mut self.masker) else { return Ok(false) };
        let (read, values) = (tail.read(&mut self.buffer), masker.set().len());
        let lost = match read {
            Ok(0) => return Ok(false),
            Ok(count) => {
                let raw = &self.buffer[..count];
                let taken = masker.push_service(of.stage, &mut of.decoder, raw, &mut self.masked);
                taken.err().map(|Corrupt { why, .. }| format!("its capture is damaged: {why}"))
            }
            Err(error) => Some(format!("its capture cannot be read: {error}")),
        };
        if let Some(why) = lost {
            of.tail = None;
            let now = self.shared.clock.wall().0;
            masker.mark_service(of.stage, now, (Mark::Loss, &why), &mut self.masked);
        }
        if masker.set().len() != values {
            self.kept.write(masker.set(), self.given).map_err(Failure::Kept)?;
        }
        let now = self.shared.clock.monotonic();
        let full = read_whole(self.beside.captured.get(&service), &of.decoder);
        self.beside.due = full.then_some(now + GATHER);
        self.beside.last = service;
        self.beside.in_turn = false;
        self.dirty.get_or_insert(now);
        // What is undecided yet needs no checkpoint of its own.
        self.told |= !self.masked.is_empty();
        Ok(true)
    }

    /// Returns how long until more of the services may be read.
    pub(super) fn beside_patience(&self) -> Option<Duration> {
        let due = self.beside.due?;
        let waits = self.beside.services.iter().any(|(service, of)| {
            of.tail.is_some() && !read_whole(self.beside.captured.get(service), &of.decoder)
        });
        waits.then(|| due.saturating_duration_since(self.shared.clock.monotonic()))
    }

    /// A checkpoint is begun: notes how far each service is taken with it.
    pub(super) fn note_services(&mut self) {
        let offsets = self.beside.services.iter().map(|(service, of)| (*service, of.decoder.offset()));
        self.beside.begun = offsets.collect();
        self.maker.services.extend(&self.beside.begun);
    }

    /// The checkpoint that was begun last is on disk.
    pub(super) fn services_saved(&mut self) {
        for (service, offset) in std::mem::take(&mut self.beside.begun) {
            self.service_taken(service, offset);
        }
    }

    /// Of a log that is over: lets the captures go.
    pub(super) fn discard_services(&mut self) {
        for (service, end) in self.beside.captured.clone() {
            self.service_taken(service, end);
        }
    }

    fn service_taken(&mut self, service: u16, offset: Offset) {
        let known = self.beside.taken.entry(service).or_default();
        if offset > *known {
            *known = offset;
            self.unsaid.services_taken.insert(service, offset);
        }
    }
}

/// Whether all that is known to be captured was taken.
fn read_whole(captured: Option<&Offset>, decoder: &Decoder) -> bool {
    captured.is_none_or(|captured| decoder.offset() >= *captured)
}

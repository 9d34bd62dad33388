//! Who answers for which attempt just now, for all that speak about attempts: poll, heartbeat, offers.
//!
//! It holds no truth: the journal says what is held, and each attempt's driver what becomes of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ocelot_proto::wire;
use ocelot_proto::wire::held::Phase as WirePhase;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::attempt::AttemptId;
use crate::attempt::ports::Log;
use crate::attempt::state::Event;
use crate::journal::{Phase, State};

/// Events that may wait for one driver. What is told again anyway is dropped over that.
pub(super) const INBOX_MAX: usize = 256;

#[derive(Debug, Default)]
pub struct Board {
    attempts: Mutex<BTreeMap<AttemptId, Seat>>,
    count: watch::Sender<usize>,
    /// Attempts that left with their result known to a controller.
    carried: AtomicUsize,
}

#[derive(Debug)]
struct Seat {
    inbox: mpsc::Sender<Event>,
    phase: WirePhase,
    log: Option<Arc<dyn Log>>,
    /// It uses a slot until its result is durable.
    working: bool,
    /// The controller has the result: what is left is ours alone.
    recorded: bool,
}

impl Board {
    /// Adds an attempt; none if it is there already.
    pub fn seat(&self, id: AttemptId) -> Option<mpsc::Receiver<Event>> {
        let mut attempts = self.lock();
        if attempts.contains_key(&id) {
            return None;
        }
        let (inbox, events) = mpsc::channel(INBOX_MAX);
        let seat = Seat { inbox, phase: WirePhase::Accepted, log: None, working: true, recorded: false };
        attempts.insert(id, seat);
        let count = attempts.len();
        drop(attempts);
        self.count.send_replace(count);
        Some(events)
    }

    pub fn leave(&self, id: AttemptId) {
        let mut attempts = self.lock();
        let left = attempts.remove(&id);
        if left.is_some_and(|seat| seat.recorded) {
            self.carried.fetch_add(1, Ordering::Relaxed);
        }
        let count = attempts.len();
        drop(attempts);
        self.count.send_replace(count);
    }

    pub fn is_seated(&self, id: AttemptId) -> bool {
        self.lock().contains_key(&id)
    }

    pub fn note_phase(&self, id: AttemptId, phase: WirePhase) {
        if let Some(seat) = self.lock().get_mut(&id) {
            seat.phase = phase;
            seat.working = phase != WirePhase::Ended;
        }
    }

    pub fn note_log(&self, id: AttemptId, log: Arc<dyn Log>) {
        if let Some(seat) = self.lock().get_mut(&id) {
            seat.log = Some(log);
        }
    }

    pub fn note_recorded(&self, id: AttemptId) {
        if let Some(seat) = self.lock().get_mut(&id) {
            seat.recorded = true;
        }
    }

    /// An attempt is not ours any more. Once its result is durable, nothing of it runs, and only the
    /// answer to its completion says what that is worth: a controller that has just recorded it does
    /// not know it as held either, and the spool may still be the only whole copy of the log.
    pub fn kill(&self, id: AttemptId) {
        let ended = self.lock().get(&id).is_some_and(|seat| seat.phase == WirePhase::Ended);
        if !ended {
            self.tell(id, Event::Fenced);
        }
    }

    /// Tells one attempt's driver.
    pub fn tell(&self, id: AttemptId, event: Event) {
        if let Some(seat) = self.lock().get(&id)
            && seat.inbox.try_send(event).is_err()
        {
            tracing::warn!(attempt = %id, "an attempt has too much to do to be told more");
        }
    }

    pub fn tell_all(&self, event: &Event) {
        let ids: Vec<AttemptId> = self.lock().keys().copied().collect();
        ids.into_iter().for_each(|id| self.tell(id, event.clone()));
    }

    /// A controller said how far a log is safe.
    pub fn safe(&self, id: AttemptId, received: u64, durable: u64) {
        use ocelot_core::frame::Offset;
        let log = self.lock().get(&id).and_then(|seat| seat.log.clone());
        if let Some(log) = log {
            log.safe(Offset(received), Offset(durable));
        }
    }

    pub fn ids(&self) -> Vec<AttemptId> {
        self.lock().keys().copied().collect()
    }

    /// Returns how many attempts need a slot.
    pub fn working(&self) -> usize {
        self.lock().values().filter(|seat| seat.working).count()
    }

    /// Returns how many attempts are on their way to their containers.
    pub fn starting(&self) -> usize {
        let starts = |seat: &&Seat| matches!(seat.phase, WirePhase::Accepted | WirePhase::Preparing);
        self.lock().values().filter(starts).count()
    }

    /// Returns how many attempts were carried through: a controller has their result and their log.
    pub fn carried(&self) -> usize {
        self.carried.load(Ordering::Relaxed)
    }

    /// Returns how many attempts have done their work, and only their end is still to be told.
    pub fn telling(&self) -> usize {
        let has_ended = |seat: &&Seat| matches!(seat.phase, WirePhase::Finishing | WirePhase::Ended);
        self.lock().values().filter(has_ended).count()
    }

    /// Waits until no attempt needs a slot, or none is left at all.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Returns everything that the journal holds and a controller may not have the end of.
    pub fn held(&self, journal: &State) -> Vec<wire::Held> {
        let attempts = self.lock();
        let recorded = |id| attempts.get(&id).is_some_and(|seat| seat.recorded);
        let held = journal.attempts.iter().filter(|held| !recorded(held.id)).map(|held| {
            let seat = attempts.get(&held.id);
            let phase = match (&held.phase, seat.map(|seat| seat.phase)) {
                (Phase::Ended(_) | Phase::Fenced, _) => WirePhase::Ended,
                (Phase::Accepted | Phase::Starting | Phase::Started(_), Some(phase)) => phase,
                (Phase::Accepted, None) => WirePhase::Accepted,
                (Phase::Starting | Phase::Started(_), None) => WirePhase::Running,
            };
            wire::Held {
                attempt: Some(held.id.to_wire()),
                phase: phase.into(),
                log_end: seat.and_then(|seat| seat.log.as_ref()).map_or(0, |log| log.end().0),
            }
        });
        held.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Seat>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

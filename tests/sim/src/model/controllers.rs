//! What controllers and the store do in the model.

use ocelot_domain::outcome::Actor;
use ocelot_domain::task::timing::Revision;
use ocelot_domain::task::{Event, Holding, Timing, Wait as TaskWait};

use super::guard::Guard;
use super::law::{completed, lists_after, lists_before, live_claim, offer};
use super::moves::{Hand, Move};
use super::world::{
    ATTEMPTS, Beat, Pending, Power, REASSIGN_TICKS, Stands, Wait, World, bit, claim, sequence, slot,
};

impl Hand<'_> {
    pub(super) fn controllers(&mut self) {
        self.offers();
        self.ask(Move::Undelivered, |world| {
            let claim = live_claim(&world.record);
            (world.record.stands == Stands::Offered)
                .then_some(Event::Undelivered { claim, waited: std::time::Duration::ZERO })
        });
        if self.model.cancels && !self.world.cancel_asked {
            self.cancel();
        }
        for controller in [0, 1] {
            self.waits(controller);
            self.lost(controller);
        }
        self.missing();
        for attempt in 1..=ATTEMPTS {
            for incarnation in 1..=2 {
                self.acknowledgement(attempt, incarnation);
                self.completion(attempt, incarnation);
            }
        }
        for executor in [0, 1] {
            self.beat(executor);
        }
    }

    /// Puts an event to the record and, if it changes, makes the move.
    fn ask(&mut self, made: Move, event: impl FnOnce(&World) -> Option<Event>) -> Option<World> {
        let event = event(self.world)?;
        let verdict = self.model.decide(self.world, &self.world.record, &event)?;
        let world = self.write(verdict.record);
        if world != *self.world {
            self.emit(made, world, verdict.broken);
        }
        Some(world)
    }

    fn offers(&mut self) {
        let record = self.world.record;
        if record.stands != Stands::Queued || record.attempt >= ATTEMPTS {
            return;
        }
        for executor in [0, 1] {
            let incarnation = self.world.registered[usize::from(executor)];
            let event = offer(executor, incarnation);
            let Some(verdict) = self.model.decide(self.world, &record, &event) else { continue };
            let mut world = self.write(verdict.record);
            world.offered[slot(world.record.attempt)] = offered_to(executor, incarnation);
            self.emit(Move::Offer { executor }, world, verdict.broken);
        }
    }

    fn cancel(&mut self) {
        let event = Event::CancelRequested { by: Actor("person".into()) };
        let Some(verdict) = self.model.decide(self.world, &self.world.record, &event) else { return };
        let mut world = self.write(verdict.record);
        world.cancel_asked = true;
        if !self.model.on(Guard::CancelKeepsWait) {
            world.waits = [Wait::NONE; 2];
        }
        let over = |world: &World| {
            [0, 1].map(|controller| self.model.served(&world.record, &world.waits[controller]).is_some())
        };
        let forgot = world.record.live() && over(&world) != over(self.world);
        let broken = forgot.then_some("a cancel counts as a sign of life (I10)");
        self.emit(Move::Cancel, world, verdict.broken.or(broken));
    }

    fn waits(&mut self, controller: usize) {
        let gone = self.world.holder_gone();
        let wait = self.world.waits[controller];
        let acknowledged = self.world.record.acknowledged();
        let void = !wait.fresh
            || (wait.acknowledged != acknowledged && self.model.on(Guard::AcknowledgeRestartsWait));
        let mut world = *self.world;
        if gone && (wait.ticks < 0 || void) {
            world.waits[controller] = Wait { ticks: 0, fresh: true, acknowledged };
            self.emit(Move::SeesGone { controller }, world, None);
        } else if !gone && wait.ticks >= 0 {
            world.waits[controller] = Wait::NONE;
            self.emit(Move::SeesBack { controller }, world, None);
        }
    }

    fn lost(&mut self, controller: usize) {
        let record = self.world.record;
        match self.world.pending[controller] {
            Pending::None => {
                let wait = self.world.waits[controller];
                let dead = !wait.fresh && self.model.on(Guard::LostComparesEpoch);
                let Some(served) = self.model.served(&record, &wait).filter(|_| !dead) else { return };
                // Early, if the wait was for the offer and the record is past it.
                if self.refused(Event::SessionGone(served)) {
                    return;
                }
                let mut world = *self.world;
                let Wait { fresh, acknowledged, .. } = wait;
                world.pending[controller] = Pending::Lost { fresh, acknowledged };
                if !self.model.on(Guard::LostComparesRecord) {
                    world.decided_on[controller] = record;
                }
                self.emit(Move::SendsLost { controller }, world, None);
            }
            Pending::Lost { fresh, acknowledged } => {
                let compared = self.model.on(Guard::LostComparesRecord);
                let base = if compared { record } else { self.world.decided_on[controller] };
                let wait = Wait { ticks: REASSIGN_TICKS, fresh, acknowledged };
                let Some(served) = self.model.served(&base, &wait) else { return };
                let event = Event::SessionGone(served);
                let Some(verdict) = self.model.decide(self.world, &base, &event) else { return };
                let mut world = self.write(verdict.record);
                world.pending[controller] = Pending::None;
                self.emit(Move::LostApplies { controller }, world, verdict.broken);
            }
        }
    }

    /// Whether `step` itself refuses, whatever the store says.
    fn refused(&self, event: Event) -> bool {
        let task = self.world.record.task(self.model.class);
        ocelot_domain::task::step(&task, event, super::world::NOW).is_err()
    }

    fn missing(&mut self) {
        let record = self.world.record;
        if !record.acknowledged() {
            return;
        }
        let claim = live_claim(&record);
        self.ask(Move::OldListsArrive, |world| {
            let has = world.executors[usize::from(record.executor)].held == record.attempt;
            let lists = lists_before(record.attempt);
            has.then_some(Event::Missing { claim, lists, served: None })
        });
        let holder = self.world.executors[usize::from(record.executor)];
        let listed = holder.power == Power::Up
            && holder.incarnation == record.incarnation
            && holder.held != record.attempt
            && self.world.acknowledged[slot(record.attempt)] != 0;
        if !listed {
            return;
        }
        if self.world.missing < 0 {
            let mut world = *self.world;
            world.missing = 0;
            self.emit(Move::SeesMissing, world, None);
        }
        let ticks = self.world.missing;
        self.ask(Move::MissingApplies, |_| {
            let wait = TaskWait::begin(&record.task(self.model.class), Revision(1))?;
            let elapsed = self.model.elapsed(ticks)?;
            let served = Timing::for_fleet(2).served(wait, elapsed);
            Some(Event::Missing { claim, lists: lists_after(record.attempt), served })
        });
    }

    fn acknowledgement(&mut self, attempt: u8, incarnation: u8) {
        let at = slot(attempt);
        if self.world.acknowledged[at] & bit(incarnation) == 0 {
            return;
        }
        let (executor, _) = offered_of(self.world.offered[at]);
        let claim = claim(attempt, executor, incarnation);
        let event = Event::Acknowledged { claim, sequence: sequence(attempt) };
        let Some(verdict) = self.model.decide(self.world, &self.world.record, &event) else { return };
        let mut world = self.write(verdict.record);
        world.answered[at] |= bit(incarnation);
        self.emit(Move::Acknowledged { attempt, incarnation }, world, verdict.broken);
    }

    fn completion(&mut self, attempt: u8, incarnation: u8) {
        let at = slot(attempt);
        if self.world.completed[at] & bit(incarnation) == 0 {
            return;
        }
        let (executor, _) = offered_of(self.world.offered[at]);
        for succeeded in [true, false] {
            let made = Move::Completed { attempt, incarnation, succeeded };
            self.ask(made, |_| Some(completed(claim(attempt, executor, incarnation), succeeded)));
        }
    }

    /// A heartbeat that reached a controller: vouched for, or the session put back.
    fn beat(&mut self, executor: u8) {
        let at = usize::from(executor);
        let Beat::Request { incarnation, attempt, ticks } = self.world.beats[at] else { return };
        let mut world = *self.world;
        if self.world.has_session(executor, incarnation) || !self.model.on(Guard::VouchComparesSession) {
            let vouched = !self.model.on(Guard::VouchComparesRecord)
                || (attempt > 0 && {
                    match self.model.standing(&world.record, &claim(attempt, executor, incarnation)) {
                        Holding::Running { .. } | Holding::Cancelling { .. } => true,
                        Holding::Offered | Holding::Unattached | Holding::Recorded | Holding::Kill => false,
                    }
                });
            world.beats[at] = if vouched { Beat::Answer { incarnation, attempt, ticks } } else { Beat::None };
            self.emit(Move::BeatConfirmed { executor }, world, None);
        }
        let mut world = *self.world;
        let counts = self.world.registered[at] == incarnation;
        if !self.world.has_session(executor, incarnation)
            && (counts || !self.model.on(Guard::PutBackComparesIncarnation))
        {
            world.sessions[at] |= bit(incarnation);
            self.stale_epoch(&mut world, executor);
            if !self.model.timed() {
                world.beats[at] = Beat::None;
            }
            self.emit(Move::BeatPutsBack { executor }, world, None);
        }
    }
}

fn offered_to(executor: u8, incarnation: u8) -> u8 {
    1 + executor + 2 * incarnation
}

/// Reads back to which executor and incarnation an offer went.
pub(super) fn offered_of(code: u8) -> (u8, u8) {
    ((code - 1) % 2, (code - 1) / 2)
}

//! What executors, their machines and the passing of time do in the model.

use ocelot_domain::task::{Event, Holding};

use super::controllers::offered_of;
use super::guard::Guard;
use super::law::Violation;
use super::moves::{Hand, Move};
use super::world::{
    ATTEMPTS, Beat, Executor, GUARD_TICKS, INCARNATIONS, Phase, Power, REASSIGN_TICKS, Stands, World, bit,
    claim, slot,
};

impl Hand<'_> {
    pub(super) fn executors(&mut self) {
        for number in [0, 1] {
            let executor = self.world.executors[usize::from(number)];
            match executor.power {
                Power::Up => self.works(number, executor),
                Power::Paused => {
                    let world = self.with(number, |executor| executor.power = Power::Up);
                    self.emit(Move::Resumes { executor: number }, world, None);
                }
                Power::Down => {
                    let world = self.with(number, |executor| {
                        executor.power = Power::Up;
                        executor.incarnation += 1;
                    });
                    self.emit(Move::Restarts { executor: number }, world, None);
                }
            }
            self.machine(number, executor);
            self.faults(number, executor);
            self.lease(number, executor);
        }
    }

    fn works(&mut self, number: u8, executor: Executor) {
        self.delivery(number, executor);
        self.start(number, executor);
        self.recovery(number, executor);
        self.session(number, executor);
        self.told(number, executor);
        self.heartbeat(number, executor);
    }

    fn delivery(&mut self, number: u8, executor: Executor) {
        let incarnation = executor.incarnation;
        if executor.held == 0 && executor.container == 0 {
            for attempt in 1..=ATTEMPTS {
                let code = self.world.offered[slot(attempt)];
                let again = self.world.acknowledged[slot(attempt)] & bit(incarnation) != 0;
                if code == 0 || offered_of(code) != (number, incarnation) || again {
                    continue;
                }
                let timed = self.model.timed();
                let mut world = self.with(number, |executor| {
                    executor.held = attempt;
                    executor.phase = Phase::Accepted;
                    executor.vouched = if timed { GUARD_TICKS } else { 0 };
                });
                world.acknowledged[slot(attempt)] |= bit(incarnation);
                let record = &self.world.record;
                let given_again = record.stands == Stands::Offered
                    && (record.attempt, record.executor, record.incarnation)
                        == (attempt, number, incarnation);
                let made = match given_again {
                    true => Move::Accepts { executor: number, attempt },
                    false => Move::AcceptsLate { executor: number, attempt },
                };
                self.emit(made, world, None);
            }
        }
        if executor.held == 0 || executor.phase != Phase::Accepted {
            return;
        }
        let at = slot(executor.held);
        let mut world = *self.world;
        world.acknowledged[at] |= bit(incarnation);
        self.emit(Move::AcknowledgesAgain { executor: number }, world, None);
        if self.world.answered[at] & bit(incarnation) != 0 {
            let world = self.with(number, |executor| executor.confirmed = executor.held);
            self.emit(Move::Answered { executor: number }, world, None);
        }
    }

    fn start(&mut self, number: u8, executor: Executor) {
        let Executor { held, phase, vouched, .. } = executor;
        let confirmed = executor.confirmed == held || !self.model.on(Guard::StartWaitsForAnswer);
        if held == 0 || !confirmed || executor.container != 0 {
            return;
        }
        let deadline =
            if self.model.on(Guard::FirstDeadlineFromAcknowledgement) { vouched } else { GUARD_TICKS };
        let late = self.model.timed() && deadline == 0 && self.model.on(Guard::StartChecksDeadline);
        let journals = self.model.on(Guard::StartIsJournalled);
        if journals && phase == Phase::Accepted && !late {
            let world = self.with(number, |executor| executor.phase = Phase::Starting);
            self.emit(Move::JournalsStart { executor: number }, world, None);
        }
        let ready = if journals { Phase::Starting } else { Phase::Accepted };
        if phase == ready && !late {
            let timed = self.model.timed();
            let world = self.with(number, |executor| {
                executor.container = held;
                executor.guard = if timed { deadline } else { 0 };
                if journals {
                    executor.phase = Phase::Started;
                }
            });
            self.emit(Move::Creates { executor: number }, world, None);
        }
    }

    fn recovery(&mut self, number: u8, executor: Executor) {
        let Executor { held, phase, container, confirmed, .. } = executor;
        if container != 0 && container != held {
            let world = self.with(number, Executor::drop_container);
            self.emit(Move::KillsUnknown { executor: number }, world, None);
        }
        let over = phase == Phase::Started || (phase == Phase::Starting && confirmed != held);
        if held != 0 && container == 0 && over {
            let world = self.with(number, |executor| executor.phase = Phase::Ended);
            self.emit(Move::FindsNoContainer { executor: number }, world, None);
        }
        if held != 0 && phase == Phase::Ended {
            let mut world = *self.world;
            world.completed[slot(held)] |= bit(executor.incarnation);
            self.emit(Move::Reports { executor: number }, world, None);
        }
    }

    fn session(&mut self, number: u8, executor: Executor) {
        let at = usize::from(number);
        let incarnation = executor.incarnation;
        if self.world.registered[at] < incarnation {
            let mut world = *self.world;
            let kept = if self.model.on(Guard::OpenReplacesSession) { 0 } else { world.sessions[at] };
            world.sessions[at] = kept | bit(incarnation);
            world.registered[at] = incarnation;
            self.stale_epoch(&mut world, number);
            self.emit(Move::Opens { executor: number }, world, None);
        }
        if executor.held == 0 || !self.world.has_session(number, incarnation) {
            return;
        }
        let event = Event::Reattached { claim: claim(executor.held, number, incarnation) };
        if let Some(verdict) = self.model.decide(self.world, &self.world.record, &event) {
            let world = self.write(verdict.record);
            self.emit(Move::Attaches { executor: number }, world, verdict.broken);
        }
    }

    /// What a poll or a heartbeat answers about the attempt that it lists.
    fn told(&mut self, number: u8, executor: Executor) {
        if executor.held == 0 || !self.world.has_session(number, executor.incarnation) {
            return;
        }
        let claim = claim(executor.held, number, executor.incarnation);
        let stale = !self.model.on(Guard::KillFromFreshRead)
            && self.model.standing(&self.world.view, &claim) == Holding::Kill;
        let fenced = match self.model.standing(&self.world.record, &claim) {
            Holding::Kill => true,
            Holding::Unattached => !self.model.on(Guard::AttachBeforeFenced),
            Holding::Offered | Holding::Running { .. } | Holding::Recorded => false,
            Holding::Cancelling { .. } => {
                if executor.phase != Phase::Ended {
                    let world = self.with(number, |executor| {
                        executor.drop_container();
                        executor.phase = Phase::Ended;
                    });
                    self.emit(Move::IsToldCancel { executor: number }, world, None);
                }
                false
            }
        };
        if fenced || stale {
            let broken = self.kills_healthy(number, executor);
            let world = self.with(number, |executor| {
                if executor.container == executor.held {
                    executor.drop_container();
                }
                executor.forget();
            });
            self.emit(Move::IsFenced { executor: number }, world, broken);
        }
    }

    fn kills_healthy(&self, number: u8, executor: Executor) -> Option<Violation> {
        let record = &self.world.record;
        let names = matches!(record.stands, Stands::Offered | Stands::Running)
            && record.executor == number
            && record.attempt == executor.held;
        names.then_some("a healthy attempt is killed (I24)")
    }

    fn heartbeat(&mut self, number: u8, executor: Executor) {
        let at = usize::from(number);
        let incarnation = executor.incarnation;
        let wanted =
            (self.model.timed() && executor.held != 0) || !self.world.has_session(number, incarnation);
        if self.world.beats[at] == Beat::None && self.world.registered[at] >= incarnation && wanted {
            let mut world = *self.world;
            let ticks = if self.model.timed() { GUARD_TICKS } else { 0 };
            world.beats[at] = Beat::Request { incarnation, attempt: executor.held, ticks };
            self.emit(Move::Beats { executor: number }, world, None);
        }
        if let Beat::Answer { incarnation: asked, attempt, ticks } = self.world.beats[at]
            && asked == incarnation
        {
            let ticks = if self.model.on(Guard::DeadlineFromSendTime) { ticks } else { GUARD_TICKS };
            let whole = !self.model.on(Guard::VouchComparesRecord);
            let mut world = self.with(number, |executor| {
                if attempt != executor.held && !whole {
                    return;
                }
                executor.vouched = executor.vouched.max(ticks);
                if executor.container != 0 && executor.container == executor.held && executor.guard > 0 {
                    executor.guard = executor.guard.max(ticks);
                }
            });
            world.beats[at] = Beat::None;
            self.emit(Move::BeatAnswered { executor: number }, world, None);
        }
    }

    /// What happens on the machine whether or not the executor's process lives.
    fn machine(&mut self, number: u8, executor: Executor) {
        if executor.container != 0 && !executor.forked {
            let late = self.model.timed() && executor.guard == 0;
            if !late || !self.model.on(Guard::ForkChecksDeadline) {
                let mut world = self.with(number, |executor| executor.forked = true);
                world.starts = (world.starts + 1).min(2);
                self.emit(Move::Forks { executor: number }, world, None);
            }
        }
        if executor.forked {
            let world = self.with(number, Executor::end_container);
            self.emit(Move::ContainerEnds { executor: number }, world, None);
        }
        if let Beat::Request { incarnation, .. } | Beat::Answer { incarnation, .. } =
            self.world.beats[usize::from(number)]
            && incarnation != executor.incarnation
        {
            let mut world = *self.world;
            world.beats[usize::from(number)] = Beat::None;
            self.emit(Move::BeatLost { executor: number }, world, None);
        }
    }

    fn faults(&mut self, number: u8, executor: Executor) {
        if self.world.faults == 0 || executor.power == Power::Down {
            return;
        }
        if executor.power == Power::Up {
            let world = self.with(number, |executor| executor.power = Power::Paused);
            self.emit(Move::Pauses { executor: number }, world, None);
            if executor.held != 0 {
                let world = self.with(number, Executor::forget);
                self.emit(Move::Forgets { executor: number }, world, None);
            }
        }
        if executor.incarnation >= INCARNATIONS {
            return;
        }
        let crash = |executor: &mut Executor| {
            executor.power = Power::Down;
            (executor.confirmed, executor.vouched) = (0, 0);
        };
        let world = self.with(number, crash);
        self.emit(Move::Crashes { executor: number }, world, None);
        let world = self.with(number, |executor| {
            crash(executor);
            executor.drop_container();
        });
        self.emit(Move::Reboots { executor: number }, world, None);
        let world = self.with(number, |executor| {
            crash(executor);
            executor.forget();
        });
        self.emit(Move::LosesDisk { executor: number }, world, None);
    }

    /// A lease lives as long as its process sends heartbeats, or the store drops it.
    fn lease(&mut self, number: u8, executor: Executor) {
        for incarnation in 1..=INCARNATIONS {
            if !self.world.has_session(number, incarnation) {
                continue;
            }
            let mut world = *self.world;
            world.sessions[usize::from(number)] &= !bit(incarnation);
            let renewed = executor.power == Power::Up && executor.incarnation == incarnation;
            if !renewed {
                self.emit(Move::LeaseExpires { executor: number }, world, None);
            } else if self.world.faults > 0 {
                self.emit(Move::LeaseDropped { executor: number }, world, None);
            }
        }
    }

    pub(super) fn time(&mut self) {
        if !self.model.timed() {
            return;
        }
        let mut world: World = *self.world;
        for executor in &mut world.executors {
            executor.vouched = executor.vouched.saturating_sub(1);
            if executor.container != 0 {
                let over = executor.guard <= 1;
                executor.guard = executor.guard.saturating_sub(1);
                if over && (executor.forked || self.model.on(Guard::ForkChecksDeadline)) {
                    executor.end_container();
                }
            }
        }
        for beat in &mut world.beats {
            *beat = match *beat {
                beat if !self.model.on(Guard::DeadlineFromSendTime) => beat,
                Beat::Request { incarnation, attempt, ticks } if ticks > 1 => {
                    Beat::Request { incarnation, attempt, ticks: ticks - 1 }
                }
                Beat::Answer { incarnation, attempt, ticks } if ticks > 1 => {
                    Beat::Answer { incarnation, attempt, ticks: ticks - 1 }
                }
                Beat::None | Beat::Request { .. } | Beat::Answer { .. } => Beat::None,
            };
        }
        for wait in &mut world.waits {
            if wait.ticks >= 0 {
                wait.ticks = (wait.ticks + 1).min(REASSIGN_TICKS);
            }
        }
        if world.missing >= 0 {
            world.missing = (world.missing + 1).min(REASSIGN_TICKS);
        }
        self.emit(Move::TimePasses, world, None);
    }
}

impl Executor {
    fn drop_container(&mut self) {
        (self.container, self.forked, self.guard) = (0, false, 0);
    }

    fn end_container(&mut self) {
        if self.held == self.container {
            self.phase = Phase::Ended;
        }
        self.drop_container();
    }

    /// Drops the attempt from the journal.
    fn forget(&mut self) {
        (self.held, self.phase, self.confirmed, self.vouched) = (0, Phase::Nothing, 0, 0);
    }
}

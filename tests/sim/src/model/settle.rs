//! The normal form of a world: what can make no difference any more is forgotten, and worlds that
//! differ only in the names of executors or controllers are one.
//!
//! Each rule here must be safe with any guard switched off; where one is not, it asks.

use super::guard::Guard;
use super::law::Model;
use super::world::{ATTEMPTS, Beat, Pending, Record, Stands, Wait, World, bit, slot};

impl Model {
    pub(super) fn settled(&self, world: &World) -> World {
        let mut settled = *world;
        settled.record.failed_deliveries = 0;
        if !settled.record.live() {
            (settled.record.executor, settled.record.incarnation) = (0, 0);
        }
        if !self.once_matters() {
            settled.starts = 0;
        }
        for executor in &mut settled.executors {
            if executor.held == 0 {
                (executor.vouched, executor.confirmed) = (0, 0);
            }
        }
        self.forget_fenced(&mut settled);
        if settled.record.stands == Stands::Finished && self.on(Guard::FinishedAbsorbs) {
            self.forget_after_end(&mut settled);
        }
        if order(&settled, 1) < order(&settled, 0) {
            settled.waits.swap(0, 1);
            settled.pending.swap(0, 1);
            settled.decided_on.swap(0, 1);
        }
        settled
    }

    fn once_matters(&self) -> bool {
        self.class == ocelot_core::plan::Class::Once
    }

    /// Messages of an attempt that is over are refused for ever.
    fn forget_fenced(&self, world: &mut World) {
        if !self.on(Guard::CompleteComparesAttempt) || !self.on(Guard::LostComparesRecord) {
            return;
        }
        for attempt in 1..=ATTEMPTS {
            let over =
                attempt < world.record.attempt || (attempt == world.record.attempt && !world.record.live());
            if over && self.on(Guard::FinishedAbsorbs) {
                world.completed[slot(attempt)] = 0;
                world.record.completed &= !bit(attempt);
            }
        }
    }

    /// After the end only what is on its way to an executor can still start a container.
    fn forget_after_end(&self, world: &mut World) {
        if !self.on(Guard::LostComparesRecord) {
            return;
        }
        world.waits = [Wait::NONE; 2];
        world.pending = [Pending::None; 2];
        world.missing = -1;
        world.acknowledged = [0; 3];
        world.completed = [0; 3];
        // An offer that arrives now is acknowledged, and the answer never comes.
        if self.on(Guard::StartWaitsForAnswer) {
            world.offered = [0; 3];
        }
        for beat in &mut world.beats {
            if matches!(beat, Beat::Request { .. }) && self.on(Guard::VouchComparesRecord) {
                *beat = Beat::None;
            }
        }
    }
}

fn order(world: &World, controller: usize) -> (i8, bool, bool, u8) {
    let Wait { ticks, fresh, acknowledged } = world.waits[controller];
    let pending = match world.pending[controller] {
        Pending::None => 0,
        Pending::Lost { fresh, acknowledged } => 1 + u8::from(fresh) + 2 * u8::from(acknowledged),
    };
    (ticks, fresh, acknowledged, pending)
}

/// The same world with the executors' names exchanged.
pub(super) fn mirrored(world: &World) -> World {
    let mut mirrored = *world;
    mirrored.sessions.swap(0, 1);
    mirrored.registered.swap(0, 1);
    mirrored.executors.swap(0, 1);
    mirrored.beats.swap(0, 1);
    mirror_record(&mut mirrored.record);
    mirror_record(&mut mirrored.view);
    mirrored.decided_on.iter_mut().for_each(mirror_record);
    for code in &mut mirrored.offered {
        if *code > 0 {
            *code = ((*code - 1) ^ 1) + 1;
        }
    }
    mirrored
}

fn mirror_record(record: &mut Record) {
    if record.live() {
        record.executor ^= 1;
    }
}

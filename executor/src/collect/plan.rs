//! What goes, and in which order: pure, so that nothing is taken away by accident.
//!
//! What nobody can use any more goes whenever it is seen. What would have to be fetched again goes only
//! as far as there is need: the disk has less room than its high mark asks for, or all of ours together
//! is more than the budget. Then what was not used for the longest time goes first, until the low mark
//! is reached. What is in use never goes.

use std::time::SystemTime;

/// Collection begins below a tenth of the disk, but of a large disk not so much is left idle.
const TENTH_MAX: u64 = 64 << 30;

/// What may be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A directory of an attempt that is over.
    Leftover,
    /// A container that does not run and that no attempt holds.
    Container,
    /// A network that no attempt holds.
    Network,
    /// The copy of a repository that checkouts are made from.
    Mirror,
    /// An image that this executor pulled.
    Image,
}

impl Kind {
    /// Whether it is of no use to anybody, so that it goes without need.
    fn is_garbage(self) -> bool {
        match self {
            Self::Leftover | Self::Container | Self::Network => true,
            Self::Mirror | Self::Image => false,
        }
    }
}

/// Which disk something lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// That of the data directory.
    Own,
    /// Another one, which the container engine uses.
    Engine,
}

/// Something of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    pub kind: Kind,
    /// By which it is found again: a path, or the engine's id.
    pub name: String,
    pub bytes: u64,
    pub last_used: SystemTime,
    pub in_use: bool,
    pub disk: Disk,
}

/// What the executor may use of its disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// All of ours together; none: only the free space counts.
    pub budget: Option<u64>,
    /// The high mark: with less than this free, collection begins.
    pub below: Option<u64>,
    /// The low mark: it goes on until so much is free.
    pub until: Option<u64>,
}

/// The marks of one disk, in free bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    pub below: u64,
    pub until: u64,
}

impl Limits {
    /// Returns the marks of a disk of this size. Where nobody says otherwise, collection begins below a
    /// tenth of the disk or twice the floor, whichever is more, but not above half of the disk; it
    /// always begins before new work is refused.
    pub fn marks(&self, size: u64, floor: u64) -> Marks {
        let usual = (size / 10).min(TENTH_MAX).max(floor.saturating_mul(2)).min(size / 2);
        let least = floor.saturating_add(floor / 4);
        let below = self.below.unwrap_or(usual).max(least);
        let until = self.until.unwrap_or(below.saturating_add(below / 4)).max(below);
        Marks { below, until }
    }
}

/// The room on one disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub free: u64,
    pub marks: Marks,
}

impl Room {
    pub fn is_short(&self) -> bool {
        self.free < self.marks.below
    }
}

/// All that a decision is made by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Situation {
    pub things: Vec<Thing>,
    /// Of attempts that live, and of nothing else.
    pub held_bytes: u64,
    pub own: Option<Room>,
    /// None: it is the same disk, or cannot be seen.
    pub engine: Option<Room>,
    pub budget: Option<u64>,
}

impl Situation {
    /// Returns what all of ours takes together.
    pub fn bytes(&self) -> u64 {
        self.things.iter().fold(self.held_bytes, |sum, thing| sum.saturating_add(thing.bytes))
    }

    /// Returns what goes, in this order.
    pub fn plan(&self) -> Vec<Thing> {
        let mut free: Vec<&Thing> = self.things.iter().filter(|thing| !thing.in_use).collect();
        free.sort_by(|one, other| {
            let key = |thing: &Thing| (!thing.kind.is_garbage(), thing.last_used);
            key(one).cmp(&key(other)).then_with(|| one.name.cmp(&other.name))
        });
        let mut missing = Missing::of(self);
        free.retain(|thing| {
            let goes = thing.kind.is_garbage() || missing.is_helped_by(thing);
            if goes {
                missing.without(thing);
            }
            goes
        });
        free.into_iter().cloned().collect()
    }
}

/// How much is still to come free.
struct Missing {
    own: u64,
    engine: u64,
    budget: u64,
}

impl Missing {
    fn of(situation: &Situation) -> Self {
        let on = |room: Option<Room>| match room {
            Some(room) if room.is_short() => room.marks.until - room.free,
            Some(_) | None => 0,
        };
        let bytes = situation.bytes();
        let over = match situation.budget {
            // A tenth below, so that the next pull does not begin it all anew.
            Some(budget) if bytes > budget => bytes - (budget - budget / 10),
            Some(_) | None => 0,
        };
        Self { own: on(situation.own), engine: on(situation.engine), budget: over }
    }

    fn is_helped_by(&self, thing: &Thing) -> bool {
        let disk = match thing.disk {
            Disk::Own => self.own,
            Disk::Engine => self.engine,
        };
        disk > 0 || self.budget > 0
    }

    fn without(&mut self, thing: &Thing) {
        let disk = match thing.disk {
            Disk::Own => &mut self.own,
            Disk::Engine => &mut self.engine,
        };
        *disk = disk.saturating_sub(thing.bytes);
        self.budget = self.budget.saturating_sub(thing.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn thing(kind: Kind, name: &str, used: u64, bytes: u64) -> Thing {
        Thing {
            kind,
            name: name.to_owned(),
            bytes,
            last_used: SystemTime::UNIX_EPOCH + Duration::from_secs(used),
            in_use: false,
            disk: Disk::Own,
        }
    }

    fn room(free: u64, below: u64, until: u64) -> Option<Room> {
        Some(Room { free, marks: Marks { below, until } })
    }

    fn names(situation: &Situation) -> Vec<String> {
        situation.plan().into_iter().map(|thing| thing.name).collect()
    }

    fn ours() -> Vec<Thing> {
        let busy = Thing { in_use: true, ..thing(Kind::Mirror, "busy", 0, 10) };
        vec![
            thing(Kind::Mirror, "new mirror", 9, 10),
            thing(Kind::Image, "old image", 1, 10),
            busy,
            thing(Kind::Leftover, "left", 8, 10),
            thing(Kind::Mirror, "mid mirror", 5, 10),
            thing(Kind::Container, "stopped", 7, 0),
        ]
    }

    #[test]
    fn without_need_only_what_nobody_can_use_goes() {
        let situation = Situation { things: ours(), own: room(100, 50, 60), ..Situation::default() };
        assert_eq!(names(&situation), ["stopped", "left"]);
    }

    #[test]
    fn with_need_the_least_recently_used_goes_first_and_no_more_than_needed() {
        let with =
            |free| names(&Situation { things: ours(), own: room(free, 50, 60), ..Situation::default() });
        // What the left-over gives counts.
        assert_eq!(with(50), ["stopped", "left"]);
        assert_eq!(with(49), ["stopped", "left", "old image"]);
        assert_eq!(with(40), ["stopped", "left", "old image"]);
        assert_eq!(with(39), ["stopped", "left", "old image", "mid mirror"]);
        assert_eq!(with(0), ["stopped", "left", "old image", "mid mirror", "new mirror"]);
    }

    #[test]
    fn a_budget_counts_all_of_ours_and_is_met_with_a_tenth_to_spare() {
        let things = ours();
        let with = |budget| {
            names(&Situation {
                things: things.clone(),
                held_bytes: 50,
                own: room(1000, 1, 1),
                budget: Some(budget),
                ..Situation::default()
            })
        };
        // 50 held, 50 of things.
        assert_eq!(with(100), ["stopped", "left"]);
        assert_eq!(with(99), ["stopped", "left"]);
        assert_eq!(with(95), ["stopped", "left", "old image"]);
        assert_eq!(with(0), ["stopped", "left", "old image", "mid mirror", "new mirror"]);
    }

    #[test]
    fn what_lies_on_the_other_disk_does_not_help() {
        let mut things = ours();
        things[1].disk = Disk::Engine;
        let situation =
            Situation { things, own: room(45, 50, 60), engine: room(90, 50, 60), ..Situation::default() };
        assert_eq!(names(&situation), ["stopped", "left", "mid mirror"]);
        let situation = Situation { own: room(90, 50, 60), engine: room(45, 50, 60), ..situation };
        assert_eq!(names(&situation), ["stopped", "left", "old image"]);
    }

    #[test]
    fn collection_begins_above_the_floor_on_disks_of_every_size() {
        let marks = |limits: Limits, size, floor| {
            let Marks { below, until } = limits.marks(size, floor);
            (below / (GIB / 4), until / (GIB / 4))
        };
        let usual = Limits::default();
        // In quarters of a GiB.
        assert_eq!(marks(usual, 100 * GIB, 2 * GIB), (40, 50));
        assert_eq!(marks(usual, 20 * GIB, 2 * GIB), (16, 20));
        assert_eq!(marks(usual, 4000 * GIB, 2 * GIB), (256, 320));
        assert_eq!(marks(usual, 6 * GIB, 2 * GIB), (12, 15));
        assert_eq!(marks(usual, 3 * GIB, 2 * GIB), (10, 12));
        let told = Limits { below: Some(GIB), until: Some(8 * GIB), ..usual };
        assert_eq!(marks(told, 100 * GIB, 2 * GIB), (10, 32));
        assert_eq!(usual.marks(100, u64::MAX), Marks { below: u64::MAX, until: u64::MAX });
    }

    proptest! {
        #[test]
        fn what_is_in_use_never_goes_and_nothing_goes_twice(
            things in proptest::collection::vec((0..5_usize, 0..20_u64, 0..50_u64, any::<bool>(), any::<bool>()), 0..20),
            free in 0..200_u64,
            budget in proptest::option::of(0..400_u64),
        ) {
            let kinds = [Kind::Leftover, Kind::Container, Kind::Network, Kind::Mirror, Kind::Image];
            let things: Vec<Thing> = things.into_iter().enumerate().map(|(index, (kind, used, bytes, in_use, other))| {
                let disk = if other { Disk::Engine } else { Disk::Own };
                Thing { in_use, disk, ..thing(kinds[kind], &index.to_string(), used, bytes) }
            }).collect();
            let situation = Situation { things, held_bytes: 7, own: room(free, 100, 150), engine: room(free / 2, 50, 60), budget };
            let plan = situation.plan();
            prop_assert!(plan.iter().all(|thing| !thing.in_use && situation.things.contains(thing)));
            let mut names: Vec<_> = plan.iter().map(|thing| &thing.name).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), plan.len());
            let garbage = |thing: &&Thing| thing.kind.is_garbage() && !thing.in_use;
            prop_assert_eq!(plan.iter().filter(garbage).count(), situation.things.iter().filter(garbage).count());
            // Of what was kept, nothing on the same disk is older than what went, unless nothing was missing.
            for gone in plan.iter().filter(|thing| !thing.kind.is_garbage()) {
                for kept in situation.things.iter().filter(|kept| !plan.contains(kept) && !kept.in_use && kept.disk == gone.disk) {
                    prop_assert!(kept.last_used >= gone.last_used);
                }
            }
        }
    }
}

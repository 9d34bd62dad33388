//! Which containers are kept waiting: for what ran lately, as many as there is room for. Pure.
//!
//! Each kind of task gets one before any gets a second, the ones used last first. A kind whose tasks
//! found nothing ready wants more, until it is left alone for a while.

use std::time::Duration;

use tokio::time::Instant;

use super::shape::Shape;

/// What was not used for so long has nothing waiting.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 60);
/// What was not used for so long wants no more than one.
const CALM_AFTER: Duration = Duration::from_secs(5 * 60);
/// What could not be made is not tried again before.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Kinds that are remembered.
const KINDS_MAX: usize = 32;
const WANTED_MAX: usize = 8;

/// What an idle container takes: its supervisor, and what the engine keeps beside it.
const EACH_BYTES: u64 = 16 << 20;
/// All of them take no more than this part of the memory that would be free without them.
const MEMORY_PART: u64 = 8;

/// What bounds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub most: usize,
    pub disk_free: u64,
    pub disk_floor: u64,
    /// Of the machine, now.
    pub memory_free: u64,
}

/// Kinds of tasks, the one used last first. `L` is what one waits like, `P` one that waits.
#[derive(Debug)]
pub(super) struct Shelf<L, P> {
    kinds: Vec<Kind<L, P>>,
}

#[derive(Debug)]
struct Kind<L, P> {
    shape: Shape,
    like: L,
    used: Instant,
    wanted: usize,
    /// The oldest first.
    waiting: Vec<P>,
    /// Nothing is made before.
    not_before: Option<Instant>,
}

impl<L, P> Default for Shelf<L, P> {
    fn default() -> Self {
        Self { kinds: Vec::new() }
    }
}

impl<L, P> Shelf<L, P> {
    /// Takes what waits for a task of this shape.
    pub(super) fn take(&mut self, shape: &Shape, now: Instant) -> Option<P> {
        let kind = self.use_kind(shape, now)?;
        if kind.waiting.is_empty() {
            kind.wanted = WANTED_MAX.min(kind.wanted + 1);
            return None;
        }
        Some(kind.waiting.remove(0))
    }

    /// Notes that a task of this shape runs. Returns what waits for kinds that are forgotten for it.
    pub(super) fn learn(&mut self, shape: Shape, like: L, now: Instant) -> Vec<P> {
        if let Some(kind) = self.use_kind(&shape, now) {
            kind.like = like;
            return Vec::new();
        }
        let kind = Kind { shape, like, used: now, wanted: 1, waiting: Vec::new(), not_before: None };
        self.kinds.insert(0, kind);
        let rest = self.kinds.len().min(KINDS_MAX);
        self.kinds.drain(rest..).flat_map(|kind| kind.waiting).collect()
    }

    fn use_kind(&mut self, shape: &Shape, now: Instant) -> Option<&mut Kind<L, P>> {
        let place = self.kinds.iter().position(|kind| kind.shape == *shape)?;
        self.kinds[..=place].rotate_right(1);
        let kind = &mut self.kinds[0];
        kind.used = now;
        Some(kind)
    }

    /// Returns what is to be made next.
    pub(super) fn next(&self, room: &Room, now: Instant) -> Option<(&Shape, &L)> {
        let may = |kind: &Kind<L, P>| kind.not_before.is_none_or(|time| now >= time);
        let shares = self.shares(room);
        let short = self.kinds.iter().zip(shares);
        let short = short.filter(|(kind, share)| kind.waiting.len() < *share && may(kind));
        let first = short.min_by_key(|(kind, _)| kind.waiting.len());
        first.map(|(kind, _)| (&kind.shape, &kind.like))
    }

    /// Puts what was made to its kind, or gives it back where that is forgotten.
    pub(super) fn put(&mut self, shape: &Shape, made: P) -> Result<(), P> {
        match self.kinds.iter_mut().find(|kind| kind.shape == *shape) {
            None => Err(made),
            Some(kind) => {
                kind.not_before = None;
                kind.waiting.push(made);
                Ok(())
            }
        }
    }

    pub(super) fn not_made(&mut self, shape: &Shape, now: Instant) {
        let kind = self.kinds.iter_mut().find(|kind| kind.shape == *shape);
        kind.into_iter().for_each(|kind| kind.not_before = Some(now + TRY_AGAIN_AFTER));
    }

    /// Forgets what is old, and returns all that is not to wait any longer.
    pub(super) fn surplus(&mut self, room: &Room, now: Instant) -> Vec<P> {
        let mut surplus = Vec::new();
        for kind in &mut self.kinds {
            let age = now.saturating_duration_since(kind.used);
            if age >= CALM_AFTER {
                kind.wanted = 1;
            }
            if age >= FORGOTTEN_AFTER {
                surplus.append(&mut kind.waiting);
            }
        }
        self.kinds.retain(|kind| now.saturating_duration_since(kind.used) < FORGOTTEN_AFTER);
        let shares = self.shares(room);
        for (kind, share) in self.kinds.iter_mut().zip(shares) {
            let excess = kind.waiting.len().saturating_sub(share);
            surplus.extend(kind.waiting.drain(..excess));
        }
        surplus
    }

    /// Takes out all of which this holds.
    pub(super) fn remove(&mut self, holds: impl Fn(&P) -> bool) -> Vec<P> {
        let waiting = self.kinds.iter_mut().map(|kind| &mut kind.waiting);
        waiting.flat_map(|waiting| waiting.extract_if(.., |one| holds(one)).collect::<Vec<_>>()).collect()
    }

    /// Returns all that wait, and for what.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Shape, &P)> {
        self.kinds.iter().flat_map(|kind| kind.waiting.iter().map(|waiting| (&kind.shape, waiting)))
    }

    /// Returns how many each kind is to have waiting.
    fn shares(&self, room: &Room) -> Vec<usize> {
        let mut left = room.count(self.waiting().count());
        let mut shares = vec![0; self.kinds.len()];
        for round in 0..WANTED_MAX {
            for (share, _) in shares.iter_mut().zip(&self.kinds).filter(|(_, kind)| kind.wanted > round) {
                if left == 0 {
                    return shares;
                }
                *share += 1;
                left -= 1;
            }
        }
        shares
    }
}

impl Room {
    /// Returns how many may wait, if so many do now.
    fn count(&self, waiting: usize) -> usize {
        if self.disk_free < self.disk_floor {
            return 0;
        }
        let taken = EACH_BYTES.saturating_mul(u64::try_from(waiting).unwrap_or(u64::MAX));
        let fit = self.memory_free.saturating_add(taken) / MEMORY_PART / EACH_BYTES;
        self.most.min(usize::try_from(fit).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::shape;
    use super::*;

    const ROOM: Room = Room { most: 4, disk_free: 10, disk_floor: 5, memory_free: 8 << 30 };

    struct World {
        shelf: Shelf<String, u32>,
        now: Instant,
        made: u32,
    }

    impl World {
        fn new() -> Self {
            Self { shelf: Shelf::default(), now: Instant::now(), made: 0 }
        }

        fn runs(&mut self, image: &str) -> Option<u32> {
            let taken = self.shelf.take(&shape(image), self.now);
            assert_eq!(self.shelf.learn(shape(image), image.to_owned(), self.now), [0; 0]);
            taken
        }

        /// Makes all that is wanted, and says for what.
        fn fills(&mut self, room: &Room) -> String {
            let mut filled = String::new();
            while let Some((shape, like)) = self.shelf.next(room, self.now) {
                filled.push_str(like);
                let shape = shape.clone();
                self.made += 1;
                self.shelf.put(&shape, self.made).unwrap();
                assert!(filled.len() < 100, "it comes to an end: {filled}");
            }
            filled
        }
    }

    #[test]
    fn one_waits_for_what_ran_and_is_given_away_once() {
        let mut world = World::new();
        assert_eq!(world.fills(&ROOM), "");
        assert_eq!(world.runs("a"), None);
        assert_eq!(world.fills(&ROOM), "a");
        assert_eq!(world.runs("b"), None, "it is of another kind");
        assert_eq!(world.runs("a"), Some(1));
        assert_eq!(world.fills(&ROOM), "ab");
        assert_eq!(world.runs("a"), Some(2));
    }

    #[test]
    fn each_kind_gets_one_before_any_gets_a_second_and_those_used_last_are_first() {
        let mut world = World::new();
        for image in ["a", "b", "b", "b", "b", "c"] {
            assert_eq!(world.runs(image), None);
        }
        assert_eq!(world.fills(&ROOM), "cbab");
        for image in ["d", "e"] {
            world.runs(image);
        }
        assert_eq!(world.shelf.surplus(&ROOM, world.now).len(), 2, "the oldest kind's, and a second one");
        assert_eq!(world.fills(&ROOM), "ed");
        assert_eq!(world.runs("a"), None);
    }

    #[test]
    fn a_kind_that_finds_nothing_wants_more_until_it_is_left_alone() {
        let mut world = World::new();
        for _ in 0..3 {
            world.runs("a");
        }
        assert_eq!(world.fills(&ROOM), "aaa");
        world.now += CALM_AFTER;
        assert_eq!(world.shelf.surplus(&ROOM, world.now), [1, 2]);
        assert_eq!(world.fills(&ROOM), "");
    }

    #[test]
    fn what_was_not_used_for_long_has_nothing_waiting() {
        let mut world = World::new();
        world.runs("a");
        world.now += FORGOTTEN_AFTER / 2;
        world.runs("b");
        world.fills(&ROOM);
        world.now += FORGOTTEN_AFTER / 2;
        assert_eq!(world.shelf.surplus(&ROOM, world.now), [2]);
        assert_eq!(world.shelf.put(&shape("a"), 9), Err(9), "what comes too late is given back");
        assert_eq!(world.runs("b"), Some(1));
    }

    #[test]
    fn count_disk_and_memory_bound_it() {
        let mut world = World::new();
        for image in ["a", "b", "c"] {
            world.runs(image);
        }
        assert_eq!(world.fills(&Room { most: 0, ..ROOM }), "");
        assert_eq!(world.fills(&Room { disk_free: 4, ..ROOM }), "");
        assert_eq!(world.fills(&Room { memory_free: (128 << 20) - 1, ..ROOM }), "");
        assert_eq!(world.fills(&Room { memory_free: 256 << 20, ..ROOM }), "cb");
        assert_eq!(world.fills(&Room { most: 2, ..ROOM }), "");
        assert_eq!(world.shelf.surplus(&Room { most: 1, ..ROOM }, world.now), [2]);
        assert_eq!(world.shelf.surplus(&Room { disk_free: 4, ..ROOM }, world.now), [1]);
    }

    #[test]
    fn what_waits_does_not_push_itself_out() {
        let mut world = World::new();
        world.runs("a");
        let before = Room { memory_free: 128 << 20, ..ROOM };
        assert_eq!(world.fills(&before), "a");
        let after = Room { memory_free: before.memory_free - EACH_BYTES, ..ROOM };
        assert_eq!(world.shelf.surplus(&after, world.now), [0; 0]);
    }

    #[test]
    fn what_cannot_be_made_is_not_tried_again_and_again() {
        let mut world = World::new();
        world.runs("a");
        world.shelf.not_made(&shape("a"), world.now);
        assert_eq!(world.fills(&ROOM), "");
        world.now += TRY_AGAIN_AFTER;
        assert_eq!(world.fills(&ROOM), "a");
    }

    #[test]
    fn only_so_many_kinds_are_remembered() {
        let mut world = World::new();
        world.runs("first");
        world.fills(&ROOM);
        for number in 1..KINDS_MAX {
            world.runs(&number.to_string());
        }
        let last = world.shelf.learn(shape("last"), "last".to_owned(), world.now);
        assert_eq!(last, [1]);
    }
}

//! Weighted round robin over those that have something queued, aware of demands.
//!
//! The clock of a round is the ticket that was served last, and it never goes back. Each member
//! holds one ticket, `clock when it was issued + COST / weight`; the smallest goes first, of equal
//! ones the one issued first. Being served issues a new ticket from the larger of clock and old
//! ticket, so that nobody saves up turns while no executor can take its work. Who has nothing queued
//! leaves, and comes back like a newcomer.
//!
//! From this no starvation follows: a member whose ticket is T waits while the others with a
//! ticket up to T are served. Each service moves the clock to the served ticket, and every ticket
//! issued afterwards lies beyond the clock by the issuer's cost. With equal weights each other
//! member, newcomers included, goes before it at most once; a member of weight w goes before one
//! of weight v at most 1 + ceil(w / v) times.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

/// Identifies a demand in the index.
pub(super) type DemandId = u64;

/// Tickets are whole numbers; weights up to this keep their proportions.
const COST: u64 = 1 << 20;

/// A member's place in the round; `stamp` is the order of issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    ticket: u64,
    stamp: u64,
}

#[derive(Debug, Clone)]
struct Member<C> {
    turn: Turn,
    /// How many entries of each demand it has.
    demands: BTreeMap<DemandId, usize>,
    child: C,
}

/// Members that take turns, each with what it has queued.
#[derive(Debug, Clone)]
pub(super) struct Round<K, C> {
    clock: u64,
    stamps: u64,
    members: BTreeMap<K, Member<C>>,
    turns: BTreeMap<DemandId, BTreeSet<(Turn, K)>>,
}

impl<K, C> Default for Round<K, C> {
    fn default() -> Self {
        Self { clock: 0, stamps: 0, members: BTreeMap::new(), turns: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, C: Default> Round<K, C> {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Counts one more entry for the member, who enters if it is not there; returns what it has queued.
    pub(super) fn add(&mut self, key: &K, demand: DemandId, weight: u32) -> &mut C {
        if !self.members.contains_key(key) {
            let turn = self.issue(self.clock, weight);
            let member = Member { turn, demands: BTreeMap::new(), child: C::default() };
            self.members.insert(key.clone(), member);
        }
        let member = self.members.get_mut(key).expect("the member was put there if it was absent");
        let count = member.demands.entry(demand).or_default();
        *count += 1;
        if *count == 1 {
            self.turns.entry(demand).or_default().insert((member.turn, key.clone()));
        }
        &mut member.child
    }

    /// Counts one entry less for the member, who leaves with its last.
    pub(super) fn remove(&mut self, key: &K, demand: DemandId, from: impl FnOnce(&mut C)) {
        let Some(member) = self.members.get_mut(key) else { return };
        from(&mut member.child);
        let Some(count) = member.demands.get_mut(&demand) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        member.demands.remove(&demand);
        let turn = (member.turn, key.clone());
        if member.demands.is_empty() {
            self.members.remove(key);
        }
        if let Some(turns) = self.turns.get_mut(&demand) {
            turns.remove(&turn);
            if turns.is_empty() {
                self.turns.remove(&demand);
            }
        }
    }

    /// Gives the member its turn: the clock moves to its ticket, and it gets a new one.
    pub(super) fn serve(&mut self, key: &K, weight: u32) -> Option<&mut C> {
        let ticket = self.members.get(key)?.turn.ticket;
        self.clock = self.clock.max(ticket);
        let turn = self.issue(self.clock, weight);
        let member = self.members.get_mut(key)?;
        let before = std::mem::replace(&mut member.turn, turn);
        for demand in member.demands.keys() {
            let turns = self.turns.entry(*demand).or_default();
            turns.remove(&(before, key.clone()));
            turns.insert((turn, key.clone()));
        }
        Some(&mut member.child)
    }

    /// Goes through the members that have an entry with one of these demands, in their turn.
    pub(super) fn in_turn<'a>(&'a self, demands: &'a [DemandId]) -> impl Iterator<Item = (&'a K, &'a C)> {
        let turns = demands.iter().filter_map(|demand| self.turns.get(demand));
        let merged = Merge::of(turns.map(BTreeSet::iter));
        merged.filter_map(|(_, key)| Some((key, &self.members.get(key)?.child)))
    }

    fn issue(&mut self, clock: u64, weight: u32) -> Turn {
        self.stamps += 1;
        Turn { ticket: clock + COST / u64::from(weight.max(1)), stamp: self.stamps }
    }
}

/// Merges sorted sequences into one, equal items once.
pub(super) struct Merge<I: Iterator> {
    sequences: Vec<Peekable<I>>,
}

impl<I: Iterator<Item: Ord>> Merge<I> {
    pub(super) fn of(sequences: impl Iterator<Item = I>) -> Self {
        Self { sequences: sequences.map(Iterator::peekable).collect() }
    }
}

impl<I: Iterator<Item: Ord>> Iterator for Merge<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let heads = self.sequences.iter_mut().enumerate();
        let heads = heads.filter_map(|(index, sequence)| Some((sequence.peek()?, index)));
        let least = heads.min()?.1;
        let item = self.sequences[least].next()?;
        for sequence in &mut self.sequences {
            sequence.next_if_eq(&item);
        }
        Some(item)
    }
}

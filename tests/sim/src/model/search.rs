//! Breadth-first search of everything that can happen, and of worlds that lead nowhere.
//!
//! Worlds are known by a 64-bit fingerprint: among ten million the chance that two share one is
//! about three in a million. A trace is found again by making the moves again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::law::{Model, Violation};
use super::moves::{Hand, Next};
use super::settle::mirrored;
use super::world::World;

/// What a search found.
#[derive(Debug, Clone)]
pub struct Found {
    pub states: usize,
    pub edges: usize,
    pub depth: usize,
    pub verdict: Finding,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Every reachable world was seen, and all is well in each.
    Holds,
    Broken {
        invariant: Violation,
        trace: Vec<String>,
    },
    /// From some worlds the task never ends, even if nothing fails any more.
    Stuck {
        worlds: usize,
        trace: Vec<String>,
    },
    /// The bound on states was reached first.
    Unfinished,
}

/// Multiplies and folds words; worlds are small and nobody chooses them to collide.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(7) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u8(number.to_le_bytes()[0]);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }
}

fn fingerprint(world: &World) -> u64 {
    let mut fold = Fold::default();
    world.hash(&mut fold);
    fold.finish()
}

/// Of a world and its mirror image, the one that stands for both.
fn canonical(model: &Model, world: &World) -> (u64, World) {
    let settled = model.settled(world);
    let mirrored = model.settled(&mirrored(&settled));
    let (print, mirrored_print) = (fingerprint(&settled), fingerprint(&mirrored));
    if mirrored_print < print { (mirrored_print, mirrored) } else { (print, settled) }
}

struct Search<'a> {
    model: &'a Model,
    known: HashMap<u64, u32, BuildHasherDefault<Fold>>,
    worlds: Vec<World>,
    parents: Vec<u32>,
    /// (to, from) of every move that is no luck.
    back: Vec<(u32, u32)>,
    edges: usize,
}

impl Model {
    pub(super) fn successors(&self, world: &World, out: &mut Vec<Next>) {
        out.clear();
        let mut hand = Hand { model: self, world, out };
        hand.controllers();
        hand.executors();
        hand.time();
    }

    /// Searches everything that can happen, up to `states_max` worlds.
    pub fn search(&self, states_max: usize) -> Found {
        let start = World::new(self.class, self.faults);
        let mut search = Search {
            model: self,
            known: HashMap::default(),
            worlds: vec![start],
            parents: vec![0],
            back: Vec::new(),
            edges: 0,
        };
        let (print, start) = canonical(self, &start);
        search.worlds[0] = start;
        search.known.insert(print, 0);
        search.run(states_max)
    }
}

impl Search<'_> {
    fn run(&mut self, states_max: usize) -> Found {
        let (mut depth, mut layer_end, mut at) = (0, 1, 0);
        let mut moves = Vec::new();
        while at < self.worlds.len() {
            if at == layer_end {
                (depth, layer_end) = (depth + 1, self.worlds.len());
            }
            let world = self.worlds[at];
            self.model.successors(&world, &mut moves);
            self.edges += moves.len();
            for next in &moves {
                if let Some(invariant) = next.broken {
                    return self.found(depth, self.broken(at, invariant));
                }
                let to = self.place(&next.world, at);
                if !next.made.is_luck() {
                    self.back.push((to, small(at)));
                }
            }
            if self.worlds.len() > states_max {
                return self.found(depth, Finding::Unfinished);
            }
            at += 1;
        }
        let verdict = self.stuck();
        self.found(depth, verdict)
    }

    fn place(&mut self, world: &World, from: usize) -> u32 {
        let next = small(self.worlds.len());
        let (print, world) = canonical(self.model, world);
        match self.known.entry(print) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => {
                free.insert(next);
                self.worlds.push(world);
                self.parents.push(small(from));
                next
            }
        }
    }

    /// Names the last move as the way to its world names the executors.
    fn broken(&self, at: usize, invariant: Violation) -> Finding {
        let Trace { made: mut trace, world } = self.trace(at);
        let mut moves = Vec::new();
        self.model.successors(&world, &mut moves);
        let last = moves.iter().find(|next| next.broken == Some(invariant));
        trace.push(last.expect("a mirrored world breaks as its mirror image does").made.to_string());
        Finding::Broken { invariant, trace }
    }

    fn found(&self, depth: usize, verdict: Finding) -> Found {
        Found { states: self.worlds.len(), edges: self.edges, depth, verdict }
    }

    /// Looks for worlds from which no moves but faults lead to the task's end.
    fn stuck(&mut self) -> Finding {
        self.back.sort_unstable();
        let mut good: Vec<bool> = self.worlds.iter().map(World::served).collect();
        let mut open: Vec<u32> = (0..small(good.len())).filter(|at| good[*at as usize]).collect();
        while let Some(to) = open.pop() {
            let first = self.back.partition_point(|edge| edge.0 < to);
            for (_, from) in self.back[first..].iter().take_while(|edge| edge.0 == to) {
                if !good[*from as usize] {
                    good[*from as usize] = true;
                    open.push(*from);
                }
            }
        }
        match good.iter().position(|good| !good) {
            None => Finding::Holds,
            // Worlds are numbered in the order of their distance, so this one is the nearest.
            Some(at) => Finding::Stuck {
                worlds: good.iter().filter(|good| !**good).count(),
                trace: self.trace(at).made,
            },
        }
    }

    /// Makes the moves to a world again, from the start and with the names kept.
    fn trace(&self, at: usize) -> Trace {
        let mut path = vec![at];
        while let Some(last) = path.last().copied().filter(|last| *last != 0) {
            path.push(self.parents[last] as usize);
        }
        let mut world = self.worlds[0];
        let mut moves = Vec::new();
        let mut made = Vec::new();
        for at in path.iter().rev().skip(1) {
            let wanted = self.worlds[*at];
            self.model.successors(&world, &mut moves);
            let next = moves.iter().find(|next| canonical(self.model, &next.world).1 == wanted);
            let next = next.expect("a world was reached by a move from its parent");
            made.push(next.made.to_string());
            world = self.model.settled(&next.world);
        }
        Trace { made, world }
    }
}

/// The way to a world, and the world as that way leaves it.
struct Trace {
    made: Vec<String>,
    world: World,
}

fn small(index: usize) -> u32 {
    u32::try_from(index).expect("the bound on states is below four billion")
}

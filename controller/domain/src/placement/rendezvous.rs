//! Which of several equal controllers goes for a task first.
//!
//! Only to spare them lost races: a task belongs to nobody, and any controller may offer it. Every
//! controller, of every build, must come to the same answer, so the hash is written out here.

use std::sync::Arc;

use ocelot_core::id::TaskId;

/// Tasks per controller in a band. Order is promised per band of 64 x controllers tasks.
pub const BAND: usize = 64;

/// The controllers that are there now, and which of them this is.
#[derive(Debug, Clone)]
pub struct Peers {
    me: u64,
    all: Vec<u64>,
}

impl Peers {
    /// Makes the set of controllers by name; `me` belongs to it whether or not it is named.
    pub fn new(me: &str, all: &[Arc<str>]) -> Self {
        let me = name_hash(me);
        let mut all: Vec<u64> = all.iter().map(|name| name_hash(name)).chain([me]).collect();
        all.sort_unstable();
        all.dedup();
        Self { me, all }
    }

    pub fn alone() -> Self {
        Self::new("", &[])
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Whether the hash gives this task to this controller.
    pub(super) fn is_mine(&self, task: &TaskId) -> bool {
        let task = task_hash(task);
        let mine = mix(self.me ^ task);
        self.all.iter().all(|peer| mix(peer ^ task) <= mine)
    }
}

fn name_hash(name: &str) -> u64 {
    // FNV-1a.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(name.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

fn task_hash(task: &TaskId) -> u64 {
    let run = u128::from_be_bytes(*task.run.as_bytes());
    mix(mix(mix(run as u64) ^ (run >> 64) as u64) ^ u64::from(task.index))
}

/// The finalizer of splitmix64: every bit of the input moves half the bits of the output.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

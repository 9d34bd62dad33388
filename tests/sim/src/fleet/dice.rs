//! Chance, from one seed.
//!
//! Each part of the world throws its own dice, so that one more throw in one part changes nothing in
//! another. Nothing here reads a clock or the system's randomness.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Numbers that follow from a seed.
#[derive(Debug)]
pub(super) struct Dice(Mutex<u64>);

/// Returns a number that looks like chance and follows from this one.
pub(super) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Dice {
    /// Makes the dice of one part of a world.
    pub(super) fn new(seed: u64, part: &str) -> Self {
        let part = part.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(Mutex::new(mixed(seed) ^ part))
    }

    pub(super) fn number(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(*state)
    }

    /// Returns a number from 0 to one less than `count`.
    pub(super) fn below(&self, count: u64) -> u64 {
        self.number() % count.max(1)
    }

    /// Returns a place in a list of this length.
    pub(super) fn place(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// Tells whether something happens that happens so often in a thousand times.
    pub(super) fn hits(&self, in_thousand: u64) -> bool {
        self.below(1000) < in_thousand
    }

    /// Returns a time between two numbers of milliseconds.
    pub(super) fn ms(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }
}

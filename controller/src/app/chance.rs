//! Randomness from the system.

use crate::service::Unguessable;
use crate::store::update::Chance;

/// The system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SystemChance;

impl Unguessable for SystemChance {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system gives randomness; nothing is safe without");
    }
}

impl Chance for SystemChance {
    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

//! Passes over output in which no pattern begins, several bytes at a time.
//!
//! A table says of each three bytes at which places near the front of a pattern they stand. Whatever
//! the pattern, its first `window` bytes cover one of the places that are looked at, since those are
//! `window - 2` apart. Where the table knows the bytes there, every start that they allow is checked
//! along the whole window. A start may pass by accident; none is ever missed.

use super::variants::Pattern;

/// Bytes of one look.
pub(super) const LOOK: usize = 3;
/// One bit of an entry for each place of a window.
const WINDOW_MAX: usize = 16 + LOOK - 1;
/// Entries of the table for each known triple, so that accidents stay rare.
const ENTRIES_EACH: usize = 16;

pub(super) struct Skip {
    /// The last place in a window that a look can begin at.
    reach: usize,
    /// For each hash of three bytes: the places in a window where a pattern has them.
    table: Vec<u16>,
    shift: u32,
}

impl Skip {
    /// Returns none where the shortest pattern is too short to be found this way.
    pub(super) fn new(patterns: &[Pattern]) -> Option<Self> {
        let window = patterns.iter().map(|pattern| pattern.len()).min()?.min(WINDOW_MAX);
        let reach = window.checked_sub(LOOK)?;
        let triples = patterns.len() * (reach + 1);
        let entries = (triples * ENTRIES_EACH).next_power_of_two().clamp(1 << 12, 1 << 18);
        let mut skip = Self { reach, table: vec![0; entries], shift: 32 - entries.trailing_zeros() };
        for pattern in patterns {
            for place in 0..=reach {
                let entry = skip.entry(&pattern[place..]);
                skip.table[entry] |= 1 << place;
            }
        }
        Some(skip)
    }

    /// Returns the first place at or after `from` where a pattern may begin; the two last bytes
    /// always may.
    pub(super) fn find(&self, bytes: &[u8], from: usize) -> usize {
        let mut place = from + self.reach;
        while place + LOOK < bytes.len() {
            let mut known = self.table[self.entry(&bytes[place..])];
            while known != 0 {
                let ahead = (u16::BITS - 1 - known.leading_zeros()) as usize;
                if self.may_begin(&bytes[place - ahead..]) {
                    return place - ahead;
                }
                known ^= 1 << ahead;
            }
            place += self.reach + 1;
        }
        let unseen = place - self.reach;
        (unseen..bytes.len()).find(|start| self.may_begin(&bytes[*start..])).unwrap_or(bytes.len())
    }

    /// Whether each look into `bytes` finds what a pattern has at that place.
    fn may_begin(&self, bytes: &[u8]) -> bool {
        let places = (0..=self.reach).step_by(LOOK).take_while(|place| place + LOOK <= bytes.len());
        places.into_iter().all(|place| self.table[self.entry(&bytes[place..])] >> place & 1 == 1)
    }

    fn entry(&self, bytes: &[u8]) -> usize {
        let triple = match bytes.first_chunk::<4>() {
            Some(four) => u32::from_le_bytes(*four) & 0x00ff_ffff,
            None => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]),
        };
        (triple.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }
}

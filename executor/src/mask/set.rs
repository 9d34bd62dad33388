//! The values that one attempt must not show: fixed when it is acknowledged, kept beside the attempt in
//! memory-backed storage, and named everywhere else by a digest only.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::automaton::{Automaton, TooLarge};
use super::variants::{RULES, variants};

/// A shorter value would hide ordinary words, and is guessed anyway.
pub const SHORTEST: usize = 8;
/// The longest value: what one frame of a capture can carry.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The most values of one attempt, those that the task adds itself included.
pub const VALUES_MAX: usize = 1_000;

/// First bytes of a kept set; the number after them is that of the list of spellings.
const MAGIC: &[u8; 12] = b"ocelot-mask\n";

/// What to do with a value shorter than [`SHORTEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    Refuse,
    /// It stays visible, and whoever allowed it was told so.
    LeaveVisible,
}

/// Why a value cannot be masked. Never shows the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    #[error(
        "a value of {bytes} bytes without the space around it is too short to be masked: it needs {SHORTEST}"
    )]
    Short { bytes: usize },
    #[error("a value of {bytes} bytes is too long to be masked: at most {VALUE_BYTES_MAX}")]
    Long { bytes: usize },
    #[error("more than {VALUES_MAX} values cannot be masked")]
    Many,
    #[error("the values are too large together to be masked")]
    Large,
}

/// The kept bytes are no set that this program knows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the kept mask set cannot be read: {0}")]
pub struct UnreadableSet(&'static str);

/// Names a set without telling its values: a salted SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetDigest([u8; 32]);

/// Values to hide, each with all its spellings.
#[derive(Clone, PartialEq, Eq)]
pub struct MaskSet {
    salt: [u8; 16],
    values: Vec<Zeroizing<Vec<u8>>>,
}

impl MaskSet {
    /// Makes an empty set. The salt is random, so that the digest of a set does not help to guess it.
    pub fn new(salt: [u8; 16]) -> Self {
        Self { salt, values: Vec::new() }
    }

    /// Adds a value and returns whether the set changed.
    pub fn add(&mut self, value: &[u8], short: Short) -> Result<bool, Refused> {
        let bytes = value.trim_ascii().len();
        if bytes < SHORTEST {
            return match short {
                Short::Refuse => Err(Refused::Short { bytes }),
                Short::LeaveVisible => Ok(false),
            };
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(Refused::Long { bytes: value.len() });
        }
        if self.values.iter().any(|known| known.as_slice() == value) {
            return Ok(false);
        }
        if self.values.len() == VALUES_MAX {
            return Err(Refused::Many);
        }
        self.values.push(Zeroizing::new(value.to_vec()));
        Ok(true)
    }

    /// Returns how many values it has.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Takes apart the first `count` values, as a set, and those that were added later.
    pub fn split(mut self, count: usize) -> (Self, Vec<Zeroizing<Vec<u8>>>) {
        let later = self.values.split_off(count.min(self.values.len()));
        (self, later)
    }

    /// Takes the last added value back.
    pub(super) fn remove_last(&mut self) {
        self.values.pop();
    }

    pub(super) fn automaton(&self) -> Result<Automaton, Refused> {
        let patterns = self.values.iter().flat_map(|value| variants(value)).collect();
        Automaton::new(patterns).map_err(|TooLarge| Refused::Large)
    }

    pub fn digest(&self) -> SetDigest {
        SetDigest(Sha256::digest(self.to_bytes().as_slice()).into())
    }

    /// Returns the set as it is kept for the attempt: the values in clear, so mode 0600 and in memory.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let values: usize = self.values.iter().map(|value| 4 + value.len()).sum();
        let mut out = Zeroizing::new(Vec::with_capacity(MAGIC.len() + 20 + values));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&RULES.to_le_bytes());
        out.extend_from_slice(&self.salt);
        for value in &self.values {
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
        out
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableSet> {
        let cut = UnreadableSet("it is cut off");
        let rest = bytes.strip_prefix(MAGIC).ok_or(UnreadableSet("it is no mask set"))?;
        let (rules, rest) = rest.split_first_chunk().ok_or(cut.clone())?;
        if u32::from_le_bytes(*rules) != RULES {
            return Err(UnreadableSet("its list of spellings is not known to this program"));
        }
        let (salt, mut rest) = rest.split_first_chunk().ok_or(cut.clone())?;
        let mut set = Self::new(*salt);
        while let Some((length, after)) = rest.split_first_chunk() {
            let (value, after) =
                after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(cut.clone())?;
            set.add(value, Short::Refuse).map_err(|_| UnreadableSet("a value breaks the rules"))?;
            rest = after;
        }
        if rest.is_empty() { Ok(set) } else { Err(cut) }
    }
}

impl fmt::Debug for MaskSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskSet({} values)", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_value_is_refused_or_said_to_stay_visible() {
        let mut set = MaskSet::new([0; 16]);
        assert_eq!(set.add(b"seven77", Short::Refuse), Err(Refused::Short { bytes: 7 }));
        assert_eq!(set.add(b"  seven77\n", Short::Refuse), Err(Refused::Short { bytes: 7 }));
        assert_eq!(set.add(b"seven77", Short::LeaveVisible), Ok(false));
        assert_eq!(set.add(b"eight888", Short::Refuse), Ok(true));
        assert_eq!(set.add(b"eight888", Short::Refuse), Ok(false));
        assert_eq!(format!("{set:?}"), "MaskSet(1 values)");
    }

    #[test]
    fn values_are_bounded_in_length_and_number() {
        let mut set = MaskSet::new([0; 16]);
        let long = vec![b'x'; VALUE_BYTES_MAX + 1];
        assert_eq!(set.add(&long, Short::Refuse), Err(Refused::Long { bytes: long.len() }));
        for number in 0..VALUES_MAX {
            assert_eq!(set.add(format!("value-{number:04}").as_bytes(), Short::Refuse), Ok(true));
        }
        assert_eq!(set.add(b"one-more", Short::Refuse), Err(Refused::Many));
    }

    #[test]
    fn a_kept_set_is_read_back_or_refused() {
        let mut set = MaskSet::new([7; 16]);
        set.add(b"first value", Short::Refuse).unwrap();
        set.add(b"second value", Short::Refuse).unwrap();
        let kept = set.to_bytes();
        assert_eq!(MaskSet::from_bytes(&kept), Ok(set.clone()));
        for cut in (0..kept.len()).filter(|cut| ![32, 32 + 15].contains(cut)) {
            assert!(MaskSet::from_bytes(&kept[..cut]).is_err(), "cut at {cut}");
        }
        let mut newer = kept.to_vec();
        newer[MAGIC.len()] += 1;
        let error = MaskSet::from_bytes(&newer).unwrap_err().to_string();
        assert_eq!(
            error,
            "the kept mask set cannot be read: its list of spellings is not known to this program"
        );
    }

    #[test]
    fn the_digest_depends_on_salt_and_values() {
        let mut set = MaskSet::new([7; 16]);
        let empty = set.digest();
        set.add(b"first value", Short::Refuse).unwrap();
        assert_ne!(set.digest(), empty);
        let mut salted = MaskSet::new([8; 16]);
        salted.add(b"first value", Short::Refuse).unwrap();
        assert_ne!(set.digest(), salted.digest());
    }
}

//! Sealing what the store must not show: an envelope for each value.
//!
//! A value is sealed with a key of its own, and that key with one of the fleet's, which are never in
//! the store: who reads the store alone, or a backup of it, reads nothing. Both seals are bound to the
//! context that they were made for; moved elsewhere, an envelope does not open. What is here knows no
//! record and reads no clock; randomness comes in as a parameter.

mod key_file;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, Zeroizing};

pub use key_file::{BadKeys, rotate};
pub use source::{SealSource, SourceError};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Keys that open; one more is a fleet that never finishes to rotate.
pub const KEYS_MAX: usize = 8;

/// What sealing takes of the unguessable: a key and two nonces.
pub type Fresh = Zeroizing<[u8; KEY_BYTES + 2 * NONCE_LEN]>;

/// Which of the fleet's keys it is. Made of the key, so that two never share one by mistake; tells
/// nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 8]);

/// Why something was not sealed or opened. Never holds what it was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed with a key that this program does not have.
    #[error("it is sealed with key {0}, which this controller does not have")]
    UnknownKey(KeyId),
    /// It was changed, or moved from where it was sealed for.
    #[error("it does not open: it was changed, or sealed for another place")]
    DoesNotOpen,
    #[error("it could not be sealed")]
    NotSealed,
}

/// A value in its envelope, as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Seals the value's own key.
    key: KeyId,
    /// The value's own key, with its nonce before it.
    #[serde(with = "base64_text")]
    sealed_key: Vec<u8>,
    /// The value, with its nonce before it.
    #[serde(with = "base64_text")]
    sealed: Vec<u8>,
}

/// One of the fleet's keys.
pub struct SealKey {
    id: KeyId,
    key: LessSafeKey,
}

/// The fleet's keys: the first seals, all of them open.
pub struct SealKeys {
    first: SealKey,
    others: Vec<SealKey>,
}

impl KeyId {
    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let digest: [u8; 32] =
            Sha256::new().chain_update(b"ocelot: name of a seal key").chain_update(key).finalize().into();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for KeyId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = u64::from_str_radix(&text, 16).ok().filter(|_| text.len() == 16);
        let id = Self(number.ok_or("a key's id has 16 digits, 0 to f")?.to_be_bytes());
        if id.to_string() == text { Ok(id) } else { Err("a key's id has small letters") }
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.id)
    }
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(with {})", self.key)
    }
}

impl SealKey {
    /// Takes a key; what is given is wiped.
    pub fn new(mut key: [u8; KEY_BYTES]) -> Self {
        let id = KeyId::of(&key);
        let taken = aead(&key);
        key.zeroize();
        Self { id, key: taken }
    }

    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Opens what was sealed before envelopes: a run's secret arguments, right with this key.
    fn open_bare(&self, run: &[u8; 16], nonce: [u8; NONCE_LEN], bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        open(&self.key, nonce, run, bytes)
    }
}

impl From<SealKey> for SealKeys {
    fn from(first: SealKey) -> Self {
        Self { first, others: Vec::new() }
    }
}

impl SealKeys {
    /// Returns the keys in this order; none if there is none. Keys that come twice count once.
    pub fn new(keys: impl IntoIterator<Item = SealKey>) -> Option<Self> {
        let mut keys = keys.into_iter();
        let mut own = Self::from(keys.next()?);
        for key in keys {
            if own.find(key.id).is_none() {
                own.others.push(key);
            }
        }
        Some(own)
    }

    fn all(&self) -> impl Iterator<Item = &SealKey> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn find(&self, id: KeyId) -> Option<&SealKey> {
        self.all().find(|key| key.id == id)
    }

    /// Returns the one that seals.
    pub fn current(&self) -> KeyId {
        self.first.id
    }

    /// Returns all of them, the one that seals first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.all().map(SealKey::id).collect()
    }

    /// Seals for one context: moved to another, it does not open.
    pub fn seal(&self, context: &str, bytes: &[u8], fresh: &Fresh) -> Result<Sealed, SealError> {
        let (key, nonces) = fresh.split_at(KEY_BYTES);
        let key: Zeroizing<[u8; KEY_BYTES]> =
            Zeroizing::new(key.try_into().map_err(|_| SealError::NotSealed)?);
        let (for_key, for_value) = nonces.split_at(NONCE_LEN);
        let sealed = seal(&aead(&key), for_value, &bound("value", context), bytes)?;
        let sealed_key = seal(&self.first.key, for_key, &bound("key", context), key.as_slice())?;
        Ok(Sealed { key: self.first.id, sealed_key, sealed })
    }

    /// Opens what was sealed for this context.
    pub fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let key = aead(&*self.own_key(context, sealed)?);
        let (nonce, bytes) = parts(&sealed.sealed)?;
        open(&key, nonce, &bound("value", context), bytes).ok_or(SealError::DoesNotOpen)
    }

    /// Seals the value's own key anew with the first of these; none if it is already. The value itself
    /// is not opened.
    pub fn reseal(&self, context: &str, sealed: &Sealed, fresh: &Fresh) -> Result<Option<Sealed>, SealError> {
        if sealed.key == self.first.id {
            return Ok(None);
        }
        let key = self.own_key(context, sealed)?;
        let nonce = &fresh[..NONCE_LEN];
        let sealed_key = seal(&self.first.key, nonce, &bound("key", context), key.as_slice())?;
        Ok(Some(Sealed { key: self.first.id, sealed_key, sealed: sealed.sealed.clone() }))
    }

    /// Opens what was sealed before envelopes, for one run.
    pub fn open_bare(
        &self,
        run: &[u8; 16],
        nonce: [u8; NONCE_LEN],
        bytes: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.all().find_map(|key| key.open_bare(run, nonce, bytes)).ok_or(SealError::DoesNotOpen)
    }

    fn own_key(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
        let outer = self.find(sealed.key).ok_or(SealError::UnknownKey(sealed.key))?;
        let (nonce, bytes) = parts(&sealed.sealed_key)?;
        let key = open(&outer.key, nonce, &bound("key", context), bytes).ok_or(SealError::DoesNotOpen)?;
        let key = key.as_slice().try_into().map_err(|_| SealError::DoesNotOpen)?;
        Ok(Zeroizing::new(key))
    }
}

impl Sealed {
    /// Returns which of the fleet's keys seals it.
    pub fn sealed_with(&self) -> KeyId {
        self.key
    }
}

fn aead(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes"))
}

/// Returns what a seal is bound to: its part of the envelope, and where that is kept.
fn bound(part: &str, context: &str) -> Vec<u8> {
    // No part has a line break, so two that differ are never bound to the same bytes.
    format!("ocelot {part}\n{context}").into_bytes()
}

fn seal(key: &LessSafeKey, nonce: &[u8], bound: &[u8], bytes: &[u8]) -> Result<Vec<u8>, SealError> {
    let taken = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NotSealed)?;
    // At its full length from the start: a buffer that grows leaves the value behind.
    let mut sealed = Vec::with_capacity(nonce.len() + bytes.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(nonce);
    sealed.extend_from_slice(bytes);
    let tag = key
        .seal_in_place_separate_tag(taken, Aad::from(bound), &mut sealed[nonce.len()..])
        .map_err(|_| SealError::NotSealed)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

fn open(key: &LessSafeKey, nonce: [u8; NONCE_LEN], bound: &[u8], bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut opened = Zeroizing::new(bytes.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = key.open_in_place(nonce, Aad::from(bound), &mut opened).ok()?.len();
    opened.truncate(length);
    Some(opened)
}

fn parts(sealed: &[u8]) -> Result<([u8; NONCE_LEN], &[u8]), SealError> {
    let (nonce, bytes) = sealed.split_first_chunk().ok_or(SealError::DoesNotOpen)?;
    Ok((*nonce, bytes))
}

mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}

//! The fleet's keys as they are written down: 32 bytes as they are, or a key to a line.
//!
//! The first line's key seals; those below it only open what was sealed before.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{KEY_BYTES, KEYS_MAX, KeyId, SealKey, SealKeys};
use crate::bytes::files::{self, Access};

type Bare = Zeroizing<[u8; KEY_BYTES]>;

/// Why text holds no keys. Shows none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    #[error("line {0} is no key: a key is 32 bytes, as 64 hexadecimal digits or as base64")]
    Line(usize),
    #[error("there is no key in it: a key is 32 bytes, as they are, as 64 hexadecimal digits or as base64")]
    None,
    #[error("there are more than {KEYS_MAX} keys in it")]
    TooMany,
}

impl From<BadKeys> for io::Error {
    fn from(bad: BadKeys) -> Self {
        Self::new(io::ErrorKind::InvalidData, bad)
    }
}

/// Reads keys as they are written down.
pub(super) fn parse(text: &[u8]) -> Result<SealKeys, BadKeys> {
    let keys = read(text)?;
    SealKeys::new(keys.into_iter().map(|key| SealKey::new(*key))).ok_or(BadKeys::None)
}

fn read(text: &[u8]) -> Result<Vec<Bare>, BadKeys> {
    if let Ok(key) = <[u8; KEY_BYTES]>::try_from(text) {
        return Ok(vec![Zeroizing::new(key)]);
    }
    let text = std::str::from_utf8(text).map_err(|_| BadKeys::None)?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<Bare> =
        lines.map(|(index, line)| key_of(line).ok_or(BadKeys::Line(index + 1))).collect::<Result<_, _>>()?;
    match keys.len() {
        0 => Err(BadKeys::None),
        1..=KEYS_MAX => Ok(keys),
        _ => Err(BadKeys::TooMany),
    }
}

fn key_of(line: &str) -> Option<Bare> {
    if line.len() == 2 * KEY_BYTES && line.is_ascii() {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (index, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&line[2 * index..2 * index + 2], 16).ok()?;
        }
        return Some(key);
    }
    let bytes = STANDARD.decode(line).or_else(|_| URL_SAFE_NO_PAD.decode(line)).ok().map(Zeroizing::new)?;
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

/// Returns the keys in a file, which is made with a new one if it is not there. Blocks.
pub(super) fn ensure(path: &Path, new: impl FnOnce() -> [u8; KEY_BYTES]) -> io::Result<SealKeys> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return Ok(parse(&Zeroizing::new(read?))?),
    }
    let new = Zeroizing::new(new());
    match files::create(path, new.as_slice(), Access::Owner) {
        // Another process was faster: its key counts.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(parse(&Zeroizing::new(std::fs::read(path)?))?),
    }
}

/// Puts a new key first in a file of keys; the others go on to open what they sealed. Returns the new
/// one's id and how many there are. Blocks.
pub fn rotate(path: &Path, new: [u8; KEY_BYTES]) -> io::Result<(KeyId, usize)> {
    let new = Zeroizing::new(new);
    let keys = read(&Zeroizing::new(std::fs::read(path)?))?;
    if keys.len() == KEYS_MAX {
        return Err(BadKeys::TooMany.into());
    }
    let mut text = Zeroizing::new(String::with_capacity((KEYS_MAX + 1) * (2 * KEY_BYTES + 1) + 128));
    text.push_str("# Keys that seal secrets: the first seals, the others open what they sealed before.\n");
    for key in std::iter::once(&new).chain(&keys) {
        for byte in key.iter() {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        }
        text.push('\n');
    }
    files::replace(path, text.as_bytes(), Access::Owner)?;
    Ok((KeyId::of(&new), keys.len() + 1))
}

//! How records are stored: a line that says what they are, then JSON.
//!
//! `task/1 9f86d081884c7d65` and a line break: the kind, the version of its shape, and the mark of
//! the write if it has one. What this program does not know (a kind, a version, a field) is an
//! error: a default in its place would be written back and the truth lost.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Result};

/// Something that is stored under a key.
///
/// Enums in it are tagged from outside: only then is a field that nobody knows found in them too.
pub trait Record: Serialize + DeserializeOwned {
    /// The word in front of every stored one.
    const KIND: &'static str;
    /// Raised with every change of the stored shape.
    const VERSION: u32;
}

/// Tells one write of a record from every other, even of the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u64);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Why stored bytes cannot be what they are taken for.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    #[error("no line says what is stored")]
    NoHeader,
    #[error("the first line, {found:?}, is no kind and version")]
    BadHeader { found: String },
    #[error("a {found:?} is stored where a {known:?} belongs")]
    Kind { found: String, known: &'static str },
    #[error("version {found} of a {kind:?} is stored; this program knows version {known}")]
    Version { kind: &'static str, found: u32, known: u32 },
    #[error("version {version} of a {kind:?} has no field {field:?}")]
    Field { kind: &'static str, version: u32, field: String },
    #[error("the body is not that of version {version} of a {kind:?}")]
    Body {
        kind: &'static str,
        version: u32,
        #[source]
        cause: serde_json::Error,
    },
}

impl From<Undecodable> for Error {
    fn from(cause: Undecodable) -> Self {
        Self::Corrupt(Box::new(cause))
    }
}

/// Returns what is stored for `record`.
pub fn encode<R: Record>(record: &R, mark: Option<Mark>) -> Bytes {
    let header = match mark {
        Some(mark) => format!("{}/{} {mark}\n", R::KIND, R::VERSION),
        None => format!("{}/{}\n", R::KIND, R::VERSION),
    };
    let mut bytes = header.into_bytes();
    serde_json::to_writer(&mut bytes, record)
        .expect("a record has only text keys, and writing to memory does not fail");
    bytes.into()
}

/// Reads a record that was stored as exactly this kind and version.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<R> {
    Ok(read(bytes)?)
}

/// Returns the mark of the write that stored these bytes, if they have one.
pub fn mark_of(bytes: &[u8]) -> Option<Mark> {
    let (header, _) = split(bytes)?;
    let (_, mark) = header.split_once(' ')?;
    u64::from_str_radix(mark, 16).ok().map(Mark)
}

/// Returns the version of what is stored in these bytes, where a record has more than one.
pub fn version_of(bytes: &[u8]) -> Option<u32> {
    let (header, _) = split(bytes)?;
    header.split(' ').next()?.split_once('/')?.1.parse().ok()
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().take(HEADER_MAX).position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

/// No kind is so long that its line is longer.
const HEADER_MAX: usize = 128;

fn read<R: Record>(bytes: &[u8]) -> std::result::Result<R, Undecodable> {
    let (header, body) = split(bytes).ok_or(Undecodable::NoHeader)?;
    let bad = || Undecodable::BadHeader { found: header.to_owned() };
    let name = header.split_once(' ').map_or(header, |(name, _)| name);
    let (kind, version) = name.split_once('/').ok_or_else(bad)?;
    let found: u32 = version.parse().map_err(|_| bad())?;
    if kind != R::KIND {
        return Err(Undecodable::Kind { found: kind.to_owned(), known: R::KIND });
    }
    if found != R::VERSION {
        return Err(Undecodable::Version { kind: R::KIND, found, known: R::VERSION });
    }
    let mut unknown = None;
    let mut json = serde_json::Deserializer::from_slice(body);
    let record = serde_ignored::deserialize(&mut json, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    })
    .and_then(|record| json.end().map(|()| record))
    .map_err(|cause| Undecodable::Body { kind: R::KIND, version: found, cause })?;
    match unknown {
        None => Ok(record),
        Some(field) => Err(Undecodable::Field { kind: R::KIND, version: found, field }),
    }
}

#[cfg(test)]
pub(crate) use kept::assert_stored_shape;

#[cfg(test)]
mod kept;
#[cfg(test)]
mod tests;

//! The home of bytes: logs and other large things, each written once under a name.
//!
//! What was put under a name never changes, so two controllers that put the same thing race without
//! harm. Nothing is acknowledged before it is durable.

pub mod files;
mod local;
mod part;
mod space;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use ocelot_proto::kit::clock::UnixMicros;

pub use local::LocalHome;
pub use space::{Floor, Room, Space};

pub type Result<T> = std::result::Result<T, Error>;

/// Where bytes live that outlive a controller.
///
/// An object store is a second implementation of it.
#[async_trait]
pub trait Home: fmt::Debug + Send + Sync {
    /// Stores `bytes` for good. A name that has other bytes already keeps them.
    async fn put(&self, name: &Name, bytes: Bytes) -> Result<Put>;

    /// Returns the bytes of `range`, or as many of them as there are.
    async fn read(&self, name: &Name, range: Range<u64>) -> Result<Bytes>;

    /// Returns all entries whose names begin with `prefix`, sorted by name.
    async fn list(&self, prefix: &Name) -> Result<Vec<Entry>>;

    /// Forgets a name. One that is gone already is no error.
    async fn delete(&self, name: &Name) -> Result<()>;

    /// Returns how long the bytes of a name are.
    async fn size_bytes(&self, name: &Name) -> Result<u64>;

    /// Begins something that comes in pieces. It is there once it is finished, and never in part.
    async fn begin(&self) -> Result<Box<dyn Part>>;

    /// Returns what is known of a name.
    async fn look(&self, name: &Name) -> Result<Entry>;

    /// Lets a name count as if it were put at that moment.
    async fn renew(&self, name: &Name, at: UnixMicros) -> Result<()>;

    /// Moves what is under a name to another one, in place of whatever is there.
    async fn rename(&self, from: &Name, to: &Name) -> Result<()>;

    /// Takes away parts that nobody has written to since then: whoever did is gone.
    async fn sweep_parts(&self, before: UnixMicros) -> Result<usize>;

    /// Tells this home from every other, so that a controller of another fleet is refused.
    fn identity(&self) -> Identity;
}

/// Something that comes in pieces. Dropped before it is finished, nothing of it stays.
#[async_trait]
pub trait Part: fmt::Debug + Send {
    /// Adds bytes at its end.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Makes it durable and puts it under a name, as of that moment. Another of the same length that
    /// is there already stays: the name says what the bytes are.
    async fn finish(self: Box<Self>, name: &Name, at: UnixMicros) -> Result<Put>;
}

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// The very same bytes were there.
    AlreadyThere,
    /// Others were there, and still are.
    Different,
}

/// One stored thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: Name,
    pub size_bytes: u64,
    /// When it was put, or renewed.
    pub changed: UnixMicros,
}

/// The random number that a home was given when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(pub [u8; 16]);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A path inside the home: parts of `a-z 0-9 - _ .` with `/` between them, none beginning with `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Longer than any name of ours, shorter than what every home takes.
    const BYTES_MAX: usize = 512;

    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let part = |part: &str| {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain)
        };
        if text.len() <= Self::BYTES_MAX && text.split('/').all(part) {
            return Ok(Self(text));
        }
        Err(Error::InvalidName(text.chars().take(80).collect()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is no name in the home of bytes")]
    InvalidName(String),
    #[error("the home of bytes has no {0}")]
    NotFound(Name),
    /// The bytes are not stored; they may be once there is room.
    #[error("the home of bytes is full")]
    Full(#[source] std::io::Error),
    #[error("the home of bytes is unavailable")]
    Unavailable(#[source] std::io::Error),
    #[error("the home of bytes is {found}, not this fleet's {expected}")]
    NotOurs { found: Identity, expected: Identity },
}

#[cfg(test)]
mod tests;

//! The bounds of an archive, the same on both ends: what was packed can be unpacked.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Shown};
use crate::{Result, path};

/// How much an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, directories and links together.
    pub entries: u64,
    /// Contents of all files together.
    pub bytes: u64,
    /// Bytes of the archive for each compressed byte: of the whole stream where its length is told,
    /// else of what was read so far.
    pub ratio: u64,
    /// So many bytes are no bomb, whatever their ratio.
    pub ratio_from: u64,
    /// Bytes of one path.
    pub path: usize,
    /// Directories inside each other; each costs an open handle.
    pub depth: usize,
    /// Bytes of all paths together, for they are held in memory.
    pub names: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 4 << 30,
            ratio: 100,
            ratio_from: 16 << 20,
            path: 4096,
            depth: 128,
            names: 32 << 20,
        }
    }
}

/// The bound that was reached, with its height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Entries(u64),
    Bytes(u64),
    Ratio(u64),
    Names(u64),
    Siblings(u64),
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries(most) => write!(out, "{most} entries"),
            Self::Bytes(most) => write!(out, "{most} bytes of contents"),
            Self::Ratio(most) => write!(out, "{most} bytes for each compressed byte"),
            Self::Names(most) => write!(out, "{most} bytes of names"),
            Self::Siblings(most) => write!(out, "{most} names in one directory"),
        }
    }
}

/// What an archive holds so far, counted against its limits.
#[derive(Debug)]
pub(crate) struct Tally {
    limits: Limits,
    entries: u64,
    bytes: u64,
    names: u64,
}

impl Tally {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, entries: 0, bytes: 0, names: 0 }
    }

    /// Counts one entry before anything of it is made.
    pub(crate) fn entry(&mut self, path: &Path, size: u64) -> Result<()> {
        let limits = self.limits;
        path::fits(path, &limits).map_err(|what| Error::Name { path: Shown::path(path), what })?;
        self.entries += 1;
        self.names += path.as_os_str().len() as u64;
        self.bytes = self.bytes.saturating_add(size);
        let limit = if self.entries > limits.entries {
            Limit::Entries(limits.entries)
        } else if self.bytes > limits.bytes {
            Limit::Bytes(limits.bytes)
        } else if self.names > limits.names {
            Limit::Names(limits.names)
        } else {
            return Ok(());
        };
        Err(Error::TooMuch { limit })
    }
}

impl Limits {
    /// Refuses a stream that holds far more than came over the wire.
    pub(crate) fn dense(&self, plain: u64, compressed: u64) -> Result<()> {
        let most = self.ratio.saturating_mul(compressed).max(self.ratio_from);
        if plain > most { Err(Error::TooMuch { limit: Limit::Ratio(self.ratio) }) } else { Ok(()) }
    }
}

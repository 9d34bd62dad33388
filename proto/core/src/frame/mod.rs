//! The log frame format: what a supervisor writes, a spool keeps, a controller stores, a reader shows.
//!
//! A log is one sequence of bytes made of whole frames, so a place in it is a byte offset and a copy
//! of it is a copy of bytes. Each frame carries its own checksum: a torn tail is told from a whole one.
//!
//! ```text
//! 0        4        8     9      10      12           20
//! | length | crc32c | tag | zero | stage | time in µs | data ... |      all numbers little-endian
//! ```
//! `length` counts the data only, `crc32c` covers everything after itself and the length too.

#[cfg(test)]
mod compat;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use decode::{Corrupt, Decoder, whole_frames};
pub use encode::encode;

/// Bytes in front of a frame's data.
pub const HEADER_BYTES: usize = 20;
/// The most data of one frame; longer output is simply several frames.
pub const DATA_BYTES_MAX: usize = 64 * 1024;

/// A place in a log: the bytes before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// Returns the place `bytes` further on.
    pub fn advance(self, bytes: usize) -> Self {
        Self(self.0.saturating_add(bytes as u64))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Indexes from here up are no stages but services of the task, in the order of its plan. The name of
/// a service is in its [`Body::Begin`].
pub const SERVICE_FIRST: u16 = 0x8000;

/// Returns the index that frames of this service carry; none if a task cannot have so many.
pub fn service_stage(service: usize) -> Option<u16> {
    let index = u16::try_from(service).ok()?.checked_add(SERVICE_FIRST)?;
    (index != NO_STAGE).then_some(index)
}

/// One entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When it was read from the process: microseconds since 1970, for people only.
    pub unix_us: u64,
    /// Index of the stage in the task, or [`SERVICE_FIRST`] and the service's; none for what the
    /// platform says.
    pub stage: Option<u16>,
    pub body: Body<'a>,
}

impl Frame<'_> {
    /// Returns the place in the plan of the service that said it; none for stages and the platform.
    pub fn service(&self) -> Option<u16> {
        self.stage.and_then(|stage| stage.checked_sub(SERVICE_FIRST))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    Stdout(&'a [u8]),
    Stderr(&'a [u8]),
    /// A line of ours for people: the image is being pulled, a cache was found.
    Platform(&'a [u8]),
    /// The stage begins; its name.
    Begin(&'a str),
    /// The stage's processes are gone.
    End(Exit),
    /// From here on this value is masked too. Only in a capture, never in a log.
    AddMask(&'a [u8]),
    /// Something is missing or over, for the reason given; shown to everyone.
    Mark(Mark, &'a str),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

/// What a log says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Bytes are missing here, and no one has them any more.
    Loss,
    /// The job's own limit was reached; the rest was not kept.
    Cut,
    /// The attempt was taken from its executor; nothing follows.
    Lost,
}

/// The first byte after the checksum: what the data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Stdout = 1,
    Stderr = 2,
    Platform = 3,
    Begin = 4,
    EndCode = 5,
    EndSignal = 6,
    AddMask = 7,
    MarkLoss = 8,
    MarkCut = 9,
    MarkLost = 10,
}

impl Tag {
    const ALL: [Self; 10] = [
        Self::Stdout,
        Self::Stderr,
        Self::Platform,
        Self::Begin,
        Self::EndCode,
        Self::EndSignal,
        Self::AddMask,
        Self::MarkLoss,
        Self::MarkCut,
        Self::MarkLost,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tag| *tag as u8 == byte)
    }
}

/// On the wire, no stage is this index.
const NO_STAGE: u16 = u16::MAX;

//! Reading frames: from bytes that arrive in any pieces, and from a file whose end may be torn.

use std::fmt;

use super::encode::checksum;
use super::{Body, DATA_BYTES_MAX, Exit, Frame, HEADER_BYTES, Mark, NO_STAGE, Offset, Tag};

/// A frame's length comes first.
const LENGTH_BYTES: usize = 4;

/// The bytes at this place are no frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt {
    pub at: Offset,
    pub why: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log is damaged at byte {}: {}", self.at, self.why)
    }
}

impl std::error::Error for Corrupt {}

/// Makes frames of bytes that come in pieces of any size.
///
/// It never holds more than one unfinished frame beside what was last pushed.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were handed out as frames.
    taken: usize,
    /// The place of the buffer's first byte.
    base: Offset,
}

impl Decoder {
    /// Begins at a place that is a frame's first byte.
    pub fn at(offset: Offset) -> Self {
        Self { base: offset, ..Self::default() }
    }

    /// Returns the place after the last frame that was handed out: where to go on after a break.
    pub fn offset(&self) -> Offset {
        self.base.advance(self.taken)
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.base = self.base.advance(self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Hands out every frame that is whole with `bytes`, with its place, and keeps the rest: the same as
    /// to push them and ask for each frame, but only what is not whole is copied.
    pub fn each(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&Frame<'_>, Offset),
    ) -> Result<(), Corrupt> {
        while self.taken < self.buffer.len() {
            let at = self.offset();
            if let Some(frame) = self.next_frame()? {
                take(&frame, at);
                continue;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let begun = &self.buffer[self.taken..];
            let whole = frame_length(begun).map_err(|why| Corrupt { at, why })?.unwrap_or(LENGTH_BYTES);
            let (missing, rest) = bytes.split_at(bytes.len().min(whole - begun.len()));
            self.buffer.extend_from_slice(missing);
            bytes = rest;
        }
        self.base = self.offset();
        self.buffer.clear();
        self.taken = 0;
        let corrupt = |at| move |why| Corrupt { at, why };
        while let Some(length) = frame_length(bytes).map_err(corrupt(self.base))? {
            let Some((whole, rest)) = bytes.split_at_checked(length) else { break };
            take(&parse(whole).map_err(corrupt(self.base))?, self.base);
            self.base = self.base.advance(length);
            bytes = rest;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Returns the next whole frame, or none until more bytes are pushed.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Corrupt> {
        let at = self.offset();
        let rest = &self.buffer[self.taken..];
        let Some(length) = frame_length(rest).map_err(|why| Corrupt { at, why })? else {
            return Ok(None);
        };
        if rest.len() < length {
            return Ok(None);
        }
        let frame = parse(&rest[..length]).map_err(|why| Corrupt { at, why })?;
        self.taken += length;
        Ok(Some(frame))
    }
}

/// Returns how many bytes at the front of `bytes` are whole, undamaged frames. What follows them
/// in a file that a crash cut off was never acknowledged.
pub fn whole_frames(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Ok(Some(length)) = frame_length(&bytes[end..]) {
        match bytes.get(end..end + length) {
            Some(frame) if parse(frame).is_ok() => end += length,
            _ => break,
        }
    }
    end
}

/// Returns the length of the frame that `bytes` begin with, once its first bytes are there.
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let Some(length) = bytes.first_chunk() else { return Ok(None) };
    let data = u32::from_le_bytes(*length) as usize;
    if data > DATA_BYTES_MAX {
        return Err("a frame cannot be that long");
    }
    Ok(Some(HEADER_BYTES + data))
}

fn parse(bytes: &[u8]) -> Result<Frame<'_>, &'static str> {
    let (header, data) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or("the frame is cut off")?;
    let [l0, l1, l2, l3, c0, c1, c2, c3, tag, zero, s0, s1, time @ ..] = *header;
    if checksum([l0, l1, l2, l3], &bytes[8..]) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err("the checksum does not fit");
    }
    if zero != 0 {
        return Err("a byte that must be zero is not");
    }
    let tag = Tag::from_byte(tag).ok_or("the kind of frame is unknown")?;
    let stage = Some(u16::from_le_bytes([s0, s1])).filter(|stage| *stage != NO_STAGE);
    Ok(Frame { unix_us: u64::from_le_bytes(time), stage, body: body(tag, data)? })
}

fn body(tag: Tag, data: &[u8]) -> Result<Body<'_>, &'static str> {
    Ok(match tag {
        Tag::Stdout => Body::Stdout(data),
        Tag::Stderr => Body::Stderr(data),
        Tag::Platform => Body::Platform(data),
        Tag::Begin => Body::Begin(text(data)?),
        Tag::EndCode => Body::End(Exit::Code(number(data)?)),
        Tag::EndSignal => Body::End(Exit::Signal(number(data)?)),
        Tag::AddMask => Body::AddMask(data),
        Tag::MarkLoss => Body::Mark(Mark::Loss, text(data)?),
        Tag::MarkCut => Body::Mark(Mark::Cut, text(data)?),
        Tag::MarkLost => Body::Mark(Mark::Lost, text(data)?),
    })
}

fn text(data: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(data).map_err(|_| "a name or reason is not UTF-8")
}

fn number(data: &[u8]) -> Result<i32, &'static str> {
    data.try_into().map(i32::from_le_bytes).map_err(|_| "an exit status is not four bytes")
}

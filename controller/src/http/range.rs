//! `Range: bytes=`: which part of an answer is wanted.
//!
//! A part is collected in memory and so has a longest length; who wants more goes on where it ended,
//! as the answer's `Content-Range` says. How long the whole is nobody knows before it is read, so a
//! part from the middle has no total.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// The longest part that one answer holds.
pub(super) const PART_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteRange {
    From(u64),
    /// Both ends are in it.
    Between(u64, u64),
    Last(u64),
}

/// What was found of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Found {
        first: u64,
        bytes: Vec<u8>,
        /// Of the whole answer, if its end was reached.
        total: Option<u64>,
    },
    /// It begins behind the end.
    Beyond { total: u64 },
}

impl ByteRange {
    /// Reads the header. What is no single range of bytes is to be ignored, as HTTP has it.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let range = header.trim().strip_prefix("bytes=")?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if plain { text.parse::<u64>().ok() } else { None }
        };
        match (first.trim(), last.trim()) {
            ("", last) => number(last).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// Collects the range out of an answer that is read from its beginning.
    pub(super) async fn collect<E>(self, whole: impl Stream<Item = Result<Bytes, E>>) -> Result<Part, E> {
        match self {
            Self::From(first) => between(first, u64::MAX, whole).await,
            Self::Between(first, last) => between(first, last, whole).await,
            Self::Last(count) => end(count, whole).await,
        }
    }
}

async fn between<E>(first: u64, last: u64, whole: impl Stream<Item = Result<Bytes, E>>) -> Result<Part, E> {
    let most = usize::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(usize::MAX);
    let most = most.min(PART_BYTES_MAX);
    let mut whole = std::pin::pin!(whole);
    let (mut at, mut found) = (0_u64, Vec::new());
    while let Some(bytes) = whole.next().await {
        let bytes = bytes?;
        let skipped = usize::try_from(first.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        at += bytes.len() as u64;
        let wanted = &bytes[skipped..];
        let room = most - found.len();
        found.extend_from_slice(&wanted[..wanted.len().min(room)]);
        if wanted.len() > room {
            return Ok(Part::Found { first, bytes: found, total: None });
        }
    }
    if found.is_empty() {
        return Ok(Part::Beyond { total: at });
    }
    Ok(Part::Found { first, bytes: found, total: Some(at) })
}

async fn end<E>(count: u64, whole: impl Stream<Item = Result<Bytes, E>>) -> Result<Part, E> {
    let most = usize::try_from(count).unwrap_or(usize::MAX).min(PART_BYTES_MAX);
    let mut whole = std::pin::pin!(whole);
    let (mut total, mut last) = (0_u64, VecDeque::new());
    while let Some(bytes) = whole.next().await {
        let bytes = bytes?;
        total += bytes.len() as u64;
        last.extend(&bytes[bytes.len().saturating_sub(most)..]);
        let over = last.len().saturating_sub(most);
        last.drain(..over);
    }
    if last.is_empty() {
        return Ok(Part::Beyond { total });
    }
    Ok(Part::Found { first: total - last.len() as u64, bytes: last.into(), total: Some(total) })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    #[test]
    fn what_is_no_single_range_of_bytes_is_ignored() {
        let cases = [
            ("bytes=0-", Some(ByteRange::From(0))),
            ("bytes=5-9", Some(ByteRange::Between(5, 9))),
            ("bytes=-7", Some(ByteRange::Last(7))),
            ("bytes=9-5", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("bytes=1-2,4-5", None),
            ("lines=1-2", None),
            ("bytes=99999999999999999999-", None),
        ];
        for (header, range) in cases {
            assert_eq!(ByteRange::parse(header), range, "{header}");
        }
    }

    #[tokio::test]
    async fn a_range_is_the_same_wherever_the_pieces_are_cut() {
        let found = |first, bytes: &str, total| Part::Found { first, bytes: bytes.into(), total };
        let cases = [
            (ByteRange::From(7), found(7, "789", Some(10))),
            (ByteRange::Between(2, 4), found(2, "234", None)),
            (ByteRange::Between(2, 99), found(2, "23456789", Some(10))),
            (ByteRange::Last(3), found(7, "789", Some(10))),
            (ByteRange::Last(99), found(0, "0123456789", Some(10))),
            (ByteRange::From(10), Part::Beyond { total: 10 }),
        ];
        for (range, part) in cases {
            for size in 1..=10 {
                let pieces: Vec<Result<Bytes, Infallible>> =
                    b"0123456789".chunks(size).map(|piece| Ok(Bytes::from_static(piece))).collect();
                assert_eq!(range.collect(stream::iter(pieces)).await.unwrap(), part, "{range:?} by {size}");
            }
        }
    }
}

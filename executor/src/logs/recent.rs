//! The newest bytes of a log in memory, so that what was just spooled is sent without being read back.
//!
//! Holds only what is in the spool, and little of it: what is not here is read from there.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use ocelot_core::frame::Offset;

/// The most bytes that are kept of one log.
const BYTES_MAX: usize = 2 << 20;
/// Shorter parts are copied into one piece, and kept without the room they were made in.
const SHORT: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Recent {
    /// Each begins where the one before it ends.
    parts: VecDeque<(Offset, Bytes)>,
    bytes: usize,
}

impl Recent {
    /// Adds what was appended to the log at this place, and leaves `made` empty.
    pub(super) fn push(&mut self, at: Offset, made: &mut Vec<u8>) {
        if self.parts.back().is_some_and(|(last, bytes)| last.advance(bytes.len()) != at) {
            self.clear();
        }
        let part = if made.len() < SHORT {
            let part = Bytes::copy_from_slice(made);
            made.clear();
            part
        } else {
            // The next part is about as long.
            let room = Vec::with_capacity(made.len() + made.len() / 16);
            Bytes::from(std::mem::replace(made, room))
        };
        self.bytes += part.len();
        self.parts.push_back((at, part));
        while self.bytes > BYTES_MAX {
            self.pop();
        }
    }

    /// Forgets what need not be sent any more.
    pub(super) fn forget_before(&mut self, offset: Offset) {
        while self.parts.front().is_some_and(|(at, part)| at.advance(part.len()) <= offset) {
            self.pop();
        }
    }

    /// Returns at most `most` bytes from `offset` on that lie before `end`, or none where the first of
    /// them is not here.
    pub(super) fn read(&self, offset: Offset, most: usize, end: Offset) -> Option<Bytes> {
        let first = self.parts.partition_point(|(at, part)| at.advance(part.len()) <= offset);
        let (at, part) = self.parts.get(first).filter(|(at, _)| *at <= offset)?;
        let most = most.min(usize::try_from(end.0.checked_sub(offset.0)?).unwrap_or(most));
        let from = (offset.0 - at.0) as usize;
        let whole = part.slice(from..part.len().min(from.saturating_add(most)));
        if whole.len() >= SHORT.min(most) {
            return Some(whole);
        }
        let mut piece = Vec::with_capacity(most.min(self.bytes));
        piece.extend_from_slice(&whole);
        for (_, part) in self.parts.range(first + 1..) {
            let left = most - piece.len();
            piece.extend_from_slice(&part[..part.len().min(left)]);
        }
        Some(piece.into())
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn pop(&mut self) {
        if let Some((_, part)) = self.parts.pop_front() {
            self.bytes -= part.len();
        }
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recent({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pushed(recent: &mut Recent, log: &mut Vec<u8>, bytes: usize) {
        let mut made: Vec<u8> = (0..bytes).map(|place| (log.len() + place) as u8).collect();
        let at = Offset(log.len() as u64);
        log.extend_from_slice(&made);
        recent.push(at, &mut made);
        assert_eq!(made.len(), 0);
    }

    proptest! {
        #[test]
        fn what_is_read_is_the_log_and_never_more_of_it_than_asked_for(
            sizes in prop::collection::vec(prop_oneof![3 => 1usize..200, 1 => SHORT..2 * SHORT], 1..60),
            from in any::<prop::sample::Index>(),
            most in prop_oneof![1usize..300, SHORT..4 * SHORT],
            end in any::<prop::sample::Index>(),
        ) {
            let (mut recent, mut log) = (Recent::default(), Vec::new());
            for size in sizes {
                pushed(&mut recent, &mut log, size);
            }
            let end = end.index(log.len()) + 1;
            let from = from.index(end);
            let expected = &log[from..end.min(from + most)];
            match recent.read(Offset(from as u64), most, Offset(end as u64)) {
                Some(piece) => {
                    prop_assert!(!piece.is_empty() && expected.starts_with(&piece));
                    prop_assert!(piece.len() >= expected.len().min(SHORT), "{} bytes", piece.len());
                }
                None => prop_assert!(log.len() - from > BYTES_MAX - 2 * SHORT),
            }
        }
    }

    #[test]
    fn it_is_bounded_and_forgets_what_need_not_be_sent() {
        let (mut recent, mut log) = (Recent::default(), Vec::new());
        while log.len() <= 2 * BYTES_MAX {
            pushed(&mut recent, &mut log, 100_000);
        }
        assert!(recent.bytes <= BYTES_MAX);
        assert_eq!(recent.read(Offset(0), 10, Offset(10)), None);
        let end = Offset(log.len() as u64);
        recent.forget_before(Offset(end.0 - 1));
        assert_eq!(recent.read(Offset(end.0 - 1), 10, end).map(|piece| piece.len()), Some(1));
        recent.forget_before(end);
        assert_eq!((recent.bytes, recent.read(end, 10, end)), (0, None));
    }

    #[test]
    fn bytes_that_do_not_follow_are_never_joined() {
        let mut recent = Recent::default();
        recent.push(Offset(0), &mut vec![1; 10]);
        recent.push(Offset(20), &mut vec![2; 10]);
        assert_eq!(recent.read(Offset(0), 100, Offset(30)), None);
        assert_eq!(recent.read(Offset(20), 100, Offset(30)).as_deref(), Some(&[2; 10][..]));
    }
}

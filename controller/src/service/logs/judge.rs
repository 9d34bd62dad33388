//! What to do with a piece of a log, decided without touching a disk.
//!
//! An executor may send any piece again, in any order, after any crash. Because its sequence is
//! fixed, a piece that was taken before is the same bytes; one that is not is never taken.

use std::ops::Range;

/// A piece of a log as an executor sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    pub offset: u64,
    pub bytes: &'a [u8],
    /// CRC-32C of `bytes`.
    pub crc32c: u32,
}

/// How far a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Bytes that are stored, from the log's beginning.
    pub end: u64,
    /// Nothing more belongs to it.
    pub sealed: bool,
}

/// What is to be done with a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement<'a> {
    /// These bytes follow what is stored.
    Append(&'a [u8]),
    /// All of it is stored.
    AlreadyThere,
    /// Bytes between the end and the piece are missing.
    Gap { expected: u64 },
    /// From here on it contradicts what is stored.
    Diverged { at: u64 },
    /// The log is over, and the piece would go on behind its end.
    Sealed,
    /// The bytes are not those that were sent.
    Damaged,
}

/// Returns the part of what is stored that a judgement on the piece must see.
pub fn overlap(state: State, piece: &Piece<'_>) -> Range<u64> {
    let end = piece.offset.saturating_add(piece.bytes.len() as u64).min(state.end);
    piece.offset.min(end)..end
}

/// Judges a piece by the state of its log and by the stored bytes of [`overlap`].
pub fn append<'a>(state: State, piece: &Piece<'a>, stored: &[u8]) -> Judgement<'a> {
    if crc32c::crc32c(piece.bytes) != piece.crc32c {
        return Judgement::Damaged;
    }
    if piece.offset > state.end {
        return if state.sealed { Judgement::Sealed } else { Judgement::Gap { expected: state.end } };
    }
    let (again, new) = piece.bytes.split_at(stored.len().min(piece.bytes.len()));
    if let Some(same) = stored.iter().zip(again).position(|(stored, sent)| stored != sent) {
        return Judgement::Diverged { at: piece.offset + same as u64 };
    }
    match (new, state.sealed) {
        ([], _) => Judgement::AlreadyThere,
        (_, true) => Judgement::Sealed,
        (new, false) => Judgement::Append(new),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STORED: &[u8] = b"0123456789";

    fn judge(offset: u64, bytes: &[u8], sealed: bool) -> Judgement<'_> {
        let state = State { end: STORED.len() as u64, sealed };
        let piece = Piece { offset, bytes, crc32c: crc32c::crc32c(bytes) };
        let seen = overlap(state, &piece);
        append(state, &piece, &STORED[seen.start as usize..seen.end as usize])
    }

    #[test]
    fn each_piece_has_one_judgement() {
        assert_eq!(judge(10, b"ab", false), Judgement::Append(b"ab"));
        assert_eq!(judge(8, b"89ab", false), Judgement::Append(b"ab"));
        assert_eq!(judge(2, b"234", false), Judgement::AlreadyThere);
        assert_eq!(judge(10, b"", false), Judgement::AlreadyThere);
        assert_eq!(judge(11, b"b", false), Judgement::Gap { expected: 10 });
        assert_eq!(judge(2, b"2x4", false), Judgement::Diverged { at: 3 });
        assert_eq!(judge(8, b"8xab", false), Judgement::Diverged { at: 9 });
        assert_eq!(judge(2, b"234", true), Judgement::AlreadyThere);
        assert_eq!(judge(10, b"ab", true), Judgement::Sealed);
        assert_eq!(judge(12, b"ab", true), Judgement::Sealed);
    }

    #[test]
    fn bytes_that_changed_on_the_way_are_damaged_wherever_they_belong() {
        for offset in [0, 10, 50] {
            let piece = Piece { offset, bytes: b"ab", crc32c: 1 };
            assert_eq!(append(State { end: 10, sealed: false }, &piece, b"ab"), Judgement::Damaged);
        }
    }

    proptest! {
        /// A log that obeys the judgements is always a beginning of what the executor has.
        #[test]
        fn obeying_keeps_a_beginning_of_the_source(
            source in prop::collection::vec(any::<u8>(), 1..200),
            pieces in prop::collection::vec((0usize..220, 0usize..40), 0..60),
        ) {
            let mut stored = Vec::new();
            for (offset, length) in pieces {
                let from = offset.min(source.len());
                let bytes = &source[from..(from + length).min(source.len())];
                let piece = Piece { offset: from as u64, bytes, crc32c: crc32c::crc32c(bytes) };
                let state = State { end: stored.len() as u64, sealed: false };
                let seen = overlap(state, &piece);
                let again = stored[seen.start as usize..seen.end as usize].to_vec();
                match append(state, &piece, &again) {
                    Judgement::Append(new) => stored.extend_from_slice(new),
                    Judgement::AlreadyThere => prop_assert!(from + bytes.len() <= stored.len()),
                    Judgement::Gap { expected } => {
                        prop_assert_eq!(expected, stored.len() as u64);
                        prop_assert!(from > stored.len());
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                prop_assert_eq!(&stored[..], &source[..stored.len()]);
            }
        }
    }
}

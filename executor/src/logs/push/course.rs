//! Decides what of one log is sent next. Pure.

use ocelot_core::frame::Offset;

use crate::attempt::LogDigest;

/// The most bytes of one piece; the protocol allows twice as many. What is made of one reading of a
/// capture fits into it, so that it goes as it is.
pub(in crate::logs) const PIECE_BYTES: usize = 512 * 1024;
/// The most bytes on their way.
pub(in crate::logs) const WINDOW_BYTES: u64 = 8 << 20;

/// How far a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stands {
    /// Bytes before it are freed.
    pub(super) first: Offset,
    /// Bytes before it may be sent.
    pub(super) fixed: Offset,
    pub(super) sealed: Option<LogDigest>,
    pub(super) received: Offset,
    pub(super) durable: Offset,
    /// It is to be sent again from here.
    pub(super) again: Option<Offset>,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// An empty piece: a controller that has less than this answers where to go on.
    Ask {
        offset: Offset,
    },
    Piece {
        offset: Offset,
        most: usize,
    },
    End(LogDigest),
}

/// How far one log is sent on one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Course {
    sent: Offset,
    /// The controller of this stream said how much it has, or need not.
    asked: bool,
    end_sent: bool,
    /// After a gap: one piece from here, and nothing more until it is received. Answers to what was
    /// sent before it are still on their way, and each of them says the same gap.
    probing: Option<Offset>,
}

impl Course {
    /// Begins on a new stream.
    pub(super) fn begin(stands: &Stands) -> Self {
        let from = stands.again.unwrap_or(stands.received).max(stands.first);
        // What is not durable was received by one controller, and this may be another.
        let asked = from <= stands.durable;
        Self { sent: from, asked, end_sent: false, probing: None }
    }

    /// Whether it is worth opening a stream for.
    pub(super) fn is_wanted(stands: &Stands) -> bool {
        stands.again.is_some() || stands.received < stands.fixed || stands.durable < stands.fixed
    }

    pub(super) fn next(&self, stands: &Stands) -> Option<Next> {
        if !self.asked {
            return Some(Next::Ask { offset: self.sent });
        }
        // What another word of the controller told to be received need not be sent.
        let from = if self.probing.is_some() { self.sent } else { self.sent.max(stands.received) };
        let from = from.max(stands.first);
        if from < stands.fixed {
            let on_its_way = from.0.saturating_sub(stands.received.0);
            let waits = self.probing.is_some_and(|probe| from > probe);
            let left = usize::try_from(stands.fixed.0 - from.0).unwrap_or(usize::MAX);
            let piece = Next::Piece { offset: from, most: left.min(PIECE_BYTES) };
            return (!waits && on_its_way < WINDOW_BYTES).then_some(piece);
        }
        stands.sealed.filter(|sealed| !self.end_sent && from >= sealed.length).map(Next::End)
    }

    /// Notes that it is on its way.
    pub(super) fn sent(&mut self, next: &Next) {
        match next {
            Next::Ask { .. } => self.asked = true,
            Next::Piece { offset, most } => self.sent = offset.advance(*most),
            Next::End(_) => self.end_sent = true,
        }
    }

    /// Goes back to the first byte that is missing.
    pub(super) fn go_back(&mut self, from: Offset) {
        *self = Self { sent: from, asked: true, end_sent: false, probing: Some(from) };
    }

    pub(super) fn received(&mut self, received: Offset) {
        if self.probing.is_some_and(|probe| received > probe) {
            self.probing = None;
        }
    }

    /// Whether an answer is to come.
    pub(super) fn is_ahead(&self, stands: &Stands) -> bool {
        self.sent > stands.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Stands = Stands {
        first: Offset(0),
        fixed: Offset(1_000),
        sealed: None,
        received: Offset(0),
        durable: Offset(0),
        again: None,
    };

    fn piece(offset: u64, most: usize) -> Option<Next> {
        Some(Next::Piece { offset: Offset(offset), most })
    }

    /// Sends what is next, and says what it was.
    fn send(course: &mut Course, stands: &Stands) -> Option<Next> {
        let next = course.next(stands);
        next.iter().for_each(|next| course.sent(next));
        next
    }

    #[test]
    fn what_is_there_goes_in_one_piece_and_the_end_follows_once() {
        let mut course = Course::begin(&START);
        assert_eq!(send(&mut course, &START), piece(0, 1_000));
        assert_eq!(send(&mut course, &START), None);
        let digest = LogDigest { length: Offset(1_010), sha256: [1; 32] };
        let sealed = Stands { fixed: Offset(1_010), sealed: Some(digest), ..START };
        assert_eq!(send(&mut course, &sealed), piece(1_000, 10));
        assert_eq!(send(&mut course, &sealed), Some(Next::End(digest)));
        assert_eq!(send(&mut course, &sealed), None);
    }

    #[test]
    fn no_more_than_a_window_is_on_its_way() {
        let mut stands = Stands { fixed: Offset(100 << 20), ..START };
        let mut course = Course::begin(&stands);
        while send(&mut course, &stands).is_some() {}
        assert_eq!(course.sent, Offset(WINDOW_BYTES));
        stands.received = Offset(10);
        assert_eq!(send(&mut course, &stands), piece(WINDOW_BYTES, PIECE_BYTES));
        assert_eq!(send(&mut course, &stands), None);
    }

    #[test]
    fn another_controller_is_asked_for_what_one_has_received() {
        let stands = Stands { received: Offset(600), durable: Offset(400), ..START };
        let mut course = Course::begin(&stands);
        assert_eq!(send(&mut course, &stands), Some(Next::Ask { offset: Offset(600) }));
        assert_eq!(send(&mut course, &stands), piece(600, 400));
        let durable = Stands { durable: Offset(600), ..stands };
        assert_eq!(send(&mut Course::begin(&durable), &durable), piece(600, 400));
    }

    #[test]
    fn after_a_gap_one_piece_goes_ahead_however_often_the_gap_is_said() {
        let stands = Stands { fixed: Offset(100 << 20), ..START };
        let mut course = Course::begin(&stands);
        for _ in 0..4 {
            send(&mut course, &stands);
        }
        for _ in 0..3 {
            course.go_back(Offset(5));
            assert_eq!(send(&mut course, &stands), piece(5, PIECE_BYTES));
            assert_eq!(send(&mut course, &stands), None);
        }
        course.received(Offset(6));
        assert_eq!(send(&mut course, &stands), piece(5 + PIECE_BYTES as u64, PIECE_BYTES));
    }

    #[test]
    fn what_is_freed_is_never_sent() {
        let stands = Stands { first: Offset(500), received: Offset(100), ..START };
        let mut course = Course::begin(&stands);
        course.sent(&Next::Ask { offset: Offset(500) });
        assert_eq!(send(&mut course, &stands), piece(500, 500));
    }
}

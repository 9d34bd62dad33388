//! Decides what of one log is sent next. Pure.

use ocelot_core::frame::Offset;

use crate::attempt::LogDigest;

/// The most bytes of one piece; the protocol allows four times as many.
pub(in crate::logs) const PIECE_BYTES: usize = 256 * 1024;
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
    /// It is to be sent again from here.
    pub(super) again: Option<Offset>,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Piece { offset: Offset, most: usize },
    End(LogDigest),
}

/// How far one log is sent on one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Course {
    sent: Offset,
    end_sent: bool,
    /// After a gap: one piece from here, and nothing more until it is received. Answers to what was
    /// sent before it are still on their way, and each of them says the same gap.
    probing: Option<Offset>,
}

impl Course {
    /// Begins on a new stream.
    pub(super) fn begin(stands: &Stands) -> Self {
        let from = stands.again.unwrap_or(stands.received).max(stands.first);
        Self { sent: from, end_sent: false, probing: None }
    }

    /// Whether it is worth opening a stream for.
    pub(super) fn is_wanted(stands: &Stands) -> bool {
        stands.again.is_some() || stands.received < stands.fixed
    }

    pub(super) fn next(&self, stands: &Stands) -> Option<Next> {
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
            Next::Piece { offset, most } => self.sent = offset.advance(*most),
            Next::End(_) => self.end_sent = true,
        }
    }

    /// Goes back to the first byte that is missing.
    pub(super) fn go_back(&mut self, from: Offset) {
        *self = Self { sent: from, end_sent: false, probing: Some(from) };
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

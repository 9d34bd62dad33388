//! One stream of output on its way through the matcher: what is undecided, and what of it is hidden.
//!
//! Undecided is exactly the longest end of the stream that begins a pattern. It depends on the bytes
//! alone, so every way of cutting the same bytes decides the same at the same byte.

use super::REPLACEMENT;
use super::automaton::{Automaton, Node};
use super::skip::LOOK;

/// Bytes from `start` up to `end` that are part of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Stream {
    node: Node,
    /// The undecided bytes; places in `hidden` count from their first.
    held: Vec<u8>,
    /// Apart from each other, in order.
    hidden: Vec<Run>,
    /// Whether the last decided byte was hidden: its replacement stands for what follows it too.
    inside: bool,
}

impl Stream {
    /// Goes on from a state that was taken with [`Stream::state`].
    ///
    /// Returns none where the runs do not lie in the held bytes, apart and in order.
    pub(super) fn restored(
        automaton: &Automaton,
        held: &[u8],
        hidden: Vec<Run>,
        inside: bool,
    ) -> Option<Self> {
        let apart = hidden.windows(2).all(|pair| pair[0].end < pair[1].start);
        let inside_held = hidden.iter().all(|run| run.start < run.end && run.end <= held.len());
        let node = held.iter().fold(Node::ROOT, |node, byte| automaton.step(node, *byte));
        (apart && inside_held).then(|| Self { node, held: held.to_vec(), hidden, inside })
    }

    pub(super) fn state(&self) -> (Node, &[Run], bool) {
        (self.node, &self.hidden, self.inside)
    }

    /// Whether a new stream would go on just the same.
    pub(super) fn is_fresh(&self) -> bool {
        self.held.is_empty() && !self.inside
    }

    /// Takes the next bytes, and appends what is decided now to `out`.
    pub(super) fn push(&mut self, automaton: &Automaton, bytes: &[u8], out: &mut Vec<u8>) {
        self.scan(automaton, bytes);
        self.take(automaton, bytes, out);
    }

    /// The same, but returns what is decided: a front of `bytes` as it stands, or what was made of them
    /// in `room`, which is empty.
    pub(super) fn pass<'a>(
        &mut self,
        automaton: &Automaton,
        bytes: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        self.scan(automaton, bytes);
        if !(self.held.is_empty() && self.hidden.is_empty()) {
            self.take(automaton, bytes, room);
            return room;
        }
        let (shown, undecided) = bytes.split_at(bytes.len() - automaton.depth(self.node));
        self.held.extend_from_slice(undecided);
        self.inside &= shown.is_empty();
        shown
    }

    /// Decides what was scanned, as far as it goes.
    fn take(&mut self, automaton: &Automaton, bytes: &[u8], out: &mut Vec<u8>) {
        let whole = self.held.len() + bytes.len();
        let decided = whole - automaton.depth(self.node);
        self.decide(decided, bytes, out);
        let from_held = decided.min(self.held.len());
        self.held.drain(..from_held);
        self.held.extend_from_slice(&bytes[decided - from_held..]);
    }

    /// Decides everything: no more bytes will come.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.decide(self.held.len(), &[], out);
        *self = Self::default();
    }

    /// Goes on with more patterns. They count where they begin in what is undecided, or later.
    pub(super) fn extend(&mut self, automaton: &Automaton) {
        let held = std::mem::take(&mut self.held);
        let known = std::mem::take(&mut self.hidden);
        self.node = Node::ROOT;
        self.scan(automaton, &held);
        self.held = held;
        let found = std::mem::replace(&mut self.hidden, known);
        for run in found {
            cover(&mut self.hidden, run);
        }
    }

    /// Reads `bytes` and notes which are hidden. Output in which nothing begins is passed over; a
    /// start that may be one stays with the automaton until it is decided.
    fn scan(&mut self, automaton: &Automaton, bytes: &[u8]) {
        if automaton.is_empty() {
            return;
        }
        let held = self.held.len();
        // Starts before this place, counted from the first held byte, are the automaton's to follow.
        let mut followed = held;
        let mut at = 0;
        while at < bytes.len() {
            let depth = automaton.depth(self.node);
            let start = held + at - depth;
            // Deeper, it would read the same bytes again and again where one start follows another.
            if let Some(skip) = automaton.skip()
                && start >= followed
                && depth < LOOK
            {
                self.node = Node::ROOT;
                at = skip.find(bytes, start - held);
                followed = held + at + 1;
                if at == bytes.len() {
                    return;
                }
            }
            self.node = automaton.step(self.node, bytes[at]);
            at += 1;
            let longest = automaton.longest(self.node);
            if longest > 0 {
                cover(&mut self.hidden, Run { start: held + at - longest, end: held + at });
            }
        }
    }

    /// Writes what stands before `decided`, counted from the first held byte, and forgets its runs.
    fn decide(&mut self, decided: usize, bytes: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        let mut done = 0;
        for run in &mut self.hidden {
            if run.start >= decided {
                break;
            }
            if run.start > at {
                copy(&self.held, bytes, at..run.start, out);
                self.inside = false;
            }
            if !self.inside {
                out.extend_from_slice(REPLACEMENT);
                self.inside = true;
            }
            at = run.end.min(decided);
            run.start = at;
            done += usize::from(run.start == run.end);
        }
        if at < decided {
            copy(&self.held, bytes, at..decided, out);
            self.inside = false;
        }
        self.hidden.drain(..done);
        for run in &mut self.hidden {
            run.start -= decided;
            run.end -= decided;
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({} bytes held, hidden {:?})", self.held.len(), self.hidden)
    }
}

/// Adds a run; those that it touches become one with it.
fn cover(hidden: &mut Vec<Run>, mut run: Run) {
    let from = hidden.partition_point(|known| known.end < run.start);
    let to = from + hidden[from..].partition_point(|known| known.start <= run.end);
    for known in &hidden[from..to] {
        run.start = run.start.min(known.start);
        run.end = run.end.max(known.end);
    }
    hidden.splice(from..to, [run]);
}

/// Appends a range of `held` and `bytes`, taken as one.
fn copy(held: &[u8], bytes: &[u8], range: std::ops::Range<usize>, out: &mut Vec<u8>) {
    let cut = held.len();
    out.extend_from_slice(&held[range.start.min(cut)..range.end.min(cut)]);
    out.extend_from_slice(&bytes[range.start.max(cut) - cut..range.end.max(cut) - cut]);
}

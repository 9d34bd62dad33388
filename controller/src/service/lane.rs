//! The lanes in which callers stand who want runs of one job accepted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::accept::Asked;
use super::error::Result;
use super::execute::Executed;
use super::lock;
use super::numbers::Given;
use crate::records::Digest;

/// Runs that share a transaction.
pub(super) const TOGETHER: usize = 32;
const LANES: usize = 64;

/// What a caller is told by whoever accepted for it.
#[expect(clippy::large_enum_variant, reason = "it is moved once, and almost always the large one")]
pub(super) enum Word {
    Done(Result<Executed>),
    /// It may have happened: the caller finds out.
    Alone,
}

/// One caller in a lane.
pub(super) struct Waiting {
    pub(super) asked: Arc<Asked>,
    answer: oneshot::Sender<Word>,
}

#[derive(Default)]
pub(super) struct Lane {
    /// Whoever has it accepts for all that wait.
    pub(super) turn: tokio::sync::Mutex<Given>,
    /// Bounded by the calls that are under way.
    waiting: Mutex<VecDeque<Waiting>>,
}

/// Runs of one job stand in one lane.
pub(super) struct Lanes([Lane; LANES]);

impl Default for Lanes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Lane::default()))
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").finish_non_exhaustive()
    }
}

impl Lanes {
    pub(super) fn of(&self, job: &str) -> &Lane {
        let lane = usize::from(Digest::of(job.as_bytes()).as_bytes()[0]) % LANES;
        &self.0[lane]
    }
}

impl Lane {
    pub(super) fn join(&self, asked: &Arc<Asked>) -> oneshot::Receiver<Word> {
        let (answer, answered) = oneshot::channel();
        lock(&self.waiting).push_back(Waiting { asked: Arc::clone(asked), answer });
        answered
    }

    /// Takes the first that wait, without those whose callers have gone.
    pub(super) fn take(&self) -> Vec<Waiting> {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|waiting| !waiting.answer.is_closed());
        let count = waiting.len().min(TOGETHER);
        waiting.drain(..count).collect()
    }

    pub(super) fn put_back(&self, left: Vec<Waiting>) {
        let mut waiting = lock(&self.waiting);
        left.into_iter().rev().for_each(|left| waiting.push_front(left));
    }
}

impl Waiting {
    pub(super) fn tell(self, word: Word) {
        // A caller that went away needs no answer.
        let _gone = self.answer.send(word).is_err();
    }
}

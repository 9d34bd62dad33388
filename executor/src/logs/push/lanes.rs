//! The attempts on the stream: whose turn it is, and what an answer means to each. No I/O.

use std::sync::Arc;

use ocelot_core::frame::Offset;
use ocelot_proto::wire;
use ocelot_proto::wire::push_log_response::Answer;

use super::Cut;
use super::course::{Course, Next, Stands};
use crate::logs::shared::{Shared, Standing};

#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// Whose turn it is.
    turn: usize,
    pub(super) stopped: bool,
}

/// One attempt on the stream.
#[derive(Debug)]
struct Lane {
    id: wire::AttemptId,
    log: Arc<Shared>,
    course: Course,
    doubt: Doubt,
}

/// Whether a controller asked for bytes that are freed because one called them durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    No,
    /// It may have said so before they were durable there.
    Once,
    /// A stream was opened since. Another such answer is the truth.
    Asked,
}

impl Lanes {
    /// Adds a log, or begins anew with it.
    pub(super) fn add(&mut self, id: wire::AttemptId, log: Arc<Shared>) {
        let course = Course::begin(&stands(&log));
        self.lanes.retain(|lane| lane.id != id);
        self.lanes.push(Lane { id, log, course, doubt: Doubt::No });
    }

    pub(super) fn clear(&mut self) {
        self.lanes.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Returns how much of all logs was received, to tell whether a stream was of any use.
    pub(super) fn received(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.log.received().0).sum()
    }

    /// On a new stream each log goes on from what is known to be received.
    pub(super) fn begin(&mut self) {
        for lane in &mut self.lanes {
            lane.course = Course::begin(&stands(&lane.log));
            if lane.doubt == Doubt::Once {
                lane.doubt = Doubt::Asked;
            }
        }
    }

    pub(super) fn have_something(&mut self) -> bool {
        self.forget_what_is_over();
        self.lanes.iter().any(|lane| Course::is_wanted(&stands(&lane.log)))
    }

    /// Returns the next piece, of the next attempt that has one.
    pub(super) fn next(&mut self) -> Option<(Arc<Shared>, Next)> {
        for _ in 0..self.lanes.len() {
            self.turn = (self.turn + 1) % self.lanes.len();
            let lane = &mut self.lanes[self.turn];
            let stands = stands(&lane.log);
            if let Some(from) = stands.again {
                lane.course.go_back(from);
                lane.log.sending_again();
            }
            if let Some(next) = lane.course.next(&stands) {
                return Some((Arc::clone(&lane.log), next));
            }
        }
        None
    }

    pub(super) fn sent(&mut self, log: &Arc<Shared>, sent: &Next) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| Arc::ptr_eq(&lane.log, log)) {
            lane.course.sent(sent);
        }
    }

    pub(super) fn forget_what_is_over(&mut self) {
        self.lanes.retain(|lane| !lane.log.is_over());
    }

    pub(super) fn wait_for_answers(&self) -> bool {
        self.lanes.iter().any(|lane| lane.course.is_ahead(&stands(&lane.log)))
    }

    pub(super) fn take(&mut self, answer: Answer) -> Result<(), Cut> {
        match answer {
            Answer::Offsets(offsets) => {
                let Some(lane) = self.of(offsets.attempt.as_ref()) else { return Ok(()) };
                lane.doubt = Doubt::No;
                lane.course.received(Offset(offsets.received));
                // It answers pieces in their order: gaps that it told of before are filled.
                lane.log.forget_gaps_before(Offset(offsets.received));
                lane.log.safe(Offset(offsets.received), Offset(offsets.durable));
            }
            Answer::Gap(gap) => {
                let Some(lane) = self.of(gap.attempt.as_ref()) else { return Ok(()) };
                return lane.go_back(Offset(gap.expected));
            }
            Answer::Diverged(diverged) => {
                let Some(lane) = self.of(diverged.attempt.as_ref()) else { return Ok(()) };
                lane.log.broken(Offset(diverged.at), "the controller has other bytes from here on");
            }
            Answer::Fenced(attempt) => {
                if let Some(lane) = self.of(Some(&attempt)) {
                    lane.log.fenced();
                }
            }
        }
        Ok(())
    }

    fn of(&mut self, id: Option<&wire::AttemptId>) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| Some(&lane.id) == id)
    }
}

impl Lane {
    fn go_back(&mut self, expected: Offset) -> Result<(), Cut> {
        let freed = expected < self.log.look(Standing::first);
        if freed && self.doubt == Doubt::Asked {
            self.log.broken(expected, "the controller asks for bytes that were called durable before");
            return Ok(());
        }
        self.log.send_from(expected);
        if !freed {
            return Ok(());
        }
        self.doubt = Doubt::Once;
        Err(Cut::Doubted)
    }
}

fn stands(log: &Shared) -> Stands {
    log.look(|standing| Stands {
        first: standing.first(),
        fixed: standing.fixed,
        sealed: standing.sealed,
        received: standing.received,
        durable: standing.durable,
        again: standing.again,
    })
}

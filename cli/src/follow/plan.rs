//! Which log of a task is read next: a pure answer to what the run says of its attempts and to what
//! was read so far.

use std::collections::HashMap;

use ocelot_proto::wire;

use crate::words;

/// What is being read, and what was read to its end.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    of: HashMap<u32, TaskLog>,
}

#[derive(Debug, Default)]
struct TaskLog {
    reading: Option<Reading>,
    /// The attempt up to which everything was shown.
    done: u32,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// 0: the newest, whichever that turns out to be.
    attempt: u32,
    offset: u64,
    live: bool,
}

/// A log to read: of which attempt, from where, and whether to wait for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) attempt: u32,
    pub(crate) offset: u64,
    pub(crate) live: bool,
}

pub(crate) fn index(task: &wire::Task) -> u32 {
    task.id.as_ref().map_or(0, |id| id.index)
}

/// The newest attempt that may have a log.
fn newest(task: &wire::Task) -> Option<u32> {
    let over = words::task_outcome(task).is_some();
    // An offer that nobody took has no log; while the task lives, the newest may still be taken.
    let may_have = |attempt: &&wire::Attempt| {
        attempt.acknowledged_unix_us > 0 || attempt.log_bytes > 0 || (!over && attempt.ended_unix_us == 0)
    };
    task.attempts.iter().filter(may_have).map(|attempt| attempt.number).max()
}

impl Logs {
    /// Returns what to open now for a task; nothing if what is open is right.
    pub(crate) fn choose(&self, task: &wire::Task) -> Option<Choice> {
        let newest = newest(task)?;
        let log = self.of.get(&index(task));
        let done = log.map_or(0, |log| log.done);
        match log.and_then(|log| log.reading) {
            None if newest > done => Some(Choice { attempt: newest, offset: 0, live: true }),
            None => None,
            Some(reading) if reading.attempt == newest => None,
            // Nothing was read of it yet; the first attempt is what the newest was then.
            Some(reading) if reading.attempt == 0 => {
                (newest > 1).then_some(Choice { attempt: newest, offset: 0, live: true })
            }
            // The rest of what an attempt wrote before it was lost is shown first.
            Some(reading) => reading.live.then_some(Choice {
                attempt: reading.attempt,
                offset: reading.offset,
                live: false,
            }),
        }
    }

    /// Tells whether nothing is left to be read of these tasks, all of which are over.
    pub(crate) fn is_over<'a>(&self, mut tasks: impl Iterator<Item = &'a wire::Task>) -> bool {
        tasks.all(|task| {
            let done = self.of.get(&index(task)).map_or(0, |log| log.done);
            newest(task).is_none_or(|newest| newest <= done)
        })
    }

    /// Tells whether what is open will never say anything: the task ended without an attempt.
    pub(crate) fn is_needless(&self, task: &wire::Task) -> bool {
        words::task_outcome(task).is_some() && newest(task).is_none()
    }

    pub(crate) fn opened(&mut self, task: u32, choice: Choice) {
        let Choice { attempt, offset, live } = choice;
        self.of.entry(task).or_default().reading = Some(Reading { attempt, offset, live });
    }

    pub(crate) fn read(&mut self, task: u32, piece: &wire::ReadLogResponse) {
        let log = self.of.entry(task).or_default();
        if let Some(reading) = &mut log.reading {
            reading.attempt = piece.attempt.max(reading.attempt);
            reading.offset = reading.offset.max(piece.offset + piece.frames.len() as u64);
        }
        if piece.complete {
            log.done = log.done.max(piece.attempt);
            log.reading = None;
        }
    }

    /// Notes that a stream ended by itself; `over`: all of it was shown.
    pub(crate) fn closed(&mut self, task: u32, over: bool) {
        let log = self.of.entry(task).or_default();
        if let Some(reading) = log.reading.take()
            && over
        {
            log.done = log.done.max(reading.attempt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u32, acknowledged: i64, ended: i64) -> wire::Attempt {
        wire::Attempt {
            number,
            acknowledged_unix_us: acknowledged,
            ended_unix_us: ended,
            ..wire::Attempt::default()
        }
    }

    fn task(attempts: Vec<wire::Attempt>, over: bool) -> wire::Task {
        let outcome = wire::Outcome { outcome: None };
        let state = over.then_some(wire::task_state::State::Finished(outcome));
        wire::Task { attempts, state: Some(wire::TaskState { state }), ..wire::Task::default() }
    }

    fn piece(attempt: u32, offset: u64, complete: bool) -> wire::ReadLogResponse {
        wire::ReadLogResponse { attempt, offset, frames: vec![0; 10].into(), complete, loss: None }
    }

    #[test]
    fn the_first_attempt_is_read_once_whatever_is_told_first() {
        let mut logs = Logs::default();
        logs.opened(0, Choice { attempt: 0, offset: 0, live: true });
        let running = task(vec![attempt(1, 5, 0)], false);
        assert_eq!(logs.choose(&running), None);
        logs.read(0, &piece(1, 0, false));
        assert_eq!(logs.choose(&running), None);
        logs.read(0, &piece(1, 10, true));
        let over = task(vec![attempt(1, 5, 9)], true);
        assert_eq!(logs.choose(&over), None);
        assert!(logs.is_over([&over].into_iter()));
    }

    #[test]
    fn a_lost_attempt_is_shown_to_its_end_before_the_next_begins() {
        let mut logs = Logs::default();
        logs.opened(0, Choice { attempt: 0, offset: 0, live: true });
        logs.read(0, &piece(1, 0, false));
        let second = task(vec![attempt(1, 5, 9), attempt(2, 0, 0)], false);
        let rest = Choice { attempt: 1, offset: 10, live: false };
        assert_eq!(logs.choose(&second), Some(rest));
        logs.opened(0, rest);
        assert_eq!(logs.choose(&second), None);
        logs.closed(0, true);
        assert_eq!(logs.choose(&second), Some(Choice { attempt: 2, offset: 0, live: true }));
    }

    #[test]
    fn offers_that_nobody_took_have_no_log() {
        let logs = Logs::default();
        let over = task(vec![attempt(1, 0, 4)], true);
        assert_eq!(logs.choose(&over), None);
        assert!(logs.is_needless(&over));
        assert!(logs.is_over([&over].into_iter()));
    }

    #[test]
    fn a_run_is_not_over_before_its_newest_log_is() {
        let mut logs = Logs::default();
        logs.opened(0, Choice { attempt: 1, offset: 0, live: true });
        logs.read(0, &piece(1, 0, true));
        let over = task(vec![attempt(1, 5, 9), attempt(2, 11, 12)], true);
        assert!(!logs.is_over([&over].into_iter()));
    }
}

//! The thread that writes: it takes everything that waits, writes it as one block, syncs once, and only
//! then answers. Nobody else touches the file.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::error::JournalError;
use super::file::{DataLock, JournalFile};
use super::state::{Record, Sequence, State};
use crate::disk::DiskError;

/// Requests that may wait; beyond, their makers wait.
pub(super) const QUEUE_MAX: usize = 1_024;
/// Requests of one block at most.
const GROUP_MAX: usize = 256;

pub(super) struct Request {
    pub(super) records: Vec<Record>,
    pub(super) reply: oneshot::Sender<Result<Sequence, JournalError>>,
}

pub(super) struct Committer {
    pub(super) _lock: DataLock,
    pub(super) file: JournalFile,
    pub(super) state: State,
    pub(super) durable: Arc<Mutex<State>>,
}

/// A request that fits the state, and the number that it will be told.
struct Taken {
    last: Sequence,
    reply: oneshot::Sender<Result<Sequence, JournalError>>,
}

impl Committer {
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut failed = false;
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(next) = queue.try_recv()
            {
                group.push(next);
            }
            if failed {
                group.into_iter().for_each(|request| answer(request.reply, Err(JournalError::Failed)));
            } else {
                failed = self.commit(group);
            }
        }
    }

    /// Returns whether the journal failed for good.
    fn commit(&mut self, group: Vec<Request>) -> bool {
        let mut next = self.state.clone();
        let (mut records, mut taken) = (Vec::new(), Vec::new());
        for request in group {
            match applied(&next, &request.records) {
                Ok(after) => {
                    next = after;
                    records.extend(request.records);
                    taken.push(Taken { last: next.sequence, reply: request.reply });
                }
                Err(illegal) => answer(request.reply, Err(illegal)),
            }
        }
        if records.is_empty() {
            let last = self.state.sequence;
            taken.into_iter().for_each(|request| answer(request.reply, Ok(last)));
            return false;
        }
        if let Err(error) = self.file.append(next.sequence, &records) {
            return fail(error, taken);
        }
        self.state = next;
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.state);
        taken.into_iter().for_each(|request| answer(request.reply, Ok(request.last)));
        // A rewriting that a full disk stopped left the old file as it was, and is tried again later.
        match self.file.compact_if_due(&self.state) {
            Ok(()) | Err(JournalError::Disk(DiskError::NoSpace { .. })) => {}
            Err(_) => return true,
        }
        self.file.make_room_if_due().is_err()
    }
}

/// Returns the state after all of `records`, or why one of them cannot be.
fn applied(state: &State, records: &[Record]) -> Result<State, JournalError> {
    let mut next = state.clone();
    for record in records {
        next.apply(record)?;
    }
    Ok(next)
}

/// Tells everyone who waited; the first one learns the cause. Returns whether it is for good.
fn fail(error: JournalError, taken: Vec<Taken>) -> bool {
    let passes = match &error {
        JournalError::Disk(DiskError::NoSpace { doing, path }) => Some((*doing, path.clone())),
        _ => None,
    };
    let mut cause = Some(error);
    for request in taken {
        let told = match (cause.take(), &passes) {
            (Some(error), _) => error,
            (None, Some((doing, path))) => {
                JournalError::Disk(DiskError::NoSpace { doing, path: path.clone() })
            }
            (None, None) => JournalError::Failed,
        };
        answer(request.reply, Err(told));
    }
    passes.is_none()
}

fn answer(reply: oneshot::Sender<Result<Sequence, JournalError>>, answer: Result<Sequence, JournalError>) {
    // Whoever asked may have gone; what was written is written.
    drop(reply.send(answer));
}

//! What waits for the writer. Bounded by count and by bytes: over the limit the caller is refused
//! at once, because a queue that only grows answers nobody in time.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::store::error::{Error, Result};
use crate::store::lease::{Lease, LeaseId};
use crate::store::range::Revision;
use crate::store::txn::{Txn, Verdict};

use super::failure::Reason;

pub(super) type Answer<T> = oneshot::Sender<Result<T>>;

/// One thing for the writer to do.
#[derive(Debug)]
pub(super) enum Job {
    Commit(Txn, Answer<Verdict>),
    Grant(Duration, Answer<Lease>),
    Revoke(LeaseId, Answer<()>),
    Compact(Revision, Answer<()>),
    /// Looks at the clock now.
    Nudge(Answer<()>),
}

impl Job {
    /// The least that any job counts for, whatever it carries.
    const BYTES_MIN: usize = 256;

    fn size_bytes(&self) -> usize {
        match self {
            Self::Commit(txn, _) => Self::BYTES_MIN + txn.size_bytes(),
            Self::Grant(..) | Self::Revoke(..) | Self::Compact(..) | Self::Nudge(_) => Self::BYTES_MIN,
        }
    }

    /// Answers a job that was not begun, or whose work was undone.
    pub(super) fn fail(self, error: Error) {
        // A caller that went away needs no answer.
        let _gone = match self {
            Self::Commit(_, answer) => answer.send(Err(error)).is_err(),
            Self::Grant(_, answer) => answer.send(Err(error)).is_err(),
            Self::Revoke(_, answer) | Self::Compact(_, answer) | Self::Nudge(answer) => {
                answer.send(Err(error)).is_err()
            }
        };
    }
}

#[derive(Debug, Clone)]
enum Door {
    Open,
    /// The store was dropped.
    Closed,
    /// Nothing more can be written, for this reason.
    Broken(Reason),
}

#[derive(Debug)]
struct Waiting {
    jobs: Vec<Job>,
    bytes: usize,
    door: Door,
    writer_sleeps: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

impl Queue {
    /// Many times what a second can commit; who waits longer has given up.
    const JOBS_MAX: usize = 16 * 1024;
    const BYTES_MAX: usize = 64 * 1024 * 1024;

    pub(super) fn new() -> Self {
        let waiting = Waiting { jobs: Vec::new(), bytes: 0, door: Door::Open, writer_sleeps: false };
        Self { waiting: Mutex::new(waiting), arrived: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds the queue")
    }

    pub(super) fn push(&self, job: Job) -> Result<()> {
        let bytes = job.size_bytes();
        let mut waiting = self.waiting();
        check_door(&waiting.door)?;
        if waiting.jobs.len() >= Self::JOBS_MAX || waiting.bytes + bytes > Self::BYTES_MAX {
            let count = waiting.jobs.len();
            return Err(Error::Unavailable(Reason::boxed(format!(
                "{count} changes are waiting to be written already"
            ))));
        }
        waiting.bytes += bytes;
        waiting.jobs.push(job);
        let wake = std::mem::take(&mut waiting.writer_sleeps);
        drop(waiting);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Moves all that waits into `jobs`, after waiting for some for at most `patience`.
    /// Returns false once the store is closed and nothing is left.
    pub(super) fn take(&self, jobs: &mut Vec<Job>, patience: Option<Duration>) -> bool {
        let mut waiting = self.waiting();
        if waiting.jobs.is_empty() && matches!(waiting.door, Door::Open) {
            waiting.writer_sleeps = true;
            waiting = match patience {
                None => self.arrived.wait(waiting).expect("nothing panics while it holds the queue"),
                Some(patience) => {
                    self.arrived
                        .wait_timeout(waiting, patience)
                        .expect("nothing panics while it holds the queue")
                        .0
                }
            };
            waiting.writer_sleeps = false;
        }
        waiting.bytes = 0;
        std::mem::swap(&mut waiting.jobs, jobs);
        !jobs.is_empty() || matches!(waiting.door, Door::Open)
    }

    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        if matches!(waiting.door, Door::Open) {
            waiting.door = Door::Closed;
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Refuses all that waits and all that comes.
    pub(super) fn break_off(&self, reason: Reason) {
        let mut waiting = self.waiting();
        waiting.door = Door::Broken(reason.clone());
        let jobs = std::mem::take(&mut waiting.jobs);
        drop(waiting);
        for job in jobs {
            job.fail(Error::Unusable(Box::new(reason.clone())));
        }
    }

    /// Tells whether changes are still taken, and if not, why.
    pub(super) fn check(&self) -> Result<()> {
        check_door(&self.waiting().door)
    }
}

fn check_door(door: &Door) -> Result<()> {
    match door {
        Door::Open => Ok(()),
        Door::Closed => Err(Error::Unavailable(Reason::boxed("the store is closed"))),
        Door::Broken(reason) => Err(Error::Unusable(Box::new(reason.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn commit(bytes: usize) -> Job {
        Job::Commit(Txn::new().put("k", Bytes::from(vec![0; bytes])), oneshot::channel().0)
    }

    #[test]
    fn too_many_waiting_changes_are_refused_and_later_ones_taken_again() {
        let queue = Queue::new();
        for _ in 0..Queue::JOBS_MAX {
            queue.push(commit(1)).unwrap();
        }
        assert!(matches!(queue.push(commit(1)), Err(Error::Unavailable(_))));
        assert!(queue.take(&mut Vec::new(), None));
        queue.push(commit(1)).unwrap();
    }

    #[test]
    fn too_many_waiting_bytes_are_refused() {
        let queue = Queue::new();
        let taken = (0..100).filter(|_| queue.push(commit(1024 * 1024)).is_ok()).count();
        assert_eq!(taken, 63);
    }

    #[test]
    fn what_waits_when_the_store_closes_is_still_handed_out() {
        let queue = Queue::new();
        queue.push(commit(1)).unwrap();
        queue.close();
        let mut jobs = Vec::new();
        assert!(queue.take(&mut jobs, None));
        assert_eq!(jobs.len(), 1);
        jobs.clear();
        assert!(!queue.take(&mut jobs, None));
        assert!(matches!(queue.push(commit(1)), Err(Error::Unavailable(_))));
    }

    #[test]
    fn a_broken_queue_tells_everyone_why() {
        let queue = Queue::new();
        let (answer, mut answered) = oneshot::channel();
        queue.push(Job::Nudge(answer)).unwrap();
        queue.break_off(Reason("the disk failed".into()));
        assert!(matches!(answered.try_recv().unwrap(), Err(Error::Unusable(_))));
        assert!(matches!(queue.push(commit(1)), Err(Error::Unusable(_))));
    }
}

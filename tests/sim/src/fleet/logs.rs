//! The logs as a model: how far each is at each controller, and how far in the home that all share.
//!
//! The bytes of an attempt follow from its name and their place, so a length stands for them all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use ocelot_controller::records::Digest;
use ocelot_controller::service::{AttemptRef, ClaimedEnd, LogEnds, LogOffsets, LogStanding, Result};
use ocelot_core::id::TaskId;
use ocelot_domain::task::state::LogEnd;

use super::Bug;

/// What all controllers share.
#[derive(Debug, Default)]
pub(super) struct LogHome {
    logs: Mutex<BTreeMap<AttemptRef, Log>>,
    bug: Option<Bug>,
}

#[derive(Debug, Default)]
struct Log {
    durable: u64,
    /// Synced at each controller, and not yet in the home.
    received: BTreeMap<usize, u64>,
    /// How much of it some controller has had.
    most: u64,
    /// Whether a controller has lost its disk with a part of it.
    forgotten: bool,
    ended: Option<LogEnd>,
}

/// Returns the digest of the first bytes of an attempt's log.
pub(super) fn digest_of(attempt: &AttemptRef, length: u64) -> [u8; 32] {
    *Digest::of(format!("{} {} {length}", attempt.task, attempt.attempt.number()).as_bytes()).as_bytes()
}

impl LogHome {
    pub(super) fn new(bug: Option<Bug>) -> Self {
        Self { logs: Mutex::default(), bug }
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<AttemptRef, Log>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes at one controller; the error is the place that it expects.
    pub(super) fn append(
        &self,
        at: usize,
        attempt: AttemptRef,
        from: u64,
        to: u64,
    ) -> std::result::Result<u64, u64> {
        let mut logs = self.logs();
        let log = logs.entry(attempt).or_default();
        let end = log.end_at(at);
        if from > end {
            return Err(end);
        }
        let most = match log.ended {
            None => u64::MAX,
            // An end that is known still lacks the bytes that its controller alone had.
            Some(LogEnd::Whole { bytes, .. }) => bytes,
            Some(LogEnd::Truncated { at, .. }) => at,
        };
        log.received.insert(at, end.max(to.min(most)));
        log.most = log.most.max(log.end_at(at));
        Ok(log.end_at(at))
    }

    pub(super) fn durable(&self, attempt: &AttemptRef) -> u64 {
        self.logs().get(attempt).map_or(0, |log| log.durable)
    }

    /// Tells whether the home of bytes has all that a record calls the whole log.
    pub(super) fn is_whole(&self, (task, attempt): (TaskId, u32), bytes: u64, sha256: [u8; 32]) -> bool {
        let logs = self.logs();
        let mut logs =
            logs.iter().filter(|(named, _)| named.task == task && named.attempt.number() == attempt);
        logs.any(|(named, log)| log.durable == bytes && digest_of(named, bytes) == sha256)
    }

    /// Tells whether all controllers together have never had so much of a log.
    pub(super) fn lacks(&self, (task, attempt): (TaskId, u32), bytes: u64) -> bool {
        self.named((task, attempt), |log| log.most).unwrap_or(0) < bytes
    }

    /// Tells whether a controller's disk was lost with a part of the log.
    pub(super) fn has_forgotten(&self, tried: (TaskId, u32)) -> bool {
        self.named(tried, |log| log.forgotten).unwrap_or(false)
    }

    fn named<T>(&self, (task, attempt): (TaskId, u32), look: impl Fn(&Log) -> T) -> Option<T> {
        let logs = self.logs();
        let mut logs =
            logs.iter().filter(|(named, _)| named.task == task && named.attempt.number() == attempt);
        logs.next().map(|(_, log)| look(log))
    }

    /// Takes over what a controller has, if it goes on from where the home is.
    pub(super) fn ship(&self, at: usize) {
        for log in self.logs().values_mut() {
            if let Some(received) = log.received.get(&at) {
                log.durable = log.durable.max(*received);
            }
        }
    }

    /// A controller's disk is gone.
    pub(super) fn forget(&self, at: usize) {
        for log in self.logs().values_mut() {
            let lost = log.received.remove(&at);
            log.forgotten |= lost.is_some_and(|lost| lost > log.durable);
        }
    }
}

impl Log {
    fn end_at(&self, controller: usize) -> u64 {
        self.durable.max(self.received.get(&controller).copied().unwrap_or(0))
    }
}

/// The logs as one controller has them.
#[derive(Debug)]
pub(super) struct LogsAt {
    pub home: Arc<LogHome>,
    pub controller: usize,
}

#[async_trait]
impl LogEnds for LogsAt {
    async fn check(&self, attempt: &AttemptRef, end: &ClaimedEnd) -> Result<LogStanding> {
        let mut logs = self.home.logs();
        let log = logs.entry(*attempt).or_default();
        if let Some(ended) = &log.ended {
            return Ok(LogStanding::Ended(ended.clone()));
        }
        let here = log.end_at(self.controller);
        let whole = here == end.bytes && end.sha256 == digest_of(attempt, here);
        if !whole && self.home.bug != Some(Bug::CompleteIgnoresLog) {
            return Ok(LogStanding::Incomplete { expected: here.min(end.bytes) });
        }
        let ended = LogEnd::Whole { bytes: end.bytes, sha256: end.sha256 };
        log.ended = Some(ended.clone());
        Ok(LogStanding::Ended(ended))
    }

    async fn give_up(&self, attempt: &AttemptRef, at: u64, why: &str) -> Result<LogEnd> {
        let mut logs = self.home.logs();
        let log = logs.entry(*attempt).or_default();
        let ended = LogEnd::Truncated { at, why: why.to_owned() };
        Ok(log.ended.get_or_insert(ended).clone())
    }

    async fn lost(&self, attempt: &AttemptRef) -> Result<()> {
        let mut logs = self.home.logs();
        let log = logs.entry(*attempt).or_default();
        let at = log.end_at(self.controller);
        log.ended.get_or_insert(LogEnd::Truncated { at, why: "the attempt was taken".into() });
        Ok(())
    }

    async fn offsets(&self, attempts: &[AttemptRef]) -> Vec<LogOffsets> {
        let logs = self.home.logs();
        let known = attempts.iter().filter_map(|attempt| Some((attempt, logs.get(attempt)?)));
        known
            .map(|(attempt, log)| LogOffsets {
                attempt: *attempt,
                received: log.end_at(self.controller),
                durable: log.durable,
            })
            .collect()
    }
}

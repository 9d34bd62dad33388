//! Time, chance and keys that a test owns, a store that fails on request, and an executor's side of
//! the conversation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use ocelot_core::id::RunId;
use ocelot_core::plan::Plan;
use ocelot_domain::task::state::LogEnd;
use ocelot_proto::kit::clock::{Clock, Sleep, UnixMicros};

use super::accept::Draft;
use super::parts::{ClaimedEnd, LogEnds, LogOffsets, LogStanding, Plans, Unguessable, Verify};
use super::{AttemptRef, Executed, Result, lock};
use crate::records::{Digest, Subject, Trigger};
use crate::store::update::Chance;
use crate::store::{
    Error, Health, Lease, LeaseId, Page, RangeRequest, Result as StoreResult, Revision, Store, Txn, Verdict,
    Watch,
};

/// A clock that stands still until it is moved; sleepers wake when it passes them.
#[derive(Debug)]
pub struct ManualClock {
    origin: Instant,
    now: watch::Sender<Duration>,
    /// How far the clock on the wall was set forward, or back.
    jumped_us: AtomicI64,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { origin: Instant::now(), now: watch::Sender::new(Duration::ZERO), jumped_us: AtomicI64::new(0) }
    }
}

impl ManualClock {
    pub fn advance(&self, time: Duration) {
        self.now.send_modify(|now| *now += time);
    }

    /// Sets the clock on the wall forward or back; no time passes.
    pub fn jump(&self, seconds: i64) {
        self.jumped_us.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> UnixMicros {
        let since = u64::try_from(self.now.borrow().as_micros()).unwrap_or(u64::MAX);
        let wall = 1_800_000_000_000_000 + since;
        UnixMicros(wall.saturating_add_signed(self.jumped_us.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Instant {
        self.origin + *self.now.borrow()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let mut now = self.now.subscribe();
        let until = *self.now.borrow() + duration;
        Box::pin(async move {
            if now.wait_for(|now| *now >= until).await.is_err() {
                // The clock is gone, and nobody will ever move it again.
                std::future::pending::<()>().await;
            }
        })
    }
}

impl crate::store::embedded::Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.borrow()
    }
}

/// Numbers and secrets that are the same in every run of a test.
#[derive(Debug)]
pub struct Sequence(AtomicU64);

impl Sequence {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Chance for Sequence {
    fn number(&self) -> u64 {
        let mut mixed = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Unguessable for Sequence {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.number().to_le_bytes()[0];
        }
    }
}

/// Takes the digest of key and message for a signature.
#[derive(Debug)]
pub struct DigestSigned;

/// Signs as [`DigestSigned`] wants it.
pub fn sign(key: &[u8; 32], message: &[u8]) -> Vec<u8> {
    Digest::of(&[key.as_slice(), message].concat()).as_bytes().to_vec()
}

impl Verify for DigestSigned {
    fn is_signed(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
        sign(public_key, message) == signature
    }
}

/// Logs that are whole unless a test says otherwise.
#[derive(Debug, Default)]
pub struct TestLogs {
    incomplete: Mutex<BTreeSet<AttemptRef>>,
}

impl TestLogs {
    pub fn lose(&self, attempt: AttemptRef) {
        lock(&self.incomplete).insert(attempt);
    }

    pub fn find(&self, attempt: AttemptRef) {
        lock(&self.incomplete).remove(&attempt);
    }
}

#[async_trait]
impl LogEnds for TestLogs {
    async fn check(&self, attempt: &AttemptRef, end: &ClaimedEnd) -> Result<LogStanding> {
        if lock(&self.incomplete).contains(attempt) {
            return Ok(LogStanding::Incomplete { expected: 0 });
        }
        Ok(LogStanding::Ended(LogEnd::Whole { bytes: end.bytes, sha256: end.sha256 }))
    }

    async fn give_up(&self, _attempt: &AttemptRef, at: u64, why: &str) -> Result<LogEnd> {
        Ok(LogEnd::Truncated { at, why: why.to_owned() })
    }

    async fn offsets(&self, _attempts: &[AttemptRef]) -> Vec<LogOffsets> {
        Vec::new()
    }
}

/// Plans in memory.
#[derive(Debug, Default)]
pub struct MemoryPlans(Mutex<BTreeMap<[u8; 32], Bytes>>);

#[async_trait]
impl Plans for MemoryPlans {
    async fn keep(&self, digest: Digest, plan: Bytes) -> Result<()> {
        lock(&self.0).insert(*digest.as_bytes(), plan);
        Ok(())
    }

    async fn fetch(&self, digest: Digest) -> Result<Option<Bytes>> {
        Ok(lock(&self.0).get(digest.as_bytes()).cloned())
    }
}

/// A store whose answers get lost: every second change, in turn, happens unheard or does not happen.
#[derive(Debug)]
pub struct LossyStore {
    inner: Arc<dyn Store>,
    is_lossy: AtomicBool,
    commits: AtomicU64,
    lost: AtomicU64,
    reads: Mutex<Vec<String>>,
}

impl LossyStore {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            is_lossy: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            reads: Mutex::default(),
        }
    }

    /// Returns what was read since the last call, by the first key of each read.
    pub fn take_reads(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.reads))
    }

    pub fn set_lossy(&self, is_lossy: bool) {
        self.is_lossy.store(is_lossy, Ordering::Relaxed);
    }

    /// Returns how many answers were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Store for LossyStore {
    async fn range(&self, request: RangeRequest) -> StoreResult<Page> {
        lock(&self.reads).push(request.from.clone());
        self.inner.range(request).await
    }

    async fn commit(&self, txn: Txn) -> StoreResult<Verdict> {
        if !self.is_lossy.load(Ordering::Relaxed) {
            return self.inner.commit(txn).await;
        }
        match self.commits.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => {
                self.inner.commit(txn).await?;
                self.lost.fetch_add(1, Ordering::Relaxed);
                Err(Error::Unknown("the answer was lost".into()))
            }
            2 => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                Err(Error::Unknown("the request was lost".into()))
            }
            _ => self.inner.commit(txn).await,
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> StoreResult<Watch> {
        self.inner.watch(prefix, from).await
    }

    async fn grant(&self, ttl: Duration) -> StoreResult<Lease> {
        self.inner.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> StoreResult<Lease> {
        self.inner.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> StoreResult<()> {
        self.inner.revoke(lease).await
    }

    async fn compact(&self, at: Revision) -> StoreResult<()> {
        self.inner.compact(at).await
    }

    async fn health(&self) -> StoreResult<Health> {
        self.inner.health().await
    }
}

impl super::Service {
    /// Accepts a plan as it is, as a run of a job with this name.
    pub async fn accept_plan(&self, id: RunId, job: &str, plan: &Plan, trigger: Trigger) -> Result<Executed> {
        let payload = Digest::of(&serde_json::to_vec(plan).expect("a plan can be written to memory"));
        if let Some(run) = self.accepted(id, payload).await? {
            return Ok(Executed { run, existed: true });
        }
        let subject = Subject::Job { name: job.to_owned(), version: 1 };
        let draft = Draft { id, payload, subject, trigger, retry: None, source: None, rejected: None };
        self.accept(draft, plan.clone()).await
    }
}

//! The in-memory mirror of a prefix, for all readers that need no more than a hint.
//!
//! List by pages at one revision, then watch from the next. A watch can lose an
//! event, so every half minute the keys and revisions are listed again and compared; what differs is
//! counted, and mended. Whatever is decided from a view is decided by a transaction's compares.

mod applied;
mod changes;
mod mirror;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch as latest;
use tokio::time::{Instant, MissedTickBehavior};

pub use changes::{Changed, Changes};
pub use mirror::{Entry, Record};

use self::applied::Applied;
use self::changes::Readers;
use self::mirror::{Difference, Mirror, Part};
use super::{Error, KeyValue, RangeRequest, Result, Revision, Store, Watch};

const AUDIT: Duration = Duration::from_secs(30);
/// What the watch has not brought after this time, it has lost.
const LAG: Duration = Duration::from_secs(2);
/// How long a reader waits for the watch to bring a revision before it is looked up.
const CATCH_UP: Duration = Duration::from_millis(250);
/// Above this many differences the whole is listed anew.
const MENDS_MAX: usize = 100;
/// Keys that are compared before readers and news get their turn.
const PART: usize = 1_000;
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A reader's handle; cheap to clone.
pub struct View<T> {
    shared: Arc<Shared<T>>,
}

/// What keeps the view; it does so while [`Follower::run`] runs.
pub struct Follower<T> {
    store: Arc<dyn Store>,
    prefix: String,
    shared: Arc<Shared<T>>,
    jitter: Jitter,
}

struct Shared<T> {
    mirror: RwLock<Mirror<T>>,
    readers: Readers,
    applied: Applied,
    wanted: latest::Sender<Revision>,
    counts: latest::Sender<Counts>,
}

/// What happened to the view so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lists of everything: one at the start, and one more whenever the watch could not go on.
    pub lists: u64,
    /// Watches that ended because their place was compacted.
    pub compacted: u64,
    pub audits: u64,
    /// Items that an audit found to differ although the watch had had time to tell.
    pub divergences: u64,
    /// Lists that were older than the view and were thrown away.
    pub stale: u64,
    /// Revisions that readers waited for and that were looked up.
    pub catch_ups: u64,
}

/// Why a comparison is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Audit,
    /// A reader waits; what differs is only late.
    CatchUp,
}

/// Returns the view of a prefix and what keeps it. `seed` spreads the retries of many controllers.
pub fn view<T, E, Decode>(
    store: Arc<dyn Store>,
    prefix: impl Into<String>,
    decode: Decode,
    seed: u64,
) -> (View<T>, Follower<T>)
where
    E: fmt::Display,
    Decode: Fn(&KeyValue) -> Result<T, E> + Send + Sync + 'static,
{
    let decode = move |item: &KeyValue| decode(item).map_err(|error| error.to_string());
    let shared = Arc::new(Shared {
        mirror: RwLock::new(Mirror::new(Box::new(decode))),
        readers: Readers::default(),
        applied: Applied::default(),
        wanted: latest::Sender::new(Revision(0)),
        counts: latest::Sender::new(Counts::default()),
    });
    let view = View { shared: Arc::clone(&shared) };
    (view, Follower { store, prefix: prefix.into(), shared, jitter: Jitter(seed) })
}

impl<T> View<T> {
    /// Waits until the prefix was listed.
    pub async fn loaded(&self) {
        self.shared.applied.reaches(Revision::default()).await;
    }

    pub fn get(&self, key: &str) -> Option<Entry<T>> {
        self.read(|items| items.get(key).cloned())
    }

    /// Looks at all items as they are at one moment. Keep it short: news waits meanwhile.
    pub fn read<R>(&self, look: impl FnOnce(&BTreeMap<String, Entry<T>>) -> R) -> R {
        look(self.shared.mirror.read().unwrap_or_else(PoisonError::into_inner).items())
    }

    /// Returns the revision up to which everything is in.
    pub fn applied(&self) -> Revision {
        // Of the items themselves: who was told of a change must not find it before the change.
        self.shared.mirror.read().unwrap_or_else(PoisonError::into_inner).applied()
    }

    /// Waits until everything up to `revision` is in. Takes no longer than the store takes to answer
    /// a list of the keys.
    pub async fn wait_for(&self, revision: Revision) {
        self.shared.wanted.send_if_modified(|wanted| {
            let further = revision > *wanted;
            *wanted = revision.max(*wanted);
            further
        });
        self.shared.applied.reaches(revision).await;
    }

    /// Subscribes to what changes from now on.
    pub fn changes(&self) -> Changes {
        self.shared.readers.subscribe()
    }

    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Returns how many items are records that could not be read: each is an alarm.
    pub fn unreadable(&self) -> usize {
        self.shared.mirror.read().unwrap_or_else(PoisonError::into_inner).unreadable()
    }
}

impl<T> Shared<T> {
    fn compare(&self, part: &Part<'_>, at: Revision) -> Difference {
        self.mirror.read().unwrap_or_else(PoisonError::into_inner).compare(part, at)
    }

    fn applied(&self) -> Revision {
        self.applied.get().unwrap_or_default()
    }
}

impl<T> Follower<T> {
    /// Keeps the view until it is dropped.
    pub async fn run(mut self) {
        let mut failures = 0;
        loop {
            let error = match self.load().await {
                Ok(at) => {
                    failures = 0;
                    self.follow(at).await
                }
                Err(error) => error,
            };
            if matches!(error, Error::Compacted { .. }) {
                self.count(|counts| counts.compacted += 1);
            }
            tracing::warn!(
                prefix = self.prefix,
                error = &error as &dyn std::error::Error,
                "the view is listed anew"
            );
            tokio::time::sleep(self.jitter.backoff(failures)).await;
            failures += 1;
        }
    }

    /// Lists everything at the revision of the first page, and returns that.
    async fn load(&self) -> Result<Revision> {
        self.count(|counts| counts.lists += 1);
        let (items, at) = self.list(RangeRequest::prefix(self.prefix.as_str())).await?;
        self.settle(at, |mirror| mirror.replace(items, at));
        Ok(at)
    }

    async fn list(&self, request: RangeRequest) -> Result<(Vec<KeyValue>, Revision)> {
        let before = self.shared.applied();
        let mut page = self.store.range(request.clone()).await?;
        let at = page.revision;
        if at < before {
            self.count(|counts| counts.stale += 1);
            return Err(Error::Unavailable(format!("a list of {at} came after {before} was seen").into()));
        }
        let mut next = request.after(&page);
        let mut items = std::mem::take(&mut page.items);
        while let Some(request) = next {
            page = self.store.range(request.clone()).await?;
            next = request.after(&page);
            items.append(&mut page.items);
        }
        Ok((items, at))
    }

    /// Follows until the watch cannot go on.
    async fn follow(&self, at: Revision) -> Error {
        let mut watch = match self.store.watch(&self.prefix, at.next()).await {
            Ok(watch) => watch,
            Err(error) => return error,
        };
        let mut audits = tokio::time::interval_at(Instant::now() + AUDIT, AUDIT);
        audits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wanted = self.shared.wanted.subscribe();
        loop {
            // A reader that waited for what the watch has brought meanwhile is served.
            let late = *wanted.borrow_and_update() > self.shared.applied();
            let catch_up = tokio::time::sleep(CATCH_UP);
            // All are cancel-safe. In this order, so that no flood of news keeps an audit away, and
            // the same seed takes the same way.
            let step = tokio::select! {
                biased;
                _ = audits.tick() => self.compare(&mut watch, Cause::Audit).await,
                batch = watch.next() => self.take(batch),
                () = catch_up, if late => self.compare(&mut watch, Cause::CatchUp).await,
                _ = wanted.changed() => Ok(()),
            };
            if let Err(error) = step {
                return error;
            }
        }
    }

    fn take(&self, batch: Option<Result<super::WatchBatch>>) -> Result<()> {
        let batch = batch.unwrap_or_else(|| Err(Error::Unavailable("the watch ended".into())))?;
        let revision = batch.revision;
        self.settle(revision, |mirror| mirror.apply(batch));
        Ok(())
    }

    /// Compares with a list of keys and revisions, and mends what differs.
    async fn compare(&self, watch: &mut Watch, cause: Cause) -> Result<()> {
        self.mirror().begin_audit();
        let (items, at) = match self.list_keys(watch).await? {
            Ok(listed) => listed,
            // The watch still runs; the next audit is soon enough.
            Err(error) if error.is_retryable() => return Ok(()),
            Err(error) => return Err(error),
        };
        let listed: Vec<_> = items.into_iter().map(|item| (item.key, item.mod_revision)).collect();
        if cause == Cause::Audit {
            self.let_the_watch_tell(watch).await?;
        }
        let mut difference = Difference::default();
        for part in Part::all_of(&listed, PART) {
            difference.add(self.shared.compare(&part, at));
            tokio::task::yield_now().await;
        }
        self.count(|counts| match cause {
            Cause::Audit => {
                counts.audits += 1;
                counts.divergences += difference.len() as u64;
            }
            Cause::CatchUp => counts.catch_ups += 1,
        });
        if difference.len() > 0 && cause == Cause::Audit {
            tracing::error!(prefix = self.prefix, ?difference, "the view had diverged from the store");
        }
        if difference.behind.len() > MENDS_MAX {
            return Err(Error::Unavailable("too much differs to mend it one by one".into()));
        }
        let mut found = Vec::new();
        for key in difference.behind {
            found.extend(self.store.range(RangeRequest::key(key).at(at)).await?.items);
        }
        self.settle(at, |mirror| mirror.mend(found, difference.ghosts, at));
        Ok(())
    }

    /// Lists the keys, and takes in what the watch tells meanwhile: a long list holds no news up.
    async fn list_keys(&self, watch: &mut Watch) -> Result<Result<(Vec<KeyValue>, Revision)>> {
        let mut listing = pin!(self.list(RangeRequest::prefix(self.prefix.as_str()).keys_only()));
        loop {
            tokio::select! {
                biased;
                batch = watch.next() => self.take(batch)?,
                listed = &mut listing => return Ok(listed),
            }
        }
    }

    async fn let_the_watch_tell(&self, watch: &mut Watch) -> Result<()> {
        let until = tokio::time::sleep(LAG);
        tokio::pin!(until);
        loop {
            tokio::select! {
                biased;
                () = &mut until => return Ok(()),
                batch = watch.next() => self.take(batch)?,
            }
        }
    }

    /// Changes the mirror and tells everybody.
    fn settle(&self, at: Revision, change: impl FnOnce(&mut Mirror<T>) -> Vec<String>) {
        let mut mirror = self.mirror();
        let changed = change(&mut mirror);
        debug_assert!(mirror.applied() >= at, "what was taken in counts as applied");
        let applied = mirror.applied();
        drop(mirror);
        self.shared.readers.tell(&changed);
        self.shared.applied.set(applied);
    }

    fn mirror(&self) -> std::sync::RwLockWriteGuard<'_, Mirror<T>> {
        self.shared.mirror.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.shared.counts.send_modify(change);
    }
}

/// Spreads retries, the same way for the same seed.
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    /// Returns between half and all of a time that doubles with each failure.
    fn backoff(&mut self, failures: u32) -> Duration {
        let whole = RETRY.saturating_mul(1 << failures.min(10)).min(RETRY_MAX);
        whole.mul_f64(0.5 + self.part() / 2.0)
    }

    /// Returns a number from 0 to 1 (splitmix64).
    fn part(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("applied", &self.applied()).field("counts", &self.counts()).finish()
    }
}

impl<T> fmt::Debug for Follower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

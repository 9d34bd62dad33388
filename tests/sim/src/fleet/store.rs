//! The store as a model: every version of every key, leases and watches, in memory and virtual time.
//!
//! What a transaction does happens at one moment, under one lock, and the laws look at it before it
//! does. Faults stand in front of it, in the doors; of its own it only does what etcd may do at any
//! time: end leases early, give them their full time again, forget history, end watches, and let a
//! watch miss an event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use ocelot_controller::store::{
    Change, Error, Event, Expected, KeyValue, Lease, LeaseId, Op, Page, RangeRequest, Result, Revision, Txn,
    Verdict, Watch, WatchBatch,
};

use super::dice::Dice;
use super::laws::Laws;

#[derive(Debug)]
pub(super) struct ModelStore {
    kept: Mutex<Kept>,
    /// Wakes those that follow, in the order in which they came.
    news: Notify,
    dice: Dice,
    laws: Arc<Laws>,
}

#[derive(Debug, Default)]
struct Kept {
    revision: i64,
    oldest: i64,
    versions: BTreeMap<String, Vec<Version>>,
    leases: BTreeMap<i64, Held>,
    next_lease: i64,
    /// What each revision changed.
    changes: BTreeMap<i64, Vec<Event>>,
    /// How often all watches were ended.
    cuts: u64,
    /// In a thousand events, so many are not told to a watch.
    forgetful: u64,
}

#[derive(Debug, Clone)]
struct Version {
    at: i64,
    item: Option<KeyValue>,
}

#[derive(Debug)]
struct Held {
    ttl: Duration,
    until: Instant,
    keys: BTreeSet<String>,
}

impl ModelStore {
    pub(super) fn new(seed: u64, laws: Arc<Laws>) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::new(Kept { revision: 1, ..Kept::default() }),
            news: Notify::new(),
            dice: Dice::new(seed, "store"),
            laws,
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.kept().revision)
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<Page> {
        let kept = self.kept();
        let at = request.at.map_or(kept.revision, |at| at.0);
        if at < kept.oldest {
            return Err(Error::Compacted { oldest: Revision(kept.oldest) });
        }
        let to = request.to.clone().unwrap_or_else(|| format!("{}\0", request.from));
        let mut items = Vec::new();
        let mut more = false;
        for versions in kept.versions.range(request.from.clone()..to).map(|(_, versions)| versions) {
            let Some(item) = versions.iter().rev().find(|version| version.at <= at) else { continue };
            let Some(mut item) = item.item.clone() else { continue };
            if items.len() == request.limit {
                more = true;
                break;
            }
            if request.keys_only {
                item.value = bytes::Bytes::new();
            }
            items.push(item);
        }
        Ok(Page { items, more, revision: Revision(kept.revision) })
    }

    /// Returns the key as it was at a revision.
    pub(super) fn version(&self, key: &str, at: Option<Revision>) -> Option<KeyValue> {
        let kept = self.kept();
        let at = at.map_or(kept.revision, |at| at.0);
        let versions = kept.versions.get(key)?;
        versions.iter().rev().find(|version| version.at <= at)?.item.clone()
    }

    pub(super) fn commit(&self, txn: &Txn) -> Result<Verdict> {
        txn.check()?;
        let mut kept = self.kept();
        let found: Vec<_> = txn.compares().iter().map(|compare| kept.now(&compare.key)).collect();
        let mut looked = txn.compares().iter().zip(&found);
        if !looked.all(|(compare, item)| holds(compare.expected, item.as_ref())) {
            return Ok(Verdict::Refused { found });
        }
        for op in txn.ops() {
            if let Op::Put { lease: Some(lease), .. } = op
                && !kept.leases.contains_key(&lease.0)
            {
                return Err(Error::LeaseGone);
            }
        }
        if txn.ops().is_empty() {
            return Ok(Verdict::Committed(Revision(kept.revision)));
        }
        self.apply(&mut kept, txn.ops());
        Ok(Verdict::Committed(Revision(kept.revision)))
    }

    fn apply(&self, kept: &mut Kept, ops: &[Op]) {
        let at = kept.revision + 1;
        let mut events = Vec::new();
        for op in ops {
            let key = op.key().to_owned();
            let before = kept.now(&key);
            let item = match op {
                Op::Put { value, lease, .. } => Some(KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: before.as_ref().map_or(Revision(at), |item| item.create_revision),
                    mod_revision: Revision(at),
                    lease: *lease,
                }),
                Op::Delete { .. } if before.is_none() => continue,
                Op::Delete { .. } => None,
            };
            if let Some(held) = before.and_then(|item| kept.leases.get_mut(&item.lease?.0)) {
                held.keys.remove(&key);
            }
            if let Some(held) = item.as_ref().and_then(|item| kept.leases.get_mut(&item.lease?.0)) {
                held.keys.insert(key.clone());
            }
            let change = match &item {
                Some(item) => Change::Put(item.clone()),
                None => Change::Delete { key: key.clone() },
            };
            events.push(Event { change, mod_revision: Revision(at) });
            kept.versions.entry(key).or_default().push(Version { at, item });
        }
        if events.is_empty() {
            return;
        }
        self.laws.commit(at, &events);
        kept.revision = at;
        kept.changes.insert(at, events);
        self.news.notify_waiters();
    }

    pub(super) fn grant(&self, ttl: Duration) -> Lease {
        let mut kept = self.kept();
        kept.next_lease += 1;
        let id = kept.next_lease;
        kept.leases.insert(id, Held { ttl, until: Instant::now() + ttl, keys: BTreeSet::new() });
        Lease { id: LeaseId(id), ttl }
    }

    pub(super) fn keep_alive(&self, lease: LeaseId) -> Result<Lease> {
        let mut kept = self.kept();
        let held = kept.leases.get_mut(&lease.0).ok_or(Error::LeaseGone)?;
        held.until = Instant::now() + held.ttl;
        Ok(Lease { id: lease, ttl: held.ttl })
    }

    pub(super) fn revoke(&self, lease: LeaseId) {
        let mut kept = self.kept();
        if let Some(held) = kept.leases.remove(&lease.0) {
            let ops: Vec<_> = held.keys.into_iter().map(|key| Op::Delete { key }).collect();
            self.apply(&mut kept, &ops);
        }
    }

    /// Ends the leases whose time is over; the world does it now and then, so they end late.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        let over: Vec<i64> = {
            let kept = self.kept();
            kept.leases.iter().filter(|(_, held)| held.until <= now).map(|(id, _)| *id).collect()
        };
        over.into_iter().for_each(|id| self.revoke(LeaseId(id)));
    }

    /// Ends leases by itself; returns how many.
    pub(super) fn drop_leases(&self, in_thousand: u64) -> usize {
        let ids: Vec<i64> = self.kept().leases.keys().copied().collect();
        let gone: Vec<i64> = ids.into_iter().filter(|_| self.dice.hits(in_thousand)).collect();
        gone.iter().for_each(|id| self.revoke(LeaseId(*id)));
        gone.len()
    }

    /// Gives every lease its full time, as a new leader does.
    pub(super) fn renew_leases(&self) {
        let now = Instant::now();
        self.kept().leases.values_mut().for_each(|held| held.until = now + held.ttl);
    }

    pub(super) fn set_forgetful(&self, in_thousand: u64) {
        self.kept().forgetful = in_thousand;
    }

    pub(super) fn cut_watches(&self) {
        self.kept().cuts += 1;
        self.news.notify_waiters();
    }

    pub(super) fn compact(&self, at: Revision) {
        let mut kept = self.kept();
        let at = at.0.min(kept.revision);
        if at <= kept.oldest {
            return;
        }
        kept.oldest = at;
        kept.changes = kept.changes.split_off(&at);
        for versions in kept.versions.values_mut() {
            let current = versions.iter().rposition(|version| version.at <= at).unwrap_or(0);
            versions.drain(..current);
        }
    }

    /// Follows changes below a prefix; each watch by a task of its own, late by a little.
    ///
    /// While `is_held` is set nothing is told, and nothing says so.
    pub(super) fn watch(
        self: &Arc<Self>,
        prefix: &str,
        from: Revision,
        is_held: Arc<AtomicBool>,
    ) -> Result<Watch> {
        let oldest = self.kept().oldest;
        if from.0 <= oldest {
            return Err(Error::Compacted { oldest: Revision(oldest) });
        }
        let (sender, batches) = mpsc::channel(Watch::QUEUE);
        let (store, prefix) = (Arc::clone(self), prefix.to_owned());
        super::detached(async move { store.tell(prefix, from.0, (sender, is_held)).await });
        Ok(Watch::new(batches))
    }

    async fn tell(
        &self,
        prefix: String,
        from: i64,
        (sender, is_held): (mpsc::Sender<Result<WatchBatch>>, Arc<AtomicBool>),
    ) {
        let mut next = from;
        let cuts = self.kept().cuts;
        loop {
            let told = self.news.notified();
            let (is_cut, has_news) = {
                let kept = self.kept();
                (kept.cuts != cuts, kept.revision >= next)
            };
            if is_cut {
                sender.send(Err(Error::Unavailable("the watch was cut".into()))).await.ok();
                return;
            }
            if !has_news {
                tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    () = told => continue,
                }
            }
            let wait = if self.dice.hits(20) { self.dice.ms(20, 1500) } else { self.dice.ms(0, 3) };
            tokio::time::sleep(wait).await;
            while is_held.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            let batch = self.batch(&prefix, &mut next);
            let over = batch.is_err();
            if sender.send(batch).await.is_err() || over {
                return;
            }
        }
    }

    fn batch(&self, prefix: &str, next: &mut i64) -> Result<WatchBatch> {
        let kept = self.kept();
        if *next <= kept.oldest {
            return Err(Error::Compacted { oldest: Revision(kept.oldest) });
        }
        // Whole revisions, of which one batch may carry several.
        let last = kept.revision.min(*next + i64::try_from(self.dice.below(8)).unwrap_or(0));
        let events = kept.changes.range(*next..=last).flat_map(|(_, events)| events);
        let events = events.filter(|event| event.key().starts_with(prefix));
        let events = events.filter(|_| kept.forgetful == 0 || !self.dice.hits(kept.forgetful));
        let batch = WatchBatch { events: events.cloned().collect(), revision: Revision(last) };
        *next = last + 1;
        Ok(batch)
    }
}

pub(super) fn holds(expected: Expected, item: Option<&KeyValue>) -> bool {
    match expected {
        Expected::Absent => item.is_none(),
        Expected::Present => item.is_some(),
        Expected::At(revision) => item.is_some_and(|item| item.mod_revision == revision),
    }
}

impl Kept {
    fn now(&self, key: &str) -> Option<KeyValue> {
        self.versions.get(key)?.last()?.item.clone()
    }
}

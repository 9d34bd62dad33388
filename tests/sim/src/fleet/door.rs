//! One controller's way to the store: answers come late, get lost after or before the effect, or
//! the effect comes long after the answer was given up.
//!
//! A compare can be left out here, which is how a bug in a transaction is planted without touching
//! the code that makes it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use ocelot_controller::store::{
    Error, Expected, Health, KeyValue, Lease, LeaseId, Op, Page, RangeRequest, Result, Revision, Store, Txn,
    Verdict, Watch,
};

use super::Bug;
use super::dice::Dice;
use super::executor::lock;
use super::names::{LeftOut, Named, name_of, site_of};
use super::store::{ModelStore, holds};
use super::world::Struck;

/// Every call of the store has this deadline.
const DEADLINE: Duration = Duration::from_secs(2);

/// What every door of a world shares.
#[derive(Debug, Default)]
pub(super) struct Weather {
    /// In a thousand calls, so many lose their answer, in one of three ways.
    pub loss: AtomicU64,
    /// In a thousand calls, so many are slow.
    pub slow: AtomicU64,
    pub is_down: AtomicBool,
    /// A kind of compare that is left out of every transaction.
    pub left_out: Option<Named>,
    pub left_out_did: Mutex<LeftOut>,
    /// Whether the kinds of compares are told apart, which costs time.
    pub names: bool,
    /// Kinds of compares that were made.
    pub seen: Mutex<BTreeMap<Named, u64>>,
    pub bug: Option<Bug>,
}

#[derive(Debug)]
pub(super) struct Door {
    pub store: Arc<ModelStore>,
    pub weather: Arc<Weather>,
    pub dice: Arc<Dice>,
    /// This controller alone does not reach the store.
    pub is_cut: Arc<AtomicBool>,
    /// This controller speaks to a member that was deposed and does not know it.
    pub is_deposed: Arc<AtomicBool>,
    /// Its watches tell nothing, and it does not know it.
    pub is_blind: Arc<AtomicBool>,
    pub struck: Arc<Struck>,
}

enum Fate {
    Heard,
    /// It never reaches the store.
    RequestLost,
    AnswerLost,
    /// The effect comes after the caller gave up.
    Late,
}

impl Door {
    fn latency(&self) -> Duration {
        if self.dice.hits(self.weather.slow.load(Ordering::Relaxed)) {
            return self.dice.ms(50, 1800);
        }
        self.dice.ms(0, 2)
    }

    fn is_shut(&self) -> bool {
        let shut = [&self.weather.is_down, &self.is_cut, &self.is_deposed];
        shut.into_iter().any(|shut| shut.load(Ordering::Relaxed))
    }

    fn fate(&self) -> Fate {
        if !self.dice.hits(self.weather.loss.load(Ordering::Relaxed)) {
            return Fate::Heard;
        }
        match self.dice.below(3) {
            0 => Fate::RequestLost,
            1 => Fate::AnswerLost,
            _ => Fate::Late,
        }
    }

    async fn reach(&self) -> Result<()> {
        tokio::time::sleep(self.latency()).await;
        if self.is_shut() {
            tokio::time::sleep(DEADLINE).await;
            return Err(Error::Unavailable("no answer".into()));
        }
        Ok(())
    }

    /// Carries a change out, whatever becomes of the caller meanwhile.
    async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&ModelStore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, heard) = oneshot::channel();
        let fate = if self.is_shut() { Fate::RequestLost } else { self.fate() };
        let (before, after) = (self.latency(), self.latency());
        let late = DEADLINE + self.dice.ms(0, 8_000);
        let store = Arc::clone(&self.store);
        let weather = Arc::clone(&self.weather);
        let (is_cut, is_deposed) = (Arc::clone(&self.is_cut), Arc::clone(&self.is_deposed));
        self.struck.note_fate(&fate);
        super::detached(async move {
            tokio::time::sleep(before).await;
            match fate {
                Fate::Heard => {
                    let done = act(&store);
                    tokio::time::sleep(after).await;
                    let shut = [&weather.is_down, &is_cut, &is_deposed];
                    if !shut.into_iter().any(|shut| shut.load(Ordering::Relaxed)) {
                        answer.send(done).ok();
                    }
                }
                Fate::RequestLost => {}
                Fate::AnswerLost => drop(act(&store)),
                Fate::Late => {
                    tokio::time::sleep(late).await;
                    drop(act(&store));
                }
            }
        });
        match tokio::time::timeout(DEADLINE, heard).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) | Err(_) => Err(Error::Unknown("no answer".into())),
        }
    }
}

impl Struck {
    fn note_fate(&self, fate: &Fate) {
        match fate {
            Fate::Heard => {}
            Fate::RequestLost => self.add("store requests lost"),
            Fate::AnswerLost => self.add("store answers lost"),
            Fate::Late => self.add("store changes late"),
        }
    }
}

#[async_trait]
impl Store for Door {
    async fn range(&self, request: RangeRequest) -> Result<Page> {
        self.reach().await?;
        if !matches!(self.fate(), Fate::Heard) {
            tokio::time::sleep(DEADLINE).await;
            return Err(Error::Unavailable("no answer".into()));
        }
        let page = self.store.range(&request);
        tokio::time::sleep(self.latency()).await;
        page
    }

    async fn commit(&self, txn: Txn) -> Result<Verdict> {
        if txn.ops().is_empty() && self.weather.bug == Some(Bug::SessionVouchesFromMemory) {
            return Ok(Verdict::Committed(self.store.revision()));
        }
        let weather = Arc::clone(&self.weather);
        self.change(move |store| {
            let (txn, places) = weather.altered(store, txn);
            let verdict = store.commit(&txn)?;
            let Verdict::Refused { mut found } = verdict else { return Ok(verdict) };
            // A compare that was left out is answered for as if it had held.
            for (place, item) in places {
                found.insert(place, item);
            }
            Ok(Verdict::Refused { found })
        })
        .await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        self.reach().await?;
        self.store.watch(prefix, from, Arc::clone(&self.is_blind))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        self.change(move |store| Ok(store.grant(ttl))).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease> {
        // A store may say yes for a lease that is gone; a deposed member does.
        let is_deposed = self.is_deposed.load(Ordering::Relaxed);
        if is_deposed || self.dice.hits(self.weather.loss.load(Ordering::Relaxed) / 8) {
            self.struck.add("leases renewed in word only");
            return Ok(Lease { id: lease, ttl: Duration::from_secs(10) });
        }
        self.change(move |store| store.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.change(move |store| {
            store.revoke(lease);
            Ok(())
        })
        .await
    }

    async fn compact(&self, at: Revision) -> Result<()> {
        self.change(move |store| {
            store.compact(at);
            Ok(())
        })
        .await
    }

    async fn health(&self) -> Result<Health> {
        self.reach().await?;
        Ok(Health { revision: self.store.revision(), fullness: 0.1, description: "model".into() })
    }
}

type Answered = Vec<(usize, Option<KeyValue>)>;

impl Weather {
    /// Leaves out what is to be left out, and notes what there was.
    fn altered(&self, store: &ModelStore, txn: Txn) -> (Txn, Answered) {
        let txn = match self.bug {
            Some(Bug::CancelLosesToComplete) => super::bugs::cancel_loses(store, txn),
            _ => txn,
        };
        let bug = self.bug.filter(|bug| bug.leaves_out());
        if !self.names && self.left_out.is_none() && bug.is_none() {
            return (txn, Vec::new());
        }
        let what = site_of(store, &txn);
        let mut left = Vec::new();
        let mut kept = Txn::new();
        let (mut mattered, mut others) = (false, Vec::new());
        for (place, compare) in txn.compares().iter().enumerate() {
            let named = Named { txn: what.clone(), compare: name_of(compare) };
            *lock(&self.seen).entry(named.clone()).or_default() += 1;
            let now = store.version(&compare.key, None);
            let is_left = self.left_out.as_ref() == Some(&named);
            if is_left || bug.is_some_and(|bug| bug.leaves(&txn, compare)) {
                mattered |= !holds(compare.expected, now.as_ref());
                let pretended = match compare.expected {
                    Expected::At(at) => store.version(&compare.key, Some(at)),
                    Expected::Absent | Expected::Present => now,
                };
                left.push((place, pretended));
            } else {
                if !holds(compare.expected, now.as_ref()) {
                    others.push(named.compare);
                }
                kept = kept.when(compare.key.as_str(), compare.expected);
            }
        }
        if mattered {
            lock(&self.left_out_did).mattered(others);
        }
        let kept = txn.ops().iter().fold(kept, |kept, op| match op {
            Op::Put { key, value, lease: None } => kept.put(key, value.clone()),
            Op::Put { key, value, lease: Some(lease) } => kept.put_under(*lease, key, value.clone()),
            Op::Delete { key } => kept.delete(key),
        });
        (kept, left)
    }
}

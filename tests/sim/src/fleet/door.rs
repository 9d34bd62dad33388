//! One controller's way to the store: answers come late, get lost after or before the effect, or
//! the effect comes long after the answer was given up.
//!
//! A compare can be left out here, which is how a bug in a transaction is planted without touching
//! the code that makes it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use ocelot_controller::records::Stored;
use ocelot_controller::store::keys::Key;
use ocelot_controller::store::{
    Compare, Error, Expected, Health, Lease, LeaseId, Op, Page, RangeRequest, Result, Revision, Store, Txn,
    Verdict, Watch,
};
use ocelot_domain::task::state::TaskState;

use super::dice::Dice;
use super::store::ModelStore;
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
    pub left_out_count: AtomicU64,
    /// Whether the kinds of compares are told apart, which costs time.
    pub names: bool,
    /// Kinds of compares that were made.
    pub seen: Mutex<std::collections::BTreeMap<Named, u64>>,
    pub bug: Option<super::Bug>,
}

/// A compare by what its transaction does and what it compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub txn: String,
    pub compare: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {}", self.txn, self.compare)
    }
}

#[derive(Debug)]
pub(super) struct Door {
    pub store: Arc<ModelStore>,
    pub weather: Arc<Weather>,
    pub dice: Arc<Dice>,
    /// This controller alone does not reach the store.
    pub is_cut: Arc<AtomicBool>,
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
        self.weather.is_down.load(Ordering::Relaxed) || self.is_cut.load(Ordering::Relaxed)
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
        let (weather, is_cut) = (Arc::clone(&self.weather), Arc::clone(&self.is_cut));
        self.struck.note_fate(&fate);
        super::detached(async move {
            tokio::time::sleep(before).await;
            match fate {
                Fate::Heard => {
                    let done = act(&store);
                    tokio::time::sleep(after).await;
                    let shut = weather.is_down.load(Ordering::Relaxed) || is_cut.load(Ordering::Relaxed);
                    if !shut {
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
        self.store.watch(prefix, from)
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        self.change(move |store| Ok(store.grant(ttl))).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease> {
        // A store may say yes for a lease that is gone.
        if self.dice.hits(self.weather.loss.load(Ordering::Relaxed) / 8) {
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

type Answered = Vec<(usize, Option<ocelot_controller::store::KeyValue>)>;

impl Weather {
    /// Leaves out what is to be left out, and notes what there was.
    fn altered(&self, store: &ModelStore, txn: Txn) -> (Txn, Answered) {
        let txn = self.bent(store, txn);
        let from_memory = self.bug == Some(super::Bug::SessionVouchesFromMemory);
        if !self.names && self.left_out.is_none() && !from_memory {
            return (txn, Vec::new());
        }
        let what = describe(store, &txn);
        let mut left = Vec::new();
        let mut kept = Txn::new();
        for (place, compare) in txn.compares().iter().enumerate() {
            let named = Named { txn: what.clone(), compare: name_of(compare) };
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner).entry(named.clone()).or_default() += 1;
            if self.left_out.as_ref() == Some(&named) || (from_memory && what == "vouch") {
                let now = store.version(&compare.key, None);
                let holds = match compare.expected {
                    Expected::Absent => now.is_none(),
                    Expected::Present => now.is_some(),
                    Expected::At(revision) => now.as_ref().is_some_and(|item| item.mod_revision == revision),
                };
                self.left_out_count.fetch_add(u64::from(!holds), Ordering::Relaxed);
                let pretended = match compare.expected {
                    Expected::At(at) => store.version(&compare.key, Some(at)),
                    Expected::Absent | Expected::Present => now,
                };
                left.push((place, pretended));
            } else {
                kept = kept.when(compare.key.as_str(), compare.expected);
            }
        }
        let kept = txn.ops().iter().fold(kept, |kept, op| match op {
            Op::Put { key, value, lease: None } => kept.put(key, value.clone()),
            Op::Put { key, value, lease: Some(lease) } => kept.put_under(*lease, key, value.clone()),
            Op::Delete { key } => kept.delete(key),
        });
        (kept, left)
    }

    /// Plants the bug that a completion beats a cancel.
    fn bent(&self, store: &ModelStore, txn: Txn) -> Txn {
        if self.bug != Some(super::Bug::CancelLosesToComplete) {
            return txn;
        }
        super::bugs::cancel_loses(store, txn)
    }
}

/// Names what a transaction does: a task's way, or the kinds of keys that it writes.
fn describe(store: &ModelStore, txn: &Txn) -> String {
    let mut words: Vec<String> = txn.ops().iter().map(|op| word_of(store, txn, op)).collect();
    words.dedup();
    words.sort();
    words.dedup();
    if words.is_empty() { "vouch".to_owned() } else { words.join(" + ") }
}

fn word_of(store: &ModelStore, txn: &Txn, op: &Op) -> String {
    let kind = kind_of(op.key());
    let value = match op {
        Op::Put { value, .. } => value,
        Op::Delete { .. } => return format!("delete {kind}"),
    };
    if kind != "task" {
        return format!("put {kind}");
    }
    // What it was when it was decided upon.
    let seen = txn.compares().iter().find(|compare| compare.key == op.key());
    let before = match seen.map(|compare| compare.expected) {
        Some(Expected::At(at)) => store.version(op.key(), Some(at)),
        Some(Expected::Absent | Expected::Present) | None => None,
    };
    let before = before.and_then(|item| state_of(&item.value, op.key()));
    let after = state_of(value, op.key());
    let name = |state: &Option<TaskState>| state.as_ref().map_or("none", |state| state.name());
    if before.as_ref().map(TaskState::name) == after.as_ref().map(TaskState::name) {
        return format!("task {} attached", name(&after));
    }
    format!("task {} to {}", name(&before), name(&after))
}

fn state_of(value: &bytes::Bytes, key: &str) -> Option<TaskState> {
    let item = ocelot_controller::store::KeyValue {
        key: key.to_owned(),
        value: value.clone(),
        create_revision: Revision(1),
        mod_revision: Revision(1),
        lease: None,
    };
    Some(Stored::read(&item).ok()?.task()?.state.clone())
}

fn name_of(compare: &Compare) -> String {
    let expected = match compare.expected {
        Expected::Absent => "absent",
        Expected::Present => "present",
        Expected::At(_) => "unchanged",
    };
    format!("{} {expected}", kind_of(&compare.key))
}

/// Returns the word for what a key holds.
pub(super) fn kind_of(key: &str) -> &'static str {
    match key.parse() {
        Ok(Key::Epoch) => "epoch",
        Ok(Key::Job(_)) => "job",
        Ok(Key::JobNumber(_)) => "number",
        Ok(Key::Run(_)) => "run",
        Ok(Key::Task(_)) => "task",
        Ok(Key::Executor(_)) => "executor",
        Ok(Key::ExecutorEpoch(_)) => "incarnation",
        Ok(Key::ExecutorName(_)) => "name",
        Ok(Key::Progress(..)) => "progress",
        Ok(Key::Session(_)) => "session",
        Ok(Key::Group(_)) => "group",
        Ok(Key::Outbox { .. }) => "outbox",
        Ok(
            Key::Home
            | Key::Project { .. }
            | Key::Controller(_)
            | Key::Token(_)
            | Key::Secret(_)
            | Key::Schedule(_),
        ) => "other",
        Err(_) => "unknown",
    }
}

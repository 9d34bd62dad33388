use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ocelot_core::id::Epoch;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::store::embedded::{EmbeddedStore, Settings};
use crate::store::{Health, Lease, LeaseId, Page, Watch};

const KEY: &str = "/count";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Count(u64);

impl Record for Count {
    const KIND: &'static str = "count";
    const VERSION: u32 = 1;
}

#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Chance for Counting {
    fn number(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// What happens to one commit on its way.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    /// It happens, the answer is lost.
    AnswerLost,
    /// It never arrives.
    Lost,
    /// It arrives after the next one was answered.
    Late,
    /// It happens, the answer is lost, and another writer goes on from it.
    LostThenChanged,
    /// It is lost, and another writer changes the record.
    LostAndOvertaken,
    /// As the last, and the history of it is compacted away.
    LostAndForgotten,
    /// It is refused: not now.
    NotNow,
    /// It is refused for good.
    Broken,
}

#[derive(Debug)]
struct Faulty {
    store: EmbeddedStore,
    faults: Mutex<Vec<Fault>>,
    late: Mutex<Option<Txn>>,
    _directory: TempDir,
}

impl Faulty {
    fn new(faults: &[Fault]) -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(Settings::new(directory.path())).unwrap();
        let faults = Mutex::new(faults.iter().rev().copied().collect());
        Arc::new(Self { store, faults, late: Mutex::default(), _directory: directory })
    }

    fn updater(self: &Arc<Self>) -> Updater {
        let patience = Patience { attempts: 6, first: Duration::ZERO, longest: Duration::ZERO };
        Updater::new(Arc::clone(self) as Arc<dyn Store>, Arc::new(Counting::default()), patience)
    }

    /// Another writer adds 100.
    async fn interfere(&self) {
        let found = self.store.range(RangeRequest::key(KEY)).await.unwrap().items.pop();
        let Count(count) = found.map_or(Count(0), |item| codec::decode(&item.value).unwrap());
        let txn = Txn::new().put(KEY, codec::encode(&Count(count + 100), Some(Mark(u64::MAX))));
        self.store.commit(txn).await.unwrap();
    }

    async fn count(&self) -> u64 {
        let item = self.store.range(RangeRequest::key(KEY)).await.unwrap().items.pop().unwrap();
        codec::decode::<Count>(&item.value).unwrap().0
    }
}

fn lost() -> Result<Verdict> {
    Err(Error::Unknown("the answer was lost".into()))
}

#[async_trait]
impl Store for Faulty {
    async fn range(&self, request: RangeRequest) -> Result<Page> {
        self.store.range(request).await
    }

    async fn commit(&self, txn: Txn) -> Result<Verdict> {
        let fault = self.faults.lock().unwrap().pop().unwrap_or(Fault::None);
        match fault {
            Fault::None => {
                let verdict = self.store.commit(txn).await;
                let late = self.late.lock().unwrap().take();
                if let Some(late) = late {
                    self.store.commit(late).await?;
                }
                verdict
            }
            Fault::AnswerLost => {
                self.store.commit(txn).await?;
                lost()
            }
            Fault::Lost => lost(),
            Fault::Late => {
                *self.late.lock().unwrap() = Some(txn);
                lost()
            }
            Fault::LostThenChanged => {
                self.store.commit(txn).await?;
                self.interfere().await;
                lost()
            }
            Fault::LostAndOvertaken => {
                self.interfere().await;
                lost()
            }
            Fault::LostAndForgotten => {
                self.interfere().await;
                self.interfere().await;
                let now = self.store.health().await?.revision;
                self.store.compact(now).await?;
                lost()
            }
            Fault::NotNow => Err(Error::Unavailable("not now".into())),
            Fault::Broken => Err(Error::Unusable("broken".into())),
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        self.store.watch(prefix, from).await
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease> {
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.store.revoke(lease).await
    }

    async fn compact(&self, at: Revision) -> Result<()> {
        self.store.compact(at).await
    }

    async fn health(&self) -> Result<Health> {
        self.store.health().await
    }
}

fn add_one(count: Option<Count>) -> std::result::Result<Edit<Count>, Infallible> {
    Ok(Edit::Put(Count(count.map_or(0, |count| count.0) + 1)))
}

async fn added_under(fault: Fault) -> (std::result::Result<Updated, UpdateError<Infallible>>, u64) {
    let store = Faulty::new(&[Fault::None, fault]);
    let updater = store.updater();
    updater.update(KEY, add_one).await.unwrap();
    let updated = updater.update(KEY, add_one).await;
    (updated, store.count().await)
}

#[tokio::test]
async fn whatever_happens_on_the_way_one_is_added_exactly_once() {
    for (fault, expected) in [
        (Fault::None, 2),
        (Fault::AnswerLost, 2),
        (Fault::Lost, 2),
        (Fault::Late, 2),
        (Fault::NotNow, 2),
        (Fault::LostThenChanged, 102),
        (Fault::LostAndOvertaken, 102),
    ] {
        let (updated, count) = added_under(fault).await;
        assert!(matches!(updated, Ok(Updated::Written(_))), "{fault:?}: {updated:?}");
        assert_eq!(count, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn a_new_record_is_made_exactly_once() {
    for fault in [Fault::None, Fault::AnswerLost, Fault::Lost, Fault::Late, Fault::NotNow] {
        let store = Faulty::new(&[fault]);
        store.updater().update(KEY, add_one).await.unwrap();
        assert_eq!(store.count().await, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn what_the_history_no_longer_tells_is_unknown() {
    let (updated, count) = added_under(Fault::LostAndForgotten).await;
    assert!(matches!(updated, Err(UpdateError::Store(Error::Unknown(_)))), "{updated:?}");
    assert_eq!(count, 201);
}

#[tokio::test]
async fn a_door_that_closes_after_an_unknown_outcome_does_not_make_it_known() {
    let store = Faulty::new(&[Fault::Lost, Fault::Broken]);
    let updated = store.updater().update(KEY, add_one).await;
    assert!(matches!(updated, Err(UpdateError::Store(Error::Unknown(_)))), "{updated:?}");
    let store = Faulty::new(&[Fault::Broken]);
    let updated = store.updater().update(KEY, add_one).await;
    assert!(matches!(updated, Err(UpdateError::Store(Error::Unusable(_)))), "{updated:?}");
}

#[tokio::test]
async fn attempts_are_bounded() {
    let store = Faulty::new(&[Fault::NotNow; 6]);
    let updated = store.updater().update(KEY, add_one).await;
    assert!(matches!(updated, Err(UpdateError::Store(Error::Unavailable(_)))), "{updated:?}");
    let store = Faulty::new(&[]);
    let updater = store.updater();
    let mut times = 0;
    let updated = updater.update(KEY, |count| {
        times += 1;
        // What is compared beside the key is never what it should be, because it is the key's own.
        add_one(count).map(|edit| edit.beside(Txn::new().when("/other", Expected::Present)))
    });
    assert!(matches!(updated.await, Err(UpdateError::Beside { found }) if found == [None]));
    assert_eq!(times, 1);
}

#[tokio::test]
async fn of_many_that_add_at_once_each_counts() {
    let store = Faulty::new(&[]);
    let updater = Updater { patience: Patience { attempts: 100, ..Patience::default() }, ..store.updater() };
    let mut adding = JoinSet::new();
    for _ in 0..16 {
        let updater = updater.clone();
        adding.spawn(async move { updater.update(KEY, add_one).await.map(drop) });
    }
    for added in adding.join_all().await {
        added.unwrap();
    }
    assert_eq!(store.count().await, 16);
}

#[tokio::test]
async fn what_is_beside_changes_with_the_record_or_not_at_all() {
    let store = Faulty::new(&[]);
    let updater = store.updater();
    let beside = |expected| Txn::new().when("/session", expected).put("/log", "added");
    let with = |expected| move |count| add_one(count).map(|edit| edit.beside(beside(expected)));
    let refused = updater.update(KEY, with(Expected::Present)).await;
    assert!(matches!(refused, Err(UpdateError::Beside { .. })), "{refused:?}");
    updater.update(KEY, with(Expected::Absent)).await.unwrap();
    let log = store.store.range(RangeRequest::key("/log")).await.unwrap();
    let count = store.store.range(RangeRequest::key(KEY)).await.unwrap();
    assert_eq!(log.items[0].mod_revision, count.items[0].mod_revision);
}

#[tokio::test]
async fn a_decision_against_a_change_writes_nothing() {
    let store = Faulty::new(&[]);
    let updater = store.updater();
    updater.update(KEY, add_one).await.unwrap();
    let kept = updater.update(KEY, |_: Option<Count>| Ok::<_, Infallible>(Edit::Keep)).await.unwrap();
    assert_eq!(kept, Updated::Kept(Some(Revision(2))));
    let rejected = updater.update(KEY, |_: Option<Count>| Err::<Edit<Count>, _>("no")).await;
    assert!(matches!(rejected, Err(UpdateError::Rejected("no"))));
    assert_eq!(store.health().await.unwrap().revision, Revision(2));
}

#[tokio::test]
async fn a_record_is_replaced_once_by_whoever_saw_its_newest_version_and_by_nobody_else() {
    for (fault, replaced, count) in [
        (Fault::None, Some(true), 2),
        (Fault::AnswerLost, Some(true), 2),
        (Fault::Lost, Some(true), 2),
        (Fault::Late, Some(true), 2),
        (Fault::LostThenChanged, Some(true), 102),
        (Fault::LostAndOvertaken, Some(false), 101),
        (Fault::LostAndForgotten, None, 201),
        (Fault::NotNow, Some(true), 2),
        (Fault::Broken, None, 1),
    ] {
        let store = Faulty::new(&[Fault::None, fault]);
        let updater = store.updater();
        let put = updater.update(KEY, |_: Option<Count>| Ok::<_, Infallible>(Edit::Put(Count(1)))).await;
        let Updated::Written(seen) = put.unwrap() else { panic!("{fault:?}: nothing was put") };
        let done = updater.replace(KEY, seen, Count(2), &Txn::new()).await;
        assert_eq!(done.ok().map(|at| at.is_some()), replaced, "{fault:?}");
        assert_eq!(store.count().await, count, "{fault:?}");
        let old = updater.replace(KEY, Revision(seen.0 - 1), Count(3), &Txn::new()).await;
        assert_eq!((old.unwrap(), store.count().await), (None, count), "{fault:?}");
    }
}

#[tokio::test]
async fn a_replacement_needs_what_is_beside_it() {
    let store = Faulty::new(&[]);
    let updater = store.updater();
    let put = updater.update(KEY, |_: Option<Count>| Ok::<_, Infallible>(Edit::Put(Count(1)))).await;
    let Updated::Written(seen) = put.unwrap() else { panic!("nothing was put") };
    let beside = Txn::new().when("/other", Expected::Present);
    assert_eq!(updater.replace(KEY, seen, Count(2), &beside).await.unwrap(), None);
    assert_eq!(store.count().await, 1);
}

#[tokio::test]
async fn the_epoch_begins_at_one_and_only_grows() {
    let store = Faulty::new(&[Fault::AnswerLost, Fault::AnswerLost]);
    let updater = store.updater();
    assert_eq!(updater.epoch().await.unwrap(), Epoch(1));
    assert_eq!(updater.raise_epoch().await.unwrap(), Epoch(2));
    assert_eq!(updater.epoch().await.unwrap(), Epoch(2));
}

//! The view on a store that loses, repeats and forgets as told. Time is paused.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::{Change, Event, Health, Lease, LeaseId, Page, Txn, Verdict, WatchBatch};
use super::*;

/// A store that holds what the test puts, and tells its watches what the test says.
#[derive(Debug, Default)]
struct Script {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    items: BTreeMap<String, KeyValue>,
    revision: i64,
    watch: Option<mpsc::Sender<Result<WatchBatch>>>,
    watched_from: Vec<Revision>,
    /// Revisions at which the next lists are answered from, in place of the present.
    past: VecDeque<(BTreeMap<String, KeyValue>, i64)>,
}

impl Script {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the lock")
    }

    /// Puts without telling anybody.
    fn put(&self, key: &str, value: &str) -> Event {
        let mut state = self.lock();
        state.revision += 1;
        let mod_revision = Revision(state.revision);
        let item = KeyValue {
            key: key.to_owned(),
            value: Bytes::from(value.to_owned()),
            create_revision: mod_revision,
            mod_revision,
            lease: None,
        };
        state.items.insert(key.to_owned(), item.clone());
        Event { change: Change::Put(item), mod_revision }
    }

    fn delete(&self, key: &str) -> Event {
        let mut state = self.lock();
        state.revision += 1;
        state.items.remove(key);
        Event { change: Change::Delete { key: key.to_owned() }, mod_revision: Revision(state.revision) }
    }

    async fn tell(&self, event: Event) {
        let revision = event.mod_revision;
        self.send(Ok(WatchBatch { events: vec![event], revision })).await;
    }

    async fn send(&self, batch: Result<WatchBatch>) {
        let watch = self.lock().watch.clone().expect("somebody watches");
        watch.send(batch).await.expect("the watch is followed");
    }
}

#[async_trait]
impl Store for Script {
    async fn range(&self, request: RangeRequest) -> Result<Page> {
        let mut state = self.lock();
        let is_list = request.to.is_some();
        let (items, revision) = match state.past.pop_front().filter(|_| is_list) {
            Some(past) => past,
            None => (state.items.clone(), state.revision),
        };
        let inside = |key: &String| match &request.to {
            Some(to) => *key >= request.from && key < to,
            None => *key == request.from,
        };
        let mut items: Vec<_> = items.into_values().filter(|item| inside(&item.key)).collect();
        let more = items.len() > request.limit;
        items.truncate(request.limit);
        Ok(Page { items, more, revision: Revision(revision) })
    }

    async fn watch(&self, _prefix: &str, from: Revision) -> Result<Watch> {
        let (sender, receiver) = mpsc::channel(Watch::QUEUE);
        let mut state = self.lock();
        state.watch = Some(sender);
        state.watched_from.push(from);
        Ok(Watch::new(receiver))
    }

    async fn commit(&self, _txn: Txn) -> Result<Verdict> {
        unreachable!("a view does not write")
    }

    async fn grant(&self, _ttl: Duration) -> Result<Lease> {
        unreachable!("a view has no lease")
    }

    async fn keep_alive(&self, _lease: LeaseId) -> Result<Lease> {
        unreachable!("a view has no lease")
    }

    async fn revoke(&self, _lease: LeaseId) -> Result<()> {
        unreachable!("a view has no lease")
    }

    async fn compact(&self, _at: Revision) -> Result<()> {
        unreachable!("a view does not write")
    }

    async fn health(&self) -> Result<Health> {
        unreachable!("a view does not ask")
    }
}

struct Setting {
    store: Arc<Script>,
    view: View<String>,
    follower: tokio_util::task::AbortOnDropHandle<()>,
}

async fn setting(keys: &[&str]) -> Setting {
    let store = Arc::new(Script::default());
    for key in keys {
        store.put(&format!("t/{key}"), "1");
    }
    let decode = |item: &KeyValue| match std::str::from_utf8(&item.value) {
        Ok("bad") => Err("it is bad"),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err("it is no text"),
    };
    let (view, follower) = view(Arc::clone(&store) as Arc<dyn Store>, "t/", decode, 1);
    let tasks = tokio_util::task::TaskTracker::new();
    let follower = tokio_util::task::AbortOnDropHandle::new(tasks.spawn(follower.run()));
    view.loaded().await;
    while store.lock().watch.is_none() {
        tokio::task::yield_now().await;
    }
    Setting { store, view, follower }
}

fn text(view: &View<String>) -> String {
    view.read(|items| {
        let entries = items.iter().map(|(key, entry)| match &entry.record {
            Record::Known(record) => format!("{key}={record}"),
            Record::Unreadable(_) => format!("{key}!"),
        });
        entries.collect::<Vec<_>>().join(" ")
    })
}

#[tokio::test(start_paused = true)]
async fn a_view_is_the_list_and_then_what_the_watch_tells() {
    let Setting { store, view, follower } = setting(&["a", "b"]).await;
    assert_eq!(store.lock().watched_from, [Revision(3)]);
    let mut changes = view.changes();
    assert_eq!(changes.next().await, Changed::Everything);
    let events = [store.put("t/c", "2"), store.delete("t/a"), store.put("t/b", "bad")];
    for event in events {
        store.tell(event).await;
    }
    view.wait_for(Revision(5)).await;
    assert_eq!(text(&view), "t/b! t/c=2");
    assert_eq!(view.unreadable(), 1);
    let Changed::Keys(mut keys) = changes.next().await else { panic!("few keys changed") };
    while keys.len() < 3 {
        let Changed::Keys(more) = changes.next().await else { panic!("few keys changed") };
        keys.extend(more);
    }
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["t/a", "t/b", "t/c"]);
    drop(follower);
}

#[tokio::test(start_paused = true)]
async fn what_the_watch_loses_is_found_counted_and_mended() {
    let Setting { store, view, follower: _follower } = setting(&["a", "b", "c"]).await;
    // A put, a change and a deletion that nobody is told of.
    store.put("t/new", "x");
    store.put("t/a", "y");
    store.delete("t/b");
    tokio::time::sleep(AUDIT + LAG + Duration::from_secs(1)).await;
    assert_eq!(text(&view), "t/a=y t/c=1 t/new=x");
    let counts = view.counts();
    assert_eq!((counts.audits, counts.divergences, counts.lists), (1, 3, 1), "{counts:?}");
    assert_eq!(view.applied(), Revision(6));
    tokio::time::sleep(AUDIT).await;
    assert_eq!(view.counts().divergences, 3, "what was mended is not counted again");
}

#[tokio::test(start_paused = true)]
async fn what_is_only_late_is_no_divergence() {
    let Setting { store, view, follower: _follower } = setting(&["a"]).await;
    tokio::time::sleep(AUDIT - Duration::from_millis(10)).await;
    let late = [store.put("t/a", "2"), store.put("t/b", "1"), store.delete("t/b")];
    tokio::time::sleep(Duration::from_millis(500)).await;
    for event in late {
        store.tell(event).await;
    }
    tokio::time::sleep(LAG).await;
    let counts = view.counts();
    assert_eq!((counts.audits, counts.divergences), (1, 0), "{counts:?}");
    assert_eq!(text(&view), "t/a=2");
}

#[tokio::test(start_paused = true)]
async fn a_compacted_watch_is_listed_anew() {
    let Setting { store, view, follower: _follower } = setting(&["a", "b"]).await;
    let mut changes = view.changes();
    assert_eq!(changes.next().await, Changed::Everything);
    store.put("t/b", "2");
    store.delete("t/a");
    store.send(Err(Error::Compacted { oldest: Revision(4) })).await;
    view.wait_for(Revision(4)).await;
    assert_eq!(text(&view), "t/b=2");
    let counts = view.counts();
    assert_eq!((counts.lists, counts.compacted), (2, 1), "{counts:?}");
    let Changed::Keys(keys) = changes.next().await else { panic!("few keys changed") };
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["t/a", "t/b"]);
    while store.lock().watched_from.len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.lock().watched_from, [Revision(3), Revision(5)]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_for_a_revision_is_not_left_to_the_watch() {
    let Setting { store, view, follower: _follower } = setting(&["a"]).await;
    store.put("t/a", "2");
    store.put("elsewhere", "1");
    let before = Instant::now();
    view.wait_for(Revision(3)).await;
    assert!(before.elapsed() < AUDIT);
    assert_eq!(text(&view), "t/a=2");
    let counts = view.counts();
    assert_eq!((counts.catch_ups, counts.divergences), (1, 0), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_from_the_past_changes_nothing() {
    let Setting { store, view, follower: _follower } = setting(&["a"]).await;
    let old = (store.lock().items.clone(), 1);
    for event in [store.delete("t/a"), store.put("t/b", "2")] {
        store.tell(event).await;
    }
    view.wait_for(Revision(3)).await;
    store.lock().past.push_back(old);
    tokio::time::sleep(AUDIT + LAG + Duration::from_secs(1)).await;
    assert_eq!(text(&view), "t/b=2");
    let counts = view.counts();
    assert_eq!((counts.stale, counts.divergences), (1, 0), "{counts:?}");
}

#[test]
fn retries_grow_and_differ_between_seeds() {
    let mut jitter = Jitter(7);
    let waits: Vec<_> = (0..12).map(|failures| jitter.backoff(failures)).collect();
    for (failures, wait) in waits.iter().enumerate() {
        let whole = RETRY.saturating_mul(1 << failures).min(RETRY_MAX);
        assert!(*wait >= whole / 2 && *wait <= whole, "{failures}: {wait:?}");
    }
    assert_ne!(Jitter(1).backoff(5), Jitter(2).backoff(5));
}

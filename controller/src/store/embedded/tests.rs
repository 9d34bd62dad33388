//! The contract on this home, and what only this home promises: its file, its lock, its quota.

use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::store::contract::{self, Home};

const TTL: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct ManualHome {
    directory: TempDir,
    clock: Arc<ManualClock>,
    store: Mutex<Option<Arc<EmbeddedStore>>>,
}

impl ManualHome {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let store = Mutex::new(Some(open(directory.path(), &clock)));
        Self { directory, clock, store }
    }

    fn embedded(&self) -> Arc<EmbeddedStore> {
        Arc::clone(self.store.lock().unwrap().as_ref().unwrap())
    }
}

fn open(directory: &Path, clock: &Arc<ManualClock>) -> Arc<EmbeddedStore> {
    let settings = Settings { clock: Arc::clone(clock) as Arc<dyn Clock>, ..Settings::new(directory) };
    Arc::new(EmbeddedStore::open(settings).unwrap())
}

#[async_trait]
impl Home for ManualHome {
    fn store(&self) -> Arc<dyn Store> {
        self.embedded()
    }

    fn ttl(&self) -> Duration {
        TTL
    }

    async fn wait(&self, time: Duration) {
        self.clock.advance(time);
        self.embedded().nudge().await.unwrap();
    }

    async fn restart(&self) -> Arc<dyn Store> {
        let old = self.store.lock().unwrap().take().unwrap();
        old.stop();
        let new = open(self.directory.path(), &self.clock);
        *self.store.lock().unwrap() = Some(Arc::clone(&new));
        new
    }
}

macro_rules! tests_of_the_contract {
    ($($file:ident::$case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let case = contract::cases().into_iter().find(|case| case.name == stringify!($case));
                case.unwrap().run(Arc::new(ManualHome::new())).await;
            }
        )*
    };
}
crate::store_contract_cases!(tests_of_the_contract);

fn settings(directory: &TempDir) -> Settings {
    Settings::new(directory.path())
}

async fn put(store: &EmbeddedStore, key: &str, bytes: usize) -> Result<Verdict> {
    store.commit(Txn::new().put(key, vec![b'x'; bytes])).await
}

/// Returns what opening says, with its cause.
fn refusal(settings: Settings) -> String {
    let error = EmbeddedStore::open(settings).expect_err("it was opened");
    let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
    format!("{error}: {cause}")
}

fn tables(directory: &TempDir) -> Connection {
    Connection::open(directory.path().join("store.db")).unwrap()
}

fn rows(directory: &TempDir, table: &str) -> i64 {
    tables(directory).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_directory_is_held_by_one_store_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(settings(&directory)).unwrap();
    let expected =
        format!("the store cannot be used: {} is in use by another process", directory.path().display());
    assert_eq!(refusal(settings(&directory)), expected);
    drop(store);
    EmbeddedStore::open(settings(&directory)).unwrap();
}

#[tokio::test]
async fn another_schema_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(settings(&directory)).unwrap());
    tables(&directory).execute_batch("PRAGMA user_version = 9").unwrap();
    assert_eq!(
        refusal(settings(&directory)),
        "the store cannot be used: the store has schema version 9; this program knows only 1"
    );
}

#[tokio::test]
async fn another_programs_file_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    tables(&directory).execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert_eq!(
        refusal(settings(&directory)),
        "the store cannot be used: the file is another program's, not an Ocelot store"
    );
    assert_eq!(rows(&directory, "theirs"), 0);
}

#[tokio::test]
async fn a_damaged_file_is_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(settings(&directory)).unwrap();
    for n in 0..50 {
        put(&store, &format!("/k/{n}"), 1000).await.unwrap();
    }
    drop(store);
    let path = directory.path().join("store.db");
    let mut bytes = fs::read(&path).unwrap();
    // Every page but the first, which says what the file is.
    bytes[4096..].fill(0x5a);
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(EmbeddedStore::open(settings(&directory)), Err(Error::Corrupt(_))));
    fs::write(&path, "this is no database, but a text of some length: ".repeat(100)).unwrap();
    assert!(matches!(EmbeddedStore::open(settings(&directory)), Err(Error::Corrupt(_))));
}

#[tokio::test]
async fn above_the_quota_puts_are_refused_and_deletes_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let quota_bytes = 1024 * 1024;
    let clocked = Arc::clone(&clock) as Arc<dyn Clock>;
    let store =
        EmbeddedStore::open(Settings { quota_bytes, clock: clocked, ..settings(&directory) }).unwrap();
    let mut keys = 0;
    while put(&store, &format!("/k/{keys}"), 20_000).await.is_ok() {
        keys += 1;
    }
    assert!((40..60).contains(&keys), "{keys} keys of 20,000 bytes");
    assert!(matches!(put(&store, "/more", 1).await, Err(Error::Full(_))));
    assert!(store.health().await.unwrap().fullness >= 1.0);
    for key in 0..keys {
        store.commit(Txn::new().delete(format!("/k/{key}"))).await.unwrap();
    }
    store.compact(store.health().await.unwrap().revision).await.unwrap();
    while store.health().await.unwrap().fullness > 0.5 {
        store.nudge().await.unwrap();
    }
    put(&store, "/more", 1).await.unwrap();
}

#[tokio::test]
async fn compaction_leaves_nothing_that_is_not_needed() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(settings(&directory)).unwrap();
    for round in 0..100 {
        put(&store, "/kept", round).await.unwrap();
        put(&store, &format!("/gone/{round}"), 10).await.unwrap();
        store.commit(Txn::new().delete(format!("/gone/{round}"))).await.unwrap();
    }
    put(&store, "/kept", 3).await.unwrap();
    store.compact(store.health().await.unwrap().revision).await.unwrap();
    // What the sweep deletes, it deletes between groups: each nudge is a group.
    let mut nudges = 0;
    while rows(&directory, "history") > 1 {
        store.nudge().await.unwrap();
        nudges += 1;
        assert!(nudges < 1000, "{} rows are left", rows(&directory, "history"));
    }
    assert_eq!((rows(&directory, "current"), rows(&directory, "gone")), (1, 0));
}

#[tokio::test]
async fn the_history_is_kept_for_its_time_and_then_goes_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = open(directory.path(), &clock);
    put(&store, "/k", 1).await.unwrap();
    let Ok(Verdict::Committed(second)) = put(&store, "/k", 2).await else { panic!("it was refused") };
    let past = |at: Revision| store.range(RangeRequest::key("/k").at(at));
    for _ in 0..4 {
        assert_eq!(past(Revision(second.0 - 1)).await.unwrap().items[0].value.len(), 1);
        clock.advance(Duration::from_secs(25));
        store.nudge().await.unwrap();
    }
    clock.advance(Duration::from_secs(60));
    store.nudge().await.unwrap();
    let gone = past(Revision(second.0 - 1)).await;
    assert!(matches!(gone, Err(Error::Compacted { oldest }) if oldest == second), "{gone:?}");
    assert_eq!(past(second).await.unwrap().items[0].value.len(), 2);
}

#[tokio::test]
async fn every_call_on_a_stopped_store_fails_and_its_watches_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(settings(&directory)).unwrap();
    put(&store, "/k", 1).await.unwrap();
    let mut watch = store.watch("/", Revision(3)).await.unwrap();
    store.stop();
    while let Some(batch) = watch.next().await {
        assert!(matches!(batch, Err(Error::Unavailable(_))), "{batch:?}");
    }
    assert!(matches!(put(&store, "/k", 1).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.keep_alive(LeaseId(1)).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_watch_of_quiet_keys_is_told_how_far_it_has_come() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(settings(&directory)).unwrap();
    let mut watch = store.watch("/quiet/", Revision(2)).await.unwrap();
    let writing = async {
        for _ in 0..1_100 {
            put(&store, "/loud", 1).await.unwrap();
        }
    };
    let (batch, ()) = tokio::join!(watch.next(), writing);
    let batch = batch.unwrap().unwrap();
    assert!(batch.events.is_empty() && batch.revision > Revision(1_000), "{batch:?}");
}

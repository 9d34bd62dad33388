//! The store's embedded home: one SQLite file, one writer, groups of transactions per sync.
//!
//! It keeps etcd's semantics (revisions, history, watches, leases) so that domain code cannot tell
//! the homes apart. Nothing is answered before it is durable. No other module names the engine.

mod apply;
mod checkpoint;
mod clock;
mod failure;
mod feed;
mod follow;
mod leases;
mod queue;
mod quota;
mod read;
mod retention;
mod room;
mod schema;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    Error, Health, Lease, LeaseId, Page, RangeRequest, Result, Revision, Store, Txn, Verdict, Watch,
};

#[cfg(any(test, feature = "test-util"))]
pub use clock::ManualClock;
pub use clock::{Clock, MachineClock};
pub use failure::InUse;
pub use retention::Retention;

use failure::Reason;
use feed::Feed;
use follow::Follower;
use leases::Leases;
use queue::{Answer, Job, Queue};
use quota::Quota;
use read::Readers;
use retention::Ageing;
use room::Room;
use schema::RowId;
use writer::{Progress, Shared, Writer};

/// Where the store lives and how large it may grow.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Made if it is not there; held by one process at a time.
    pub directory: PathBuf,
    /// Above it, puts are refused; deletes never are.
    pub quota_bytes: u64,
    pub retention: Retention,
    pub clock: Arc<dyn Clock>,
}

impl Settings {
    /// As much as etcd is advised to hold at most.
    const QUOTA_BYTES: u64 = 8 * 1024 * 1024 * 1024;

    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            quota_bytes: Self::QUOTA_BYTES,
            retention: Retention::default(),
            clock: Arc::new(MachineClock::default()),
        }
    }
}

/// The store in a directory of this machine.
#[derive(Debug)]
pub struct EmbeddedStore {
    queue: Arc<Queue>,
    feed: Arc<Feed>,
    readers: Arc<Readers>,
    leases: Arc<Leases>,
    clock: Arc<dyn Clock>,
    quota_bytes: u64,
    followers: TaskTracker,
    closing: CancellationToken,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

impl EmbeddedStore {
    /// How long a disk may take to answer before the outcome counts as unknown.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Opens the store, or makes it. Blocks while the file is checked.
    pub fn open(settings: Settings) -> Result<Self> {
        let Settings { directory, quota_bytes, retention, clock } = settings;
        let unusable = |error: io::Error| Error::Unusable(Box::new(error));
        make_directory(&directory).map_err(unusable)?;
        let lock = schema::lock(&directory)?;
        let path = directory.join("store.db");
        let connection = schema::open_writer(&path)?;
        // The names of new files survive a power cut only once their directory is synced.
        File::open(&directory).and_then(|directory| directory.sync_all()).map_err(unusable)?;
        let durable = progress(&connection).map_err(failure::of_read)?;
        let leases = Arc::new(Leases::default());
        for lease in tables::leases(&connection).map_err(failure::of_read)? {
            leases.start(lease, clock.now());
        }
        let readers = Arc::new(Readers::open(&path).map_err(failure::of_read)?);
        let checkpointing = schema::open_checkpointer(&path).map_err(failure::of_read)?;
        let queue = Arc::new(Queue::new());
        let feed = Arc::new(Feed::new(durable.revision));
        feed.publish(Vec::new(), durable.compacted);
        let shared = Shared {
            queue: Arc::clone(&queue),
            feed: Arc::clone(&feed),
            leases: Arc::clone(&leases),
            log: Arc::default(),
            clock: Arc::clone(&clock),
        };
        let (ageing, limits) = (Ageing::new(retention), (Quota::new(quota_bytes), Room::open(&path)));
        let threads = Threads { connection, checkpointing, shared, ageing, durable, limits, lock };
        let writer =
            thread::Builder::new().name("store-writer".into()).spawn(|| threads.run()).map_err(unusable)?;
        Ok(Self {
            queue,
            feed,
            readers,
            leases,
            clock,
            quota_bytes,
            followers: TaskTracker::new(),
            closing: CancellationToken::new(),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Lets the writer finish what it has taken, ends the watches and gives the directory free.
    /// Every later call fails.
    pub fn stop(&self) {
        self.closing.cancel();
        self.queue.close();
        let writer = self.writer.lock().expect("nothing panics while it holds the writer").take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of the embedded store panicked");
        }
    }

    /// Looks at the clock now, and returns once what was due has been done.
    #[cfg(any(test, feature = "test-util"))]
    pub async fn nudge(&self) -> Result<()> {
        self.ask(Job::Nudge).await
    }

    /// Hands the writer a job and waits for its answer.
    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(job(answer))?;
        match tokio::time::timeout(Self::PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(gone)) => Err(Error::Unknown(Box::new(gone))),
            Err(late) => Err(Error::Unknown(Box::new(late))),
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn range(&self, request: RangeRequest) -> Result<Page> {
        if request.is_of_one()
            && let Some(found) = self.readers.here(|connection| read::one(connection, &request))
        {
            return found;
        }
        self.readers.view(move |connection| read::page(connection, &request)).await
    }

    async fn commit(&self, txn: Txn) -> Result<Verdict> {
        txn.check()?;
        self.ask(|answer| Job::Commit(txn, answer)).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        self.queue.check()?;
        let (sender, batches) = mpsc::channel(Watch::QUEUE);
        let follower = Follower {
            prefix: prefix.to_owned(),
            from,
            feed: Arc::clone(&self.feed),
            readers: Arc::clone(&self.readers),
            batches: sender,
            closing: self.closing.clone(),
        };
        drop(self.followers.spawn(follower.run()));
        Ok(Watch::new(batches))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        // Whole milliseconds are kept, never fewer than asked for.
        let ttl = Duration::from_millis(ttl.as_micros().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX));
        self.ask(|answer| Job::Grant(ttl, answer)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease> {
        self.queue.check()?;
        self.leases.keep_alive(lease, self.clock.now())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.ask(|answer| Job::Revoke(lease, answer)).await
    }

    async fn compact(&self, at: Revision) -> Result<()> {
        self.ask(|answer| Job::Compact(at, answer)).await
    }

    async fn health(&self) -> Result<Health> {
        self.queue.check()?;
        let quota_bytes = self.quota_bytes;
        self.readers
            .view(move |connection| {
                let used = schema::used_bytes(connection).map_err(failure::of_read)?;
                Ok(Health {
                    revision: schema::newest_revision(connection).map_err(failure::of_read)?,
                    fullness: used as f64 / quota_bytes as f64,
                    description: format!("embedded (SQLite {})", rusqlite::version()),
                })
            })
            .await
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the writing threads own; the lock is let go when they are done.
#[derive(Debug)]
struct Threads {
    connection: Connection,
    checkpointing: Connection,
    shared: Shared,
    ageing: Ageing,
    durable: Progress,
    limits: (Quota, Room),
    lock: File,
}

impl Threads {
    fn run(self) {
        let Self { mut connection, checkpointing, shared, ageing, durable, limits, lock } = self;
        let _alarm = Alarm(Arc::clone(&shared.queue));
        let (ring, bell) = checkpoint::bell();
        let (queue, log) = (Arc::clone(&shared.queue), Arc::clone(&shared.log));
        let hooked = connection.wal_hook(Some(Arc::clone(&log).hook()));
        let checkpointer = thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || checkpoint::run(&checkpointing, &log, &bell));
        match hooked.and_then(|()| Writer::new(&connection, shared, ring, ageing, durable, limits)) {
            Ok(writer) => writer.run(),
            Err(error) => queue.break_off(Reason(error.to_string())),
        }
        match checkpointer.map(thread::JoinHandle::join) {
            Ok(Ok(())) => {}
            Ok(Err(_panic)) => tracing::error!("the checkpointer of the embedded store panicked"),
            Err(error) => tracing::error!(error = %error, "the checkpointer could not be started"),
        }
        drop(connection);
        // A child that was just forked still has the file open; the lock must not wait for it.
        drop(lock.unlock());
    }
}

/// Tells all who wait, if the writer panics, that nobody will answer them.
struct Alarm(Arc<Queue>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.break_off(Reason("the writer panicked".into()));
        }
    }
}

fn progress(connection: &Connection) -> rusqlite::Result<Progress> {
    let compacted = schema::compacted_revision(connection)?;
    Ok(Progress {
        revision: schema::newest_revision(connection)?,
        compacted,
        // What an earlier process had not swept is unknown; looking at a row twice is harmless.
        sweeping: (compacted > Revision(0)).then_some(RowId(0)),
    })
}

/// Makes the directory so that it is still there after a power cut.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    match directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

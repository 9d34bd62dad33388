//! The embedded store beside its own engine used bare, and beside the bare disk.
//!
//! Both baselines commit in groups exactly as the store does; the engine keeps neither revisions
//! nor history nor leases, the disk keeps not even order by key.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, mpsc};
use std::thread;

use async_trait::async_trait;
use ocelot_controller::store::embedded::{EmbeddedStore, Settings};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use super::{Measuring, Row};
use crate::measure::{Effort, Figure, in_turns};
use crate::workload::{StoreTarget, Target, VALUE_BYTES, Write, Writers};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "store.embedded.w1.disk",
        about: "durable transactions of one writer, beside append + fdatasync",
        measure: |effort| beside_disk(effort, 1),
    },
    Row {
        name: "store.embedded.w1.engine",
        about: "durable transactions of one writer, beside the bare engine",
        measure: |effort| beside_engine(effort, 1),
    },
    Row {
        name: "store.embedded.w64.disk",
        about: "durable transactions of 64 writers, beside append + fdatasync in groups",
        measure: |effort| beside_disk(effort, 64),
    },
    Row {
        name: "store.embedded.w64.engine",
        about: "durable transactions of 64 writers, beside the bare engine in groups",
        measure: |effort| beside_engine(effort, 64),
    },
    Row {
        name: "store.embedded.w256.disk",
        about: "durable transactions of 256 writers, beside append + fdatasync in groups",
        measure: |effort| beside_disk(effort, 256),
    },
    Row {
        name: "store.embedded.w256.engine",
        about: "durable transactions of 256 writers, beside the bare engine in groups",
        measure: |effort| beside_engine(effort, 256),
    },
];

fn beside_disk(effort: Effort, writers: usize) -> Measuring {
    Box::pin(async move {
        let directory = tempfile::tempdir_in(&effort.directory)?;
        let disk = Disk { file: File::create(directory.path().join("appended"))? };
        beside(&effort, writers, "append + fdatasync in the same groups", Grouped::start(disk)?).await
    })
}

fn beside_engine(effort: Effort, writers: usize) -> Measuring {
    Box::pin(async move {
        let directory = tempfile::tempdir_in(&effort.directory)?;
        let connection = Connection::open(directory.path().join("bare.db"))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE kv (k TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;",
        )?;
        connection.set_prepared_statement_cache_capacity(16);
        beside(&effort, writers, "SQLite bare, in the same groups", Grouped::start(Engine { connection })?)
            .await
    })
}

async fn beside(effort: &Effort, count: usize, name: &str, baseline: Grouped) -> anyhow::Result<Figure> {
    let directory = tempfile::tempdir_in(&effort.directory)?;
    let store = EmbeddedStore::open(Settings::new(directory.path()))?;
    let ours: Arc<dyn Target> = Arc::new(StoreTarget(Arc::new(store)));
    let baseline: Arc<dyn Target> = Arc::new(baseline);
    let (mut our_writers, mut baseline_writers) = (Writers::new(count), Writers::new(count));
    our_writers.fill(&ours).await?;
    baseline_writers.fill(&baseline).await?;
    let (our_writers, baseline_writers) =
        (tokio::sync::Mutex::new(our_writers), tokio::sync::Mutex::new(baseline_writers));
    in_turns(
        effort,
        "txn/s",
        name,
        async || our_writers.lock().await.round(&ours, effort.round).await,
        async || baseline_writers.lock().await.round(&baseline, effort.round).await,
    )
    .await
}

/// What a baseline does with a group.
trait Group: Send + 'static {
    /// Makes the whole group durable, and returns the mark of each.
    fn commit(&mut self, writes: &[Write]) -> anyhow::Result<Vec<i64>>;
}

/// Commits whatever waits as one group, on a thread of its own.
struct Grouped {
    waiting: mpsc::SyncSender<(Write, oneshot::Sender<i64>)>,
}

impl Grouped {
    fn start(mut group: impl Group) -> anyhow::Result<Self> {
        let (waiting, queue) = mpsc::sync_channel::<(Write, oneshot::Sender<i64>)>(4096);
        drop(thread::Builder::new().spawn(move || {
            while let Ok(first) = queue.recv() {
                let (writes, answers): (Vec<_>, Vec<_>) =
                    std::iter::once(first).chain(queue.try_iter()).unzip();
                let marks = group.commit(&writes).expect("the baseline's disk works");
                for (answer, mark) in answers.into_iter().zip(marks) {
                    answer.send(mark).expect("every writer waits");
                }
            }
        })?);
        Ok(Self { waiting })
    }
}

#[async_trait]
impl Target for Grouped {
    async fn write(&self, write: Write) -> anyhow::Result<i64> {
        let (answer, answered) = oneshot::channel();
        self.waiting.send((write, answer))?;
        Ok(answered.await?)
    }
}

struct Disk {
    file: File,
}

impl Group for Disk {
    fn commit(&mut self, writes: &[Write]) -> anyhow::Result<Vec<i64>> {
        let mut bytes = Vec::new();
        for Write { record, second, value, .. } in writes {
            for part in [record.as_bytes(), value, second.as_bytes(), value] {
                bytes.extend_from_slice(part);
            }
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        Ok(vec![0; writes.len()])
    }
}

struct Engine {
    connection: Connection,
}

impl Group for Engine {
    /// The mark is a number in the value's first bytes, compared as the store compares revisions.
    fn commit(&mut self, writes: &[Write]) -> anyhow::Result<Vec<i64>> {
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut marks = Vec::with_capacity(writes.len());
        {
            let mut find = transaction.prepare_cached("SELECT v FROM kv WHERE k = ?1")?;
            let mut put = transaction.prepare_cached(
                "INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
            )?;
            for Write { record, second, last, value } in writes {
                let found: Option<i64> = find
                    .query_row([record], |row| {
                        let mark = row.get_ref(0)?.as_bytes()?.first_chunk().copied();
                        Ok(mark.map_or(0, i64::from_le_bytes))
                    })
                    .optional()?;
                anyhow::ensure!(found == *last, "{record} is not as it was left");
                let mark = last.unwrap_or(0) + 1;
                let mut marked = value.clone();
                marked[..8].copy_from_slice(&mark.to_le_bytes());
                put.execute(params![record, marked])?;
                put.execute(params![second, value])?;
                marks.push(mark);
            }
        }
        transaction.commit()?;
        Ok(marks)
    }
}

const _: () = assert!(VALUE_BYTES >= 8, "a value holds its mark");

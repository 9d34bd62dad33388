//! Reading: connections of their own, so that no reader waits for the writer, nor it for them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use tokio::sync::Semaphore;

use crate::store::error::{Error, Result};
use crate::store::lease::LeaseId;
use crate::store::range::{KeyValue, Page, RangeRequest, Revision, prefix_end};
use crate::store::watch::{Change, Event, WatchBatch};

use super::failure::{self, Reason};
use super::feed::{BATCH_BYTES, event_bytes};
use super::schema::{self, RowId};

#[derive(Debug)]
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    free: Semaphore,
}

impl Readers {
    const CONNECTIONS: usize = 4;
    /// Reads are short; one that waits longer stands behind a disk that does not answer.
    const PATIENCE: Duration = Duration::from_secs(2);

    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let idle =
            (0..Self::CONNECTIONS).map(|_| schema::open_reader(path)).collect::<rusqlite::Result<_>>()?;
        Ok(Self { idle: Mutex::new(idle), free: Semaphore::new(Self::CONNECTIONS) })
    }

    /// Runs `read` in one consistent view of what is durable.
    pub(super) async fn view<T, F>(self: &Arc<Self>, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let readers = Arc::clone(self);
        let reading = async move {
            let permit =
                readers.free.acquire().await.map_err(|closed| Error::Unavailable(Box::new(closed)))?;
            permit.forget();
            tokio::task::spawn_blocking(move || readers.run(|connection| in_view(connection, read)))
                .await
                .map_err(|failed| Error::Unavailable(Box::new(failed)))?
        };
        tokio::time::timeout(Self::PATIENCE, reading)
            .await
            .map_err(|late| Error::Unavailable(Box::new(late)))?
    }

    /// Runs `read`, which is one statement, on this very thread, if a connection is free: for what takes
    /// less time than the way to another thread and back.
    pub(super) fn here<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Option<Result<T>> {
        let permit = self.free.try_acquire().ok()?;
        permit.forget();
        Some(self.run(read))
    }

    fn run<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let taken = self.idle.lock().expect("nothing panics while it holds the connections").pop();
        let connection =
            taken.ok_or_else(|| Error::Unavailable(Reason::boxed("a connection for reading was lost")))?;
        let found = read(&connection);
        self.idle.lock().expect("nothing panics while it holds the connections").push(connection);
        self.free.add_permits(1);
        found
    }
}

fn in_view<T>(connection: &Connection, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let run = |sql| connection.prepare_cached(sql)?.execute([]).map(drop);
    run("BEGIN DEFERRED").map_err(failure::of_read)?;
    let found = read(connection);
    // After a failed read there may be nothing left to end: why it failed is the better error.
    let over = run("ROLLBACK").map_err(failure::of_read);
    found.and_then(|found| over.map(|()| found))
}

/// Returns what a key holds now. One statement is a view of its own.
pub(super) fn one(connection: &Connection, request: &RangeRequest) -> Result<Page> {
    let read = || {
        let mut statement = connection.prepare_cached(
            "SELECT h.key, h.id, h.created, h.lease, CASE WHEN ?2 THEN x'' ELSE h.value END,
                    (SELECT max(id) FROM history)
             FROM (SELECT 1) LEFT JOIN current c ON c.key = ?1 LEFT JOIN history h ON h.id = c.id",
        )?;
        statement.query_row(params![request.from, request.keys_only], |row| {
            let is_there = row.get_ref(0)? != ValueRef::Null;
            let items = if is_there { vec![item(row)?] } else { Vec::new() };
            Ok(Page { items, more: false, revision: schema::revision_at(row.get(5)?) })
        })
    };
    read().map_err(failure::of_read)
}

/// Returns the page that the request asks for.
pub(super) fn page(connection: &Connection, request: &RangeRequest) -> Result<Page> {
    let newest = schema::newest_revision(connection).map_err(failure::of_read)?;
    let limit = request.limit.clamp(1, RangeRequest::PAGE);
    let past = match request.at {
        Some(at) if at > newest => {
            return Err(Error::Unusable(Reason::boxed(format!(
                "revision {at} was asked for, the newest is {newest}: was the store put back to an older state?"
            ))));
        }
        Some(at) => {
            let oldest = schema::compacted_revision(connection).map_err(failure::of_read)?;
            if at < oldest {
                return Err(Error::Compacted { oldest });
            }
            Some(at).filter(|at| *at < newest)
        }
        None => None,
    };
    let mut items = match past {
        None => present(connection, request, limit + 1),
        Some(at) => past_items(connection, request, at, limit + 1),
    }
    .map_err(failure::of_read)?;
    let more = items.len() > limit;
    items.truncate(limit);
    Ok(Page { items, more, revision: newest })
}

/// Returns the exclusive end of what is asked for.
fn end_of(request: &RangeRequest) -> String {
    request.to.clone().unwrap_or_else(|| format!("{}\0", request.from))
}

const ITEM: &str = "h.key, h.id, h.created, h.lease, CASE WHEN ?4 THEN x'' ELSE h.value END";

fn present(connection: &Connection, request: &RangeRequest, limit: usize) -> rusqlite::Result<Vec<KeyValue>> {
    connection
        .prepare_cached(&format!(
            "SELECT {ITEM} FROM current c CROSS JOIN history h ON h.id = c.id
             WHERE c.key >= ?1 AND c.key < ?2 ORDER BY c.key LIMIT ?3"
        ))?
        .query_map(params![request.from, end_of(request), limit as i64, request.keys_only], item)?
        .collect()
}

/// Reads the past: of each life of a key that spans `at`, the version that was current then.
fn past_items(
    connection: &Connection,
    request: &RangeRequest,
    at: Revision,
    limit: usize,
) -> rusqlite::Result<Vec<KeyValue>> {
    let last = RowId::last_of(at);
    let mut lives = connection.prepare_cached(
        "SELECT key, id FROM current WHERE key >= ?1 AND key < ?2 AND created <= ?3
         UNION ALL
         SELECT key, id FROM gone WHERE key >= ?1 AND key < ?2 AND created <= ?3 AND id > ?4
         ORDER BY key LIMIT ?5",
    )?;
    let ends = lives
        .query_map(params![request.from, end_of(request), at.0, last.0, limit as i64], |row| {
            row.get(1).map(RowId)
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut prev = connection.prepare_cached("SELECT prev FROM history WHERE id = ?1")?;
    let mut read = connection.prepare_cached(&format!(
        "SELECT {ITEM} FROM history h WHERE h.id = ?1 AND ?2 IS NULL AND ?3 IS NULL"
    ))?;
    let mut items = Vec::with_capacity(ends.len());
    for mut id in ends {
        while id > last {
            id = RowId(prev.query_row([id.0], |row| row.get(0))?);
        }
        let none = None::<i64>;
        items.push(read.query_row(params![id.0, none, none, request.keys_only], item)?);
    }
    Ok(items)
}

fn item(row: &Row<'_>) -> rusqlite::Result<KeyValue> {
    Ok(KeyValue {
        key: row.get(0)?,
        mod_revision: RowId(row.get(1)?).revision(),
        create_revision: Revision(row.get(2)?),
        lease: row.get::<_, Option<i64>>(3)?.map(LeaseId),
        value: Bytes::copy_from_slice(row.get_ref(4)?.as_bytes()?),
    })
}

/// Returns the history of `prefix` from `from` on, in whole revisions: as much as fills a batch.
pub(super) fn history(connection: &Connection, prefix: &str, from: Revision) -> Result<WatchBatch> {
    let oldest = schema::compacted_revision(connection).map_err(failure::of_read)?;
    if from < oldest {
        return Err(Error::Compacted { oldest });
    }
    let newest = schema::newest_revision(connection).map_err(failure::of_read)?;
    let end = Revision(newest.0.min(from.0 + HISTORY_STEP));
    changes(connection, prefix, from, end).map_err(failure::of_read)
}

/// Revisions that one step through the history looks at, so that a view is never held for long.
const HISTORY_STEP: i64 = 1000;

fn changes(
    connection: &Connection,
    prefix: &str,
    from: Revision,
    end: Revision,
) -> rusqlite::Result<WatchBatch> {
    let mut statement = connection.prepare_cached(
        "SELECT key, id, created, lease, value, value IS NULL FROM history
         WHERE id >= ?1 AND id <= ?2 AND key >= ?3 AND key < ?4 ORDER BY id",
    )?;
    let span = params![RowId::first_of(from).0, RowId::last_of(end).0, prefix, prefix_end(prefix)];
    let mut rows = statement.query(span)?;
    let mut batch = WatchBatch { events: Vec::new(), revision: end };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let mod_revision = RowId(row.get(1)?).revision();
        let last = batch.events.last().map(|event: &Event| event.mod_revision);
        if let Some(last) = last
            && last < mod_revision
            && bytes >= BATCH_BYTES
        {
            batch.revision = last;
            break;
        }
        let change = if row.get(5)? { Change::Delete { key: row.get(0)? } } else { Change::Put(item(row)?) };
        let event = Event { change, mod_revision };
        bytes += event_bytes(&event);
        batch.events.push(event);
    }
    Ok(batch)
}

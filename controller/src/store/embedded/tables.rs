//! The writer's statements, prepared once. Says how a change looks in the tables, not when to make it.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use crate::store::lease::{Lease, LeaseId};
use crate::store::range::{KeyValue, Revision};

use super::schema::RowId;

/// Where a living key stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) id: RowId,
    pub(super) created: Revision,
    pub(super) lease: Option<LeaseId>,
}

/// One row of the history that compaction looks at.
struct Swept {
    id: RowId,
    prev: RowId,
    /// The key, if the row is a deletion.
    deleted: Option<String>,
}

#[derive(Debug)]
pub(super) struct Tables<'c> {
    connection: &'c Connection,
    head: Statement<'c>,
    value: Statement<'c>,
    append: Statement<'c>,
    add: Statement<'c>,
    renew: Statement<'c>,
    renew_lease: Statement<'c>,
    remove: Statement<'c>,
    bury: Statement<'c>,
    lease: Statement<'c>,
    lease_add: Statement<'c>,
    lease_remove: Statement<'c>,
    lease_keys: Statement<'c>,
    compacted: Statement<'c>,
    sweep: Statement<'c>,
    forget: Statement<'c>,
    unbury: Statement<'c>,
}

impl<'c> Tables<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let sql = |text| connection.prepare(text);
        Ok(Self {
            connection,
            head: sql("SELECT id, created, lease FROM current WHERE key = ?1")?,
            value: sql("SELECT value FROM history WHERE id = ?1")?,
            append: sql(
                "INSERT INTO history (id, key, created, prev, lease, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            add: sql("INSERT INTO current (key, id, created, lease) VALUES (?1, ?2, ?3, ?4)")?,
            renew: sql("UPDATE current SET id = ?2 WHERE key = ?1")?,
            renew_lease: sql("UPDATE current SET id = ?2, lease = ?3 WHERE key = ?1")?,
            remove: sql("DELETE FROM current WHERE key = ?1")?,
            bury: sql("INSERT INTO gone (key, id, created) VALUES (?1, ?2, ?3)")?,
            lease: sql("SELECT 1 FROM lease WHERE id = ?1")?,
            lease_add: sql("INSERT INTO lease (ttl_ms) VALUES (?1)")?,
            lease_remove: sql("DELETE FROM lease WHERE id = ?1")?,
            lease_keys: sql(
                "SELECT key, id, created, lease FROM current WHERE lease = ?1 ORDER BY key LIMIT ?2",
            )?,
            compacted: sql("UPDATE compacted SET revision = ?1")?,
            sweep: sql("SELECT id, prev, CASE WHEN value IS NULL THEN key END FROM history
                 WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3")?,
            forget: sql("DELETE FROM history WHERE id = ?1")?,
            unbury: sql("DELETE FROM gone WHERE key = ?1 AND id = ?2")?,
        })
    }

    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    pub(super) fn head(&mut self, key: &str) -> rusqlite::Result<Option<Head>> {
        self.head.query_row([key], |row| head_at(row, 0)).optional()
    }

    pub(super) fn key_value(&mut self, key: &str, head: Head) -> rusqlite::Result<KeyValue> {
        let value = self
            .value
            .query_row([head.id.0], |row| Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_bytes()?)))?;
        Ok(KeyValue {
            key: key.to_owned(),
            value,
            create_revision: head.created,
            mod_revision: head.id.revision(),
            lease: head.lease,
        })
    }

    /// Writes what `item` says as the change `id`, over what was there.
    pub(super) fn put(&mut self, id: RowId, item: &KeyValue, over: Option<Head>) -> rusqlite::Result<()> {
        let KeyValue { key, value, create_revision, lease, .. } = item;
        let lease_number = lease.map(|lease| lease.0);
        let prev = over.map_or(0, |head| head.id.0);
        self.append.execute(params![id.0, key, create_revision.0, prev, lease_number, value.as_ref()])?;
        match over {
            None => self.add.execute(params![key, id.0, create_revision.0, lease_number])?,
            Some(head) if head.lease == *lease => self.renew.execute(params![key, id.0])?,
            Some(_) => self.renew_lease.execute(params![key, id.0, lease_number])?,
        };
        Ok(())
    }

    pub(super) fn delete(&mut self, id: RowId, key: &str, head: Head) -> rusqlite::Result<()> {
        self.append.execute(params![id.0, key, head.created.0, head.id.0, None::<i64>, None::<&[u8]>])?;
        self.remove.execute([key])?;
        self.bury.execute(params![key, id.0, head.created.0])?;
        Ok(())
    }

    pub(super) fn lease_exists(&mut self, lease: LeaseId) -> rusqlite::Result<bool> {
        self.lease.exists([lease.0])
    }

    /// Makes a lease whose number was never used before.
    pub(super) fn add_lease(&mut self, ttl_ms: u64) -> rusqlite::Result<LeaseId> {
        self.lease_add.execute([i64::try_from(ttl_ms).unwrap_or(i64::MAX)])?;
        Ok(LeaseId(self.connection.last_insert_rowid()))
    }

    pub(super) fn remove_lease(&mut self, lease: LeaseId) -> rusqlite::Result<()> {
        self.lease_remove.execute([lease.0])?;
        Ok(())
    }

    pub(super) fn lease_keys(&mut self, lease: LeaseId) -> rusqlite::Result<Vec<(String, Head)>> {
        self.lease_keys
            .query_map(params![lease.0, RowId::PLACES as i64], |row| Ok((row.get(0)?, head_at(row, 1)?)))?
            .collect()
    }

    pub(super) fn set_compacted(&mut self, at: Revision) -> rusqlite::Result<()> {
        self.compacted.execute([at.0])?;
        Ok(())
    }

    /// Removes at most `budget` rows' worth of what compaction to `at` made needless, from the row
    /// after `from` on. Returns how far it came, or none once all is done.
    ///
    /// A row of the range makes the one that it replaced needless, and a deletion before `at` itself.
    /// A deletion exactly at `at` stays, for a watch from there must see it.
    pub(super) fn sweep(
        &mut self,
        from: RowId,
        at: Revision,
        budget: usize,
    ) -> rusqlite::Result<Option<RowId>> {
        let rows = self
            .sweep
            .query_map(params![from.0, RowId::last_of(at).0, budget as i64], |row| {
                Ok(Swept { id: RowId(row.get(0)?), prev: RowId(row.get(1)?), deleted: row.get(2)? })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        for Swept { id, prev, deleted } in &rows {
            if prev.0 != 0 {
                self.forget.execute([prev.0])?;
            }
            if let Some(key) = deleted
                && id.revision() < at
            {
                self.forget.execute([id.0])?;
                self.unbury.execute(params![key, id.0])?;
            }
        }
        Ok(rows.last().filter(|_| rows.len() == budget).map(|row| row.id))
    }
}

fn head_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Head> {
    Ok(Head {
        id: RowId(row.get(column)?),
        created: Revision(row.get(column + 1)?),
        lease: row.get::<_, Option<i64>>(column + 2)?.map(LeaseId),
    })
}

/// Reads every lease that is kept.
pub(super) fn leases(connection: &Connection) -> rusqlite::Result<Vec<Lease>> {
    connection
        .prepare("SELECT id, ttl_ms FROM lease")?
        .query_map([], |row| {
            let ttl_ms: i64 = row.get(1)?;
            Ok(Lease {
                id: LeaseId(row.get(0)?),
                ttl: std::time::Duration::from_millis(ttl_ms.unsigned_abs()),
            })
        })?
        .collect()
}

//! The file: its tables, its marks, and what is checked before anything in it is believed.
//!
//! `history` is the store: one row per change, in the order of commits, and the only place of a
//! value. `current` points from each living key to its row, `gone` from each deleted key to the row
//! of its deletion, so that a past revision can be listed. A row's `prev` is the row that it
//! replaced; nothing follows it to before the compacted revision.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::store::error::{Error, Result};
use crate::store::range::Revision;

use super::failure::{Blame, InUse, Reason};

/// "OCLT": marks the file as ours.
const APPLICATION_ID: i32 = 0x4f43_4c54;
/// Raised with every change of the tables.
const SCHEMA_VERSION: i32 = 1;
/// As etcd: the first write of a fresh store is revision 2.
const FIRST_REVISION: i64 = 1;

const TABLES: &str = "
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    created INTEGER NOT NULL,
    prev INTEGER NOT NULL,
    lease INTEGER,
    value BLOB
);
CREATE TABLE current (
    key TEXT PRIMARY KEY,
    id INTEGER NOT NULL,
    created INTEGER NOT NULL,
    lease INTEGER
) WITHOUT ROWID;
CREATE INDEX current_lease ON current (lease) WHERE lease IS NOT NULL;
CREATE TABLE gone (
    key TEXT NOT NULL,
    id INTEGER NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (key, id)
) WITHOUT ROWID;
CREATE TABLE lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ttl_ms INTEGER NOT NULL
);
CREATE TABLE compacted (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    revision INTEGER NOT NULL
);
INSERT INTO compacted VALUES (1, 0);
";

/// The number of one change: its revision, and its place in the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowId(pub(super) i64);

impl RowId {
    const PLACE_BITS: u32 = 20;
    /// Changes that one revision can hold.
    pub(super) const PLACES: usize = 1 << Self::PLACE_BITS;

    pub(super) const fn new(revision: Revision, place: usize) -> Self {
        Self((revision.0 << Self::PLACE_BITS) | place as i64)
    }

    pub(super) const fn first_of(revision: Revision) -> Self {
        Self::new(revision, 0)
    }

    /// Returns the last number that a change of this revision can have.
    pub(super) const fn last_of(revision: Revision) -> Self {
        Self::new(revision, Self::PLACES - 1)
    }

    pub(super) const fn revision(self) -> Revision {
        Revision(self.0 >> Self::PLACE_BITS)
    }
}

/// Takes the directory for this process alone. Dropping the file lets it go.
pub(super) fn lock(directory: &Path) -> Result<File> {
    let unusable = |error: io::Error| Error::Unusable(Box::new(error));
    let path = directory.join("lock");
    let file = File::options().create(true).write(true).truncate(false).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::Unusable(Box::new(InUse { directory: directory.to_owned() })))
        }
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Opens the connection that writes, makes the tables in a new file and checks an old one.
pub(super) fn open_writer(path: &Path) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(refused)?;
    check_marks(&connection)?;
    keep_plans(&connection).and_then(|()| prepare(&connection)).map_err(refused)?;
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(refused)?;
    if mode != "wal" {
        return Err(Error::Unusable(Reason::boxed(format!(
            "{} cannot have a write-ahead log (journal mode {mode}): is it on a network file system?",
            path.display()
        ))));
    }
    check_whole(&connection)?;
    Ok(connection)
}

/// Opens one more connection, that only reads.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096;")?;
    connection.busy_timeout(Duration::from_secs(1))?;
    keep_plans(&connection)?;
    Ok(connection)
}

/// Has a statement planned once. Without this the engine reads it again whenever a value that it has
/// looked at is another one, a limit for example: that took longer than most reads.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Opens the connection that moves the write-ahead log into the file.
pub(super) fn open_checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA synchronous = FULL;")?;
    Ok(connection)
}

/// Returns the newest revision in the file.
pub(super) fn newest_revision(connection: &Connection) -> rusqlite::Result<Revision> {
    let newest = connection.prepare_cached("SELECT max(id) FROM history")?.query_row([], |row| row.get(0))?;
    Ok(revision_at(newest))
}

/// Returns the revision of a file whose newest row is this one.
pub(super) fn revision_at(newest: Option<i64>) -> Revision {
    newest.map_or(Revision(FIRST_REVISION), |id| RowId(id).revision())
}

/// Returns the revision before which history may be missing.
pub(super) fn compacted_revision(connection: &Connection) -> rusqlite::Result<Revision> {
    connection.prepare_cached("SELECT revision FROM compacted")?.query_row([], |row| row.get(0)).map(Revision)
}

/// Returns the bytes of the file that hold something.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let one = |sql| -> rusqlite::Result<u64> {
        let number: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(number.unsigned_abs())
    };
    let pages = one("PRAGMA page_count")?.saturating_sub(one("PRAGMA freelist_count")?);
    Ok(pages * one("PRAGMA page_size")?)
}

fn check_marks(connection: &Connection) -> Result<()> {
    let number = |pragma: &str| -> rusqlite::Result<i32> {
        connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
    };
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(refused)?;
    let application = number("application_id").map_err(refused)?;
    let version = number("user_version").map_err(refused)?;
    if tables == 0 && application == 0 && version == 0 {
        return Ok(());
    }
    if application != APPLICATION_ID {
        return Err(Error::Unusable(Reason::boxed("the file is another program's, not an Ocelot store")));
    }
    if version != SCHEMA_VERSION {
        return Err(Error::Unusable(Reason::boxed(format!(
            "the store has schema version {version}; this program knows only {SCHEMA_VERSION}"
        ))));
    }
    Ok(())
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // The checkpointer does this beside the commits.
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = FULL;")?;
    connection.execute_batch("PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;")?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        // One transaction, so that a crash leaves either nothing or a store.
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        ))?;
    }
    Ok(())
}

fn check_whole(connection: &Connection) -> Result<()> {
    let found: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(refused)?;
    if found == "ok" { Ok(()) } else { Err(Error::Corrupt(Reason::boxed(found))) }
}

fn refused(error: rusqlite::Error) -> Error {
    match Blame::of(&error) {
        Blame::Corrupt => Error::Corrupt(Box::new(error)),
        Blame::Full => Error::Full(Box::new(error)),
        Blame::Disk | Blame::Refused => Error::Unusable(Box::new(error)),
    }
}

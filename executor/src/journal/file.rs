//! The file: its bytes, and who may write them.
//!
//! ```text
//! "ocelot-journal\n" | version |  then blocks:
//! | ff 'O' 'J' fe | length | crc32c | number of the last record | JSON ... |     little-endian
//! ```
//! The checksum covers the length, the number and the JSON. No JSON holds a block's first byte.
//!
//! Zeros may follow the last block: room for the next ones, so that their syncs need not wait for the
//! file system's own journal. It is made between two requests.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::state::{Record, Sequence, State};
use crate::disk::{Disk, DiskError};

const MAGIC: &[u8; 15] = b"ocelot-journal\n";
const VERSION: u32 = 1;
const FILE_HEADER: usize = MAGIC.len() + 4;
const BLOCK_MAGIC: [u8; 4] = [0xff, b'O', b'J', 0xfe];
const BLOCK_HEADER: usize = 20;
/// A file this large is rewritten, if its state is much smaller.
const COMPACT_BYTES: u64 = 1 << 20;
const COMPACT_FACTOR: u64 = 8;
/// Room that is made at once, and how little of it is left then.
const ROOM_BYTES: u64 = 256 * 1024;
const ROOM_BYTES_MIN: u64 = 32 * 1024;
/// Of it, what is kept in the machine's memory.
const NEAR_BYTES: u64 = 16 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Block {
    /// Everything before, and the first block of a file.
    State(State),
    Records(Vec<Record>),
}

/// The data directory, held by this process.
#[derive(Debug)]
pub(super) struct DataLock {
    /// The lock ends with the file, also when the process is killed.
    file: File,
}

impl DataLock {
    pub(super) fn take(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = opened.map_err(|source| JournalError::io("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut process = String::new();
                let read = (&file).take(32).read_to_string(&mut process);
                let process = process.trim().to_owned();
                let known = read.is_ok() && !process.is_empty();
                let process = if known { process } else { "unknown".to_owned() };
                return Err(JournalError::Held { path: directory.to_owned(), process });
            }
            Err(fs::TryLockError::Error(source)) => return Err(JournalError::io("lock", &path, source)),
        }
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|source| JournalError::io("write", &path, source))?;
        Ok(Self { file })
    }
}

impl Drop for DataLock {
    /// A child that was just forked still has the file open; the lock must not wait for it.
    fn drop(&mut self) {
        drop(self.file.unlock());
    }
}

/// The open journal file.
#[derive(Debug)]
pub(super) struct JournalFile {
    directory: PathBuf,
    path: PathBuf,
    disk: Arc<dyn Disk>,
    file: File,
    end: u64,
    /// Where the room ends.
    room: u64,
    /// Length at which the next rewriting is tried.
    compact_at: u64,
}

impl JournalFile {
    /// Opens the journal, or makes an empty one, and cuts off what was never acknowledged.
    pub(super) fn open(directory: &Path, disk: Arc<dyn Disk>) -> Result<(Self, State), JournalError> {
        let path = directory.join("journal");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let state = State::default();
                let (file, end) = write_anew(directory, &path, disk.as_ref(), &state)?;
                return Ok((Self::new(directory, path, disk, (file, end)), state));
            }
            Err(source) => return Err(JournalError::io("read", &path, source)),
        };
        let (state, end) = read(&path, &bytes)?;
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let file = opened.map_err(|source| JournalError::io("open", &path, source))?;
        if end < bytes.len() {
            file.set_len(end as u64).map_err(|source| JournalError::io("cut", &path, source))?;
        }
        // Who wrote it may have died before a sync, of the file or of its name.
        let synced = disk.sync(&path, &file).and_then(|()| disk.sync_directory(directory));
        synced.map_err(|source| JournalError::io("sync", &path, source))?;
        Ok((Self::new(directory, path, disk, (file, end as u64)), state))
    }

    fn new(directory: &Path, path: PathBuf, disk: Arc<dyn Disk>, (file, end): (File, u64)) -> Self {
        let directory = directory.to_owned();
        Self { directory, path, disk, file, end, room: end, compact_at: COMPACT_BYTES }
    }

    /// Writes one block and returns once it is durable. `last` is the number of its last record.
    pub(super) fn append(&mut self, last: Sequence, records: &[Record]) -> Result<(), JournalError> {
        let block = encode(&Block::Records(records.to_vec()), last);
        let written = self.disk.write(&self.path, &self.file, &block, self.end);
        if let Err(source) = written {
            // What a full disk took is overwritten by the next block; cutting it is only tidier.
            drop(self.file.set_len(self.end));
            return Err(JournalError::io("write", &self.path, source));
        }
        let synced = self.disk.sync(&self.path, &self.file);
        synced.map_err(|source| JournalError::io("sync", &self.path, source))?;
        self.end += block.len() as u64;
        Ok(())
    }

    /// Makes room for what comes, if there is little left. A full disk only makes the next syncs slower.
    pub(super) fn make_room_if_due(&mut self) -> Result<(), JournalError> {
        // The machine may have let go of it, and a block does not begin where one of the disk does.
        if let Err(error) = fadvise(&self.file, self.end, NonZero::new(NEAR_BYTES), Advice::WillNeed) {
            tracing::trace!(%error, "the next block may have to be read before it is written");
        }
        if self.end + ROOM_BYTES_MIN <= self.room {
            return Ok(());
        }
        let from = self.end.max(self.room);
        // Also where it fails: it is tried again only when so much has been written.
        self.room = from + ROOM_BYTES;
        let made = self.disk.make_room(&self.path, &self.file, from, self.room);
        match made.map_err(|source| JournalError::io("write", &self.path, source)) {
            Err(JournalError::Disk(DiskError::NoSpace { .. })) => {
                // Others need it more.
                drop(self.file.set_len(self.end));
                Ok(())
            }
            made => made,
        }
    }

    /// Rewrites the file as its state, when that is worth it. Failing leaves the file as it was.
    pub(super) fn compact_if_due(&mut self, state: &State) -> Result<(), JournalError> {
        if self.end < self.compact_at {
            return Ok(());
        }
        self.compact_at = 2 * self.end;
        let (file, end) = write_anew(&self.directory, &self.path, self.disk.as_ref(), state)?;
        self.file = file;
        (self.end, self.room) = (end, end);
        self.compact_at = COMPACT_BYTES.max(COMPACT_FACTOR * end);
        Ok(())
    }
}

/// Writes a journal that holds `state` only, and gives it its name once it is durable.
pub(super) fn write_anew(
    directory: &Path,
    path: &Path,
    disk: &dyn Disk,
    state: &State,
) -> Result<(File, u64), JournalError> {
    let new = directory.join("journal.new");
    let mut options = OpenOptions::new();
    let made = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&new);
    let file = made.map_err(|source| JournalError::io("make", &new, source))?;
    let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    bytes.extend_from_slice(&encode(&Block::State(state.clone()), state.sequence));
    disk.write(&new, &file, &bytes, 0).map_err(|source| JournalError::io("write", &new, source))?;
    disk.sync(&new, &file).map_err(|source| JournalError::io("sync", &new, source))?;
    fs::rename(&new, path).map_err(|source| JournalError::io("rename", &new, source))?;
    let synced = disk.sync_directory(directory);
    synced.map_err(|source| JournalError::io("sync", directory, source))?;
    Ok((file, bytes.len() as u64))
}

fn encode(block: &Block, last: Sequence) -> Vec<u8> {
    let json = serde_json::to_vec(block).expect("records have text keys only");
    let length = (json.len() as u32).to_le_bytes();
    let last = last.0.to_le_bytes();
    let mut bytes = Vec::with_capacity(BLOCK_HEADER + json.len());
    bytes.extend_from_slice(&BLOCK_MAGIC);
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&checksum(&length, &last, &json).to_le_bytes());
    bytes.extend_from_slice(&last);
    bytes.extend_from_slice(&json);
    bytes
}

fn checksum(length: &[u8], last: &[u8], json: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(length), last), json)
}

/// Returns the JSON and the last number of the whole block that `bytes` begin with, if one is there.
fn block(bytes: &[u8]) -> Option<(&[u8], Sequence)> {
    let rest = bytes.strip_prefix(&BLOCK_MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (last, rest) = rest.split_first_chunk::<8>()?;
    let json = rest.get(..u32::from_le_bytes(*length) as usize)?;
    let whole = checksum(length, last, json) == u32::from_le_bytes(*crc);
    whole.then(|| (json, Sequence(u64::from_le_bytes(*last))))
}

/// Returns the state that the bytes of a journal say, and how many of them count.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<(State, usize), JournalError> {
    let not = || JournalError::NotAJournal { path: path.to_owned() };
    let damaged = |at, why: String| JournalError::Damaged { path: path.to_owned(), at, why };
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(not)?;
    let version = u32::from_le_bytes(*rest.first_chunk().ok_or_else(not)?);
    if version != VERSION {
        return Err(JournalError::Version { path: path.to_owned(), version, known: VERSION });
    }
    let mut state = State::default();
    let mut at = FILE_HEADER;
    while let Some((json, last)) = block(&bytes[at..]) {
        let block = serde_json::from_slice(json);
        let block = block.map_err(|error| damaged(at, format!("a record is not understood: {error}")))?;
        match block {
            Block::State(whole) if at == FILE_HEADER => state = whole,
            Block::State(_) => return Err(damaged(at, "a second beginning".to_owned())),
            Block::Records(records) => {
                for record in &records {
                    state.apply(record).map_err(|illegal| damaged(at, illegal.to_string()))?;
                }
            }
        }
        if state.sequence != last {
            return Err(damaged(at, format!("record {} stands where {} must", last.0, state.sequence.0)));
        }
        at += BLOCK_HEADER + json.len();
    }
    if at == FILE_HEADER {
        return Err(damaged(at, "its first block is not whole".to_owned()));
    }
    let later = at + 1..bytes.len().max(at + 1);
    if let Some(behind) = later.into_iter().find(|place| block(&bytes[*place..]).is_some()) {
        return Err(damaged(at, format!("a block is not whole, but one behind it is, at byte {behind}")));
    }
    Ok((state, at))
}

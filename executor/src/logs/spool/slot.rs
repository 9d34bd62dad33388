//! The two checkpoint slots. The older one is overwritten, so that one is always whole.
//!
//! ```text
//! 0        4        8
//! | crc32c | length | JSON ... |      little-endian; the checksum covers the JSON
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelot_core::frame::Offset;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sha2::digest::common::hazmat::SerializableState;

use super::SpoolError;
use crate::disk::Disk;

const VERSION: u32 = 1;
const NAMES: [&str; 2] = ["checkpoint.0", "checkpoint.1"];
/// A longer checkpoint would be a fault of its maker.
const BYTES_MAX: u32 = 16 << 20;

/// What a slot says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u32,
    /// The higher one of two slots counts.
    sequence: u64,
    pub(super) length: Offset,
    /// Segments before this place were durable elsewhere, and need not be whole here.
    #[serde(default)]
    pub(super) first: Offset,
    /// The digest of the log so far, unfinished.
    digest: Vec<u8>,
    pub(super) maker: String,
}

impl Saved {
    pub(super) fn digest(&self) -> Option<Sha256> {
        Sha256::deserialize(&self.digest.as_slice().try_into().ok()?).ok()
    }
}

pub(super) struct Slots {
    files: [(PathBuf, Arc<File>); 2],
    sequence: u64,
}

impl Slots {
    /// Opens both slots, makes them if need be, and returns the newest whole checkpoint.
    ///
    /// It may have been written by a process that died before the sync: it is synced before it counts,
    /// since the next checkpoint takes the place of the other one.
    pub(super) fn open(directory: &Path, disk: &dyn Disk) -> Result<(Self, Option<Saved>), SpoolError> {
        let open = |name: &str| {
            let path = directory.join(name);
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            match file {
                Ok(file) => Ok((path, Arc::new(file))),
                Err(source) => Err(SpoolError::io("open", &path, source)),
            }
        };
        let files = [open(NAMES[0])?, open(NAMES[1])?];
        let mut newest: Option<Saved> = None;
        for (path, file) in &files {
            let saved = read(path, file)?;
            let newer = |saved: &Saved| newest.as_ref().is_none_or(|known| saved.sequence > known.sequence);
            if let Some(saved) = saved.filter(newer) {
                newest = Some(saved);
            }
        }
        let slots = Self { files, sequence: newest.as_ref().map_or(0, |saved| saved.sequence) };
        if newest.is_some() {
            let (path, file) = slots.place(slots.sequence);
            disk.sync(path, file).map_err(|source| SpoolError::io("sync", path, source))?;
        }
        Ok((slots, newest))
    }

    /// Opens the slots of a spool that was made ready; nothing where they are not there, or not empty.
    pub(super) fn open_empty(directory: &Path) -> Result<Option<Self>, SpoolError> {
        let [first, second] = NAMES.map(|name| directory.join(name));
        let (Some(one), Some(other)) = (open_empty(&first)?, open_empty(&second)?) else { return Ok(None) };
        Ok(Some(Self { files: [(first, one), (second, other)], sequence: 0 }))
    }

    /// Returns what is to be written for a checkpoint, and where.
    pub(super) fn prepare(
        &self,
        (first, length): (Offset, Offset),
        digest: &Sha256,
        maker: &str,
    ) -> Result<Slot, SpoolError> {
        let sequence = self.sequence + 1;
        let digest = digest.serialize().to_vec();
        let saved = Saved { version: VERSION, sequence, length, first, digest, maker: maker.to_owned() };
        let (path, file) = self.place(sequence);
        let json = serde_json::to_vec(&saved).expect("a checkpoint has text keys only");
        if json.len() > BYTES_MAX as usize {
            return Err(SpoolError::damaged(path, "the checkpoint is too large"));
        }
        let mut bytes = Vec::with_capacity(json.len() + 8);
        bytes.extend_from_slice(&crc32c::crc32c(&json).to_le_bytes());
        bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&json);
        Ok(Slot { sequence, path: path.clone(), file: Arc::clone(file), bytes })
    }

    fn place(&self, sequence: u64) -> &(PathBuf, Arc<File>) {
        &self.files[usize::from(sequence % 2 == 1)]
    }

    /// Notes that it was written.
    pub(super) fn written(&mut self, slot: &Slot) {
        self.sequence = slot.sequence;
    }
}

/// A checkpoint as it is written.
#[derive(Debug)]
pub(super) struct Slot {
    sequence: u64,
    path: PathBuf,
    file: Arc<File>,
    bytes: Vec<u8>,
}

impl Slot {
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<(), SpoolError> {
        let Self { path, file, bytes, .. } = self;
        disk.write(path, file, bytes, 0).map_err(|source| SpoolError::io("write", path, source))?;
        disk.sync(path, file).map_err(|source| SpoolError::io("sync", path, source))
    }
}

/// Opens a file that is there and empty.
pub(super) fn open_empty(path: &Path) -> Result<Option<Arc<File>>, SpoolError> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|source| SpoolError::io("open", path, source))?,
    };
    let length = file.metadata().map_err(|source| SpoolError::io("read", path, source))?.len();
    Ok((length == 0).then(|| Arc::new(file)))
}

/// Returns what the slot says; nothing where a write of it was cut off.
fn read(path: &Path, file: &File) -> Result<Option<Saved>, SpoolError> {
    let doing = |source| SpoolError::io("read", path, source);
    let mut bytes = Vec::new();
    file.take(u64::from(BYTES_MAX) + 8).read_to_end(&mut bytes).map_err(doing)?;
    let Some((crc, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
    let Some(json) = rest.get(..u32::from_le_bytes(*length) as usize) else { return Ok(None) };
    if crc32c::crc32c(json) != u32::from_le_bytes(*crc) {
        return Ok(None);
    }
    let version: Version =
        serde_json::from_slice(json).map_err(|error| SpoolError::damaged(path, error.to_string()))?;
    if version.version != VERSION {
        return Err(SpoolError::Version { path: path.to_owned(), version: version.version });
    }
    let saved = serde_json::from_slice(json).map_err(|error| SpoolError::damaged(path, error.to_string()))?;
    Ok(Some(saved))
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

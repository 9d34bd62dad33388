//! Reading a log file from its beginning: how much of it is whole, and its digest.

use std::io;

use ocelot_core::frame::{DATA_BYTES_MAX, HEADER_BYTES, whole_frames};
use sha2::{Digest as _, Sha256};

use super::disk::DiskFile;

/// Bytes read at a time: several of the longest frames.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// The whole frames at the front of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Scanned {
    pub(super) whole: u64,
    pub(super) sha256: Sha256,
}

/// Reads until the first thing that is no whole frame: what a crash cut off, and whatever it left
/// behind that.
pub(super) fn scan(file: &dyn DiskFile) -> io::Result<Scanned> {
    let mut scanned = Scanned::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let filled = file.read_at(&mut buffer, scanned.whole)?;
        let whole = whole_frames(&buffer[..filled]);
        scanned.sha256.update(&buffer[..whole]);
        scanned.whole += whole as u64;
        if whole == 0 || filled < buffer.len() {
            return Ok(scanned);
        }
    }
}

/// Finds what a crash left whole, and makes it durable before anyone is told of it.
pub(super) fn recover(file: &dyn DiskFile) -> io::Result<Scanned> {
    // What an earlier sync could not write is still in memory and looks written: only the disk's
    // own answer counts.
    file.sync()?;
    file.forget_cached()?;
    let scanned = scan(file)?;
    if file.size_bytes()? != scanned.whole {
        file.cut(scanned.whole)?;
        file.sync()?;
    }
    Ok(scanned)
}

const _: () = assert!(READ_BYTES >= HEADER_BYTES + DATA_BYTES_MAX, "one read holds any frame");

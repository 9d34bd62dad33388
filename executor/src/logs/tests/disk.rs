//! A disk of a process that dies: from a chosen call on, nothing is done any more.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use crate::disk::{Disk, MachineDisk};

#[derive(Debug, Default)]
pub(super) struct MortalDisk {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    calls: usize,
    dies_at: Option<usize>,
    full: bool,
    refused: bool,
}

impl MortalDisk {
    /// Dies with the call after so many more.
    pub(super) fn dying_after(calls: usize) -> Self {
        Self { inner: Mutex::new(Inner { dies_at: Some(calls), ..Inner::default() }) }
    }

    pub(super) fn is_dead(&self) -> bool {
        let inner = self.inner.lock().unwrap();
        inner.dies_at.is_some_and(|dies_at| inner.calls > dies_at)
    }

    pub(super) fn fill(&self, full: bool) {
        self.inner.lock().unwrap().full = full;
    }

    /// Whether somebody wrote while it was full.
    pub(super) fn has_refused(&self) -> bool {
        self.inner.lock().unwrap().refused
    }

    fn act(&self, act: impl FnOnce() -> io::Result<()>, writes: bool) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls += 1;
        if inner.dies_at.is_some_and(|dies_at| inner.calls > dies_at) {
            return Err(io::Error::from_raw_os_error(5));
        }
        if inner.full && writes {
            inner.refused = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        act()
    }
}

impl Disk for MortalDisk {
    fn write(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.act(|| MachineDisk.write(path, file, bytes, offset), true)
    }

    fn sync(&self, _: &Path, _: &File) -> io::Result<()> {
        self.act(|| Ok(()), false)
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        self.act(|| Ok(()), false)
    }
}

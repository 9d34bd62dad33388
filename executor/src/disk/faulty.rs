//! A disk for tests: it fails on demand, counts, and loses what was not synced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{Disk, MachineDisk};

#[derive(Debug, Default)]
pub(crate) struct FaultyDisk {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Content of each written file when it was last synced.
    synced: BTreeMap<PathBuf, Vec<u8>>,
    /// What was done, in order.
    calls: Vec<Call>,
    /// Bytes that may still be written before the disk is full.
    space: Option<usize>,
    failing_syncs: bool,
    /// Calls that are still made before the process is dead.
    calls_left: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Write(String),
    Sync(String),
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl FaultyDisk {
    /// From now on only so many more bytes can be written; none is no limit.
    pub(crate) fn space(&self, bytes: Option<usize>) {
        self.inner.lock().unwrap().space = bytes;
    }

    pub(crate) fn fail_syncs(&self, fail: bool) {
        self.inner.lock().unwrap().failing_syncs = fail;
    }

    /// From now on only so many more calls are made, as if the process died then; none is no limit.
    pub(crate) fn die_after(&self, calls: Option<usize>) {
        self.inner.lock().unwrap().calls_left = calls;
    }

    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.inner.lock().unwrap().calls)
    }

    /// Takes the power away: of what was written since its last sync, each file keeps a front that
    /// `keep` chooses, and behind it what was synced.
    pub(crate) fn cut_power(&self, mut keep: impl FnMut(usize) -> usize) {
        let mut inner = self.inner.lock().unwrap();
        for (path, synced) in &mut inner.synced {
            let Ok(now) = fs::read(path) else { continue };
            let kept = keep(now.len() + 1).min(now.len());
            let rest = synced.get(kept..).unwrap_or_default();
            *synced = [&now[..kept], rest].concat();
            fs::write(path, &*synced).unwrap();
        }
    }
}

impl Inner {
    fn called(&mut self, call: Call) -> io::Result<()> {
        if let Some(left) = &mut self.calls_left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the process is dead"))?;
        }
        let failing = self.failing_syncs && matches!(call, Call::Sync(_));
        self.calls.push(call);
        if failing { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

impl Disk for FaultyDisk {
    fn write(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        inner.called(Call::Write(name(path)))?;
        // What another name of the file was synced as counts for this one too.
        inner.synced.entry(path.to_owned()).or_insert_with(|| fs::read(path).unwrap_or_default());
        let room = inner.space.map_or(bytes.len(), |space| space.min(bytes.len()));
        inner.space = inner.space.map(|space| space - room);
        MachineDisk.write(path, file, &bytes[..room], offset)?;
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self, path: &Path, _: &File) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        inner.called(Call::Sync(name(path)))?;
        inner.synced.insert(path.to_owned(), fs::read(path)?);
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.inner.lock().unwrap().called(Call::Sync(name(path)))
    }

    fn make_room(&self, path: &Path, file: &File, from: u64, to: u64) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        if inner.failing_syncs {
            return Err(io::Error::from_raw_os_error(5));
        }
        if inner.space.is_some() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        MachineDisk.write(path, file, &vec![0; (to - from) as usize], from)?;
        inner.synced.insert(path.to_owned(), fs::read(path)?);
        Ok(())
    }
}

//! A disk that fails when told to, and that knows what a power cut would leave.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::disk::{Disk, DiskFile, Listed, MachineDisk};

#[derive(Debug, Clone, Default)]
pub(super) struct FlakyDisk {
    faults: Arc<Mutex<Faults>>,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Bytes that may still be written; none is any number.
    pub(super) room: Option<usize>,
    pub(super) sync_fails: bool,
    pub(super) syncs: usize,
    synced: HashMap<PathBuf, u64>,
}

#[derive(Debug)]
struct FlakyFile {
    inner: Arc<dyn DiskFile>,
    path: PathBuf,
    faults: Arc<Mutex<Faults>>,
}

impl FlakyDisk {
    pub(super) fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock().unwrap());
    }

    /// Lets no write go on until what is returned is dropped.
    pub(super) fn hold(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    pub(super) fn syncs(&self) -> usize {
        self.faults.lock().unwrap().syncs
    }

    /// Copies what a power cut leaves: of each file what was synced, `kept` of 256 parts of the
    /// rest, and then `junk`.
    pub(super) fn power_cut(&self, from: &Path, to: &Path, kept: u8, junk: &[u8]) {
        let faults = self.faults.lock().unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            if path.extension().is_some_and(|extension| extension == "log") {
                let synced = faults.synced.get(&path).map_or(0, |synced| *synced as usize);
                let rest = bytes.len().saturating_sub(synced) * usize::from(kept) / 256;
                bytes.truncate(synced + rest);
                bytes.extend_from_slice(junk);
            }
            std::fs::write(to.join(path.file_name().unwrap()), bytes).unwrap();
        }
    }

    fn wrap(&self, path: &Path, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FlakyFile { inner, path: path.to_owned(), faults: Arc::clone(&self.faults) })
    }
}

impl Disk for FlakyDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(path, MachineDisk.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(path, MachineDisk.create(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        MachineDisk.read(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        MachineDisk.replace(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        MachineDisk.remove(path)
    }

    fn ensure_directory(&self, path: &Path) -> io::Result<()> {
        MachineDisk.ensure_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Listed>> {
        MachineDisk.list(directory)
    }
}

impl DiskFile for FlakyFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.inner.size_bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fits = {
            let mut faults = self.faults.lock().unwrap();
            let fits = faults.room.map_or(bytes.len(), |room| room.min(bytes.len()));
            faults.room = faults.room.map(|room| room - fits);
            fits
        };
        self.inner.write_at(&bytes[..fits], offset)?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&self, size_bytes: u64) -> io::Result<()> {
        let mut faults = self.faults.lock().unwrap();
        if let Some(synced) = faults.synced.get_mut(&self.path) {
            *synced = size_bytes.min(*synced);
        }
        self.inner.cut(size_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_bytes()
    }

    fn sync_bytes(&self) -> io::Result<()> {
        // What is written while the sync runs may miss it.
        let size_bytes = self.inner.size_bytes()?;
        let mut faults = self.faults.lock().unwrap();
        faults.syncs += 1;
        if faults.sync_fails {
            // What could not be written is gone, whatever the memory still shows.
            self.inner.cut(faults.synced.get(&self.path).copied().unwrap_or(0))?;
            return Err(io::Error::other("input/output error"));
        }
        faults.synced.insert(self.path.clone(), size_bytes);
        Ok(())
    }

    fn forget_cached(&self) -> io::Result<()> {
        self.inner.forget_cached()
    }
}

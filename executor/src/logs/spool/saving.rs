//! Checkpoints: what reaches the disk, in which order, while the spool may go on.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use ocelot_core::frame::Offset;

use super::slot::Slot;
use super::{Spool, SpoolError};
use crate::disk::{Disk, DiskError};

/// A checkpoint to be written. It needs nothing of its spool until it is done.
#[derive(Debug)]
pub struct Saving {
    disk: Arc<dyn Disk>,
    segments: Vec<(PathBuf, Arc<File>)>,
    directories: Vec<PathBuf>,
    slot: Slot,
    end: Offset,
}

impl Saving {
    /// Writes it after the bytes that it speaks of. Blocks.
    pub fn run(&self) -> Result<(), SpoolError> {
        let doing = |path: &PathBuf, source| SpoolError::io("sync", path, source);
        for (path, file) in &self.segments {
            self.disk.sync(path, file).map_err(|source| doing(path, source))?;
        }
        for path in &self.directories {
            self.disk.sync_directory(path).map_err(|source| doing(path, source))?;
        }
        self.slot.write(self.disk.as_ref())
    }
}

impl Spool {
    /// Begins to make the log so far what a crash goes back to, with the words its maker needs to go
    /// on. Segments that are `durable` elsewhere as a whole are not synced.
    ///
    /// There is one at a time: nothing else is begun before [`Spool::end_checkpoint`].
    pub fn begin_checkpoint(&mut self, maker: &str, durable: Offset) -> Result<Saving, SpoolError> {
        self.usable()?;
        let next = self.segments.iter().skip(1);
        let spared = next.take_while(|next| next.start <= durable).count();
        let first = self.segments.get(spared).map_or(self.end, |first| first.start);
        let slot = self.slots.prepare((first, self.end), &self.digest, maker)?;
        let mut segments = Vec::new();
        for segment in self.segments.iter_mut().skip(spared).filter(|segment| !segment.synced) {
            // What is appended from here on unsays it; a sync that fails ends the spool.
            segment.synced = true;
            segments.push((segment.path.clone(), Arc::clone(&segment.file)));
        }
        let own = std::mem::take(&mut self.directory_changed).then(|| self.directory.clone());
        let directories = own.into_iter().chain(self.parent.take()).collect();
        Ok(Saving { disk: Arc::clone(&self.disk), segments, directories, slot, end: self.end })
    }

    /// Notes what became of it. After [`DiskError::NoSpace`] another one can be begun later.
    pub fn end_checkpoint(
        &mut self,
        saving: &Saving,
        saved: Result<(), SpoolError>,
    ) -> Result<(), SpoolError> {
        match &saved {
            Ok(()) => {
                self.slots.written(&saving.slot);
                self.checkpointed = saving.end;
            }
            // Only the slot is written, after everything else.
            Err(SpoolError::Disk(DiskError::NoSpace { .. })) => {}
            Err(_) => self.bad = true,
        }
        saved
    }

    /// Makes the log so far what a crash goes back to.
    pub fn checkpoint(&mut self, maker: &str, durable: Offset) -> Result<(), SpoolError> {
        let saving = self.begin_checkpoint(maker, durable)?;
        let saved = saving.run();
        self.end_checkpoint(&saving, saved)
    }

    /// Returns once every byte appended so far survives a power cut.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        self.usable()?;
        let synced = self.try_sync();
        self.bad |= synced.is_err();
        synced
    }

    fn try_sync(&mut self) -> Result<(), SpoolError> {
        for segment in self.segments.iter_mut().filter(|segment| !segment.synced) {
            let synced = self.disk.sync(&segment.path, &segment.file);
            synced.map_err(|source| SpoolError::io("sync", &segment.path, source))?;
            segment.synced = true;
        }
        let own = std::mem::take(&mut self.directory_changed).then(|| self.directory.clone());
        for path in own.into_iter().chain(self.parent.take()) {
            let synced = self.disk.sync_directory(&path);
            synced.map_err(|source| SpoolError::io("sync", &path, source))?;
        }
        Ok(())
    }
}

//! The few things that logs ask of a disk, so that a test can be a disk that fails.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::bytes::files::{self, Access};

/// A disk. All its calls block.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file that is there, to read and write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file to read and write, and makes it if it is not there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Reads a small file that was written whole.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Puts a small file in place of any other, durably, as are then all names made before beside it.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Deletes a file; one that is gone already is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the directory if it is not there, durably, as are then all names in it: who gave them may
    /// have died before.
    fn ensure_directory(&self, path: &Path) -> io::Result<()>;

    /// Returns the files of a directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<Listed>>;
}

/// One file of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub size_bytes: u64,
    pub modified: SystemTime,
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    fn size_bytes(&self) -> io::Result<u64>;

    /// Fills as much of `buffer` as there are bytes from `offset` on.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of it, or says why not; then any part of it may be there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    fn cut(&self, size_bytes: u64) -> io::Result<()>;

    /// Makes what was written, and the file's own name, durable. After an error it is not to be
    /// called again: the kernel has forgotten what it could not write.
    fn sync(&self) -> io::Result<()>;

    /// Makes what was written durable, and the file's own name not yet.
    fn sync_bytes(&self) -> io::Result<()>;

    /// Makes the next reads tell what the disk holds, not what memory does.
    fn forget_cached(&self) -> io::Result<()>;
}

/// The machine's own disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct MachineDisk;

#[derive(Debug)]
struct MachineFile {
    file: File,
    path: PathBuf,
    named: AtomicBool,
}

impl Disk for MachineDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        MachineFile::open(OpenOptions::new().read(true).write(true), path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        MachineFile::open(OpenOptions::new().read(true).write(true).create(true).truncate(false), path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        files::replace(path, bytes, Access::Usual)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn ensure_directory(&self, path: &Path) -> io::Result<()> {
        files::ensure_directory(path)?;
        fs::File::open(path)?.sync_all()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // It may vanish while the directory is read.
            let (Ok(metadata), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) else {
                continue;
            };
            listed.push(Listed { name, size_bytes: metadata.len(), modified: metadata.modified()? });
        }
        Ok(listed)
    }
}

impl MachineFile {
    fn open(options: &OpenOptions, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = options.open(path)?;
        Ok(Arc::new(Self { file, path: path.to_owned(), named: AtomicBool::new(false) }))
    }
}

impl DiskFile for MachineFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn cut(&self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_bytes()?;
        if !self.named.load(Ordering::Acquire) {
            files::sync_directory_of(&self.path)?;
            self.named.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn sync_bytes(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn forget_cached(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?)
    }
}

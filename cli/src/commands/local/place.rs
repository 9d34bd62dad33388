//! Where the fleet of a checkout keeps its things: one folder for each working tree, of one process at
//! a time, so that caches and mirrors are warm the next time.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::config::Environment;
use crate::error::{Error, Result};

/// Bytes of the digest that tells folders of one name apart.
const DIGEST_BYTES: usize = 4;

/// A folder that is this process's own until it ends.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    temporary: Option<TempDir>,
    /// The lock ends with it, also when the process is killed.
    lock: File,
}

impl Place {
    /// Opens the folder of a working tree; a temporary one if another process has that.
    pub(super) fn open(environment: &Environment, root: &Path) -> Result<Self> {
        if let Some(home) = environment.data_folder() {
            let folder = home.join("local").join(name(root));
            if let Some(lock) = lock(&folder).map_err(|source| unwritable(&folder, source))? {
                return Ok(Self { folder, temporary: None, lock });
            }
        }
        let made = tempfile::Builder::new().prefix("ocelot-local-").tempdir();
        let temporary = made.map_err(|source| unwritable(&std::env::temp_dir(), source))?;
        let folder = temporary.path().to_owned();
        let lock = File::open(&folder).map_err(|source| unwritable(&folder, source))?;
        Ok(Self { folder, temporary: Some(temporary), lock })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Where the commit of the tree is put. Always the same, so that a mirror of it stays warm.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("tree.git")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It holds what was not committed; without it only the next start has more to do.
        drop(fs::remove_dir_all(self.tree()));
        // A child that was just forked still has the file open; the lock must not wait for it.
        let _unlocked = flock(&self.lock, FlockOperation::Unlock);
    }
}

fn unwritable(folder: &Path, source: io::Error) -> Error {
    Error::Unwritable { file: folder.to_owned(), source }
}

/// Returns the lock, or nothing if another process has it.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let file = File::create(folder.join("lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The folder's own name, for people, with what tells it from others of that name.
fn name(root: &Path) -> String {
    let digest = Sha256::digest(root.as_os_str().as_bytes());
    let short: String = digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let own = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{own}-{short}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_working_tree_has_one_folder_and_a_second_process_gets_another() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment { data_home: Some(home.path().to_owned()), ..Environment::default() };
        let root = Path::new("/srv/shop");
        let first = Place::open(&environment, root).unwrap();
        let second = Place::open(&environment, root).unwrap();
        assert!(!first.is_temporary() && second.is_temporary());
        let (kept, gone) = (first.folder().to_owned(), second.folder().to_owned());
        drop((first, second));
        assert!(kept.exists() && !gone.exists());
        assert_eq!(Place::open(&environment, root).unwrap().folder(), kept);
        assert_ne!(Place::open(&environment, Path::new("/somewhere/shop")).unwrap().folder(), kept);
    }
}

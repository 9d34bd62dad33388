//! Writing a file so that after a crash it is there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// As the process's umask says.
    Usual,
    /// Only the user that this process runs as: keys and tokens.
    Owner,
}

/// Puts `bytes` in place of whatever is at `path`, durably.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let temporary = write_beside(path, bytes, access)?;
    std::fs::rename(&temporary, path).inspect_err(|_| forget(&temporary))?;
    sync_directory_of(path)
}

/// Puts `bytes` at `path`, durably, unless something is there: then says [`io::ErrorKind::AlreadyExists`].
pub fn create(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let temporary = write_beside(path, bytes, access)?;
    // Unlike a rename, a link never takes the place of what another controller just put there.
    let linked = std::fs::hard_link(&temporary, path);
    forget(&temporary);
    linked?;
    sync_directory_of(path)
}

/// Makes the names in the directory that holds `path` durable.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes the directory and those above it, durably.
pub fn ensure_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        ensure_directory(parent)?;
    }
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory_of(directory),
    }
}

/// Tells whether a file name is one that a crash may have left behind.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

const TEMPORARY: &str = ".new-";

fn write_beside(path: &Path, bytes: &[u8], access: Access) -> io::Result<PathBuf> {
    /// Tells the writers of one process apart.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!("{TEMPORARY}{}-{number}", std::process::id()));
        match open_new(&temporary, access) {
            Ok(mut file) => {
                let written = file.write_all(bytes).and_then(|()| file.sync_all());
                return written.inspect_err(|_| forget(&temporary)).map(|()| temporary);
            }
            // Another machine's process may have the same number in a directory that both share.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Opens a file that nobody else has open.
fn open_new(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if access == Access::Owner {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

fn forget(temporary: &Path) {
    // What is left is swept by name later; the error that matters is the one on its way up.
    if let Err(error) = std::fs::remove_file(temporary) {
        tracing::debug!(path = %temporary.display(), %error, "a temporary file stays behind");
    }
}

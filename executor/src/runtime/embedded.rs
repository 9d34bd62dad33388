//! The supervisor that this program carries, on disk where runtimes start it.
//!
//! It lies under its digest, so that executors of several versions share a data directory, and a
//! running container keeps the one that it was started with. A file that is not what it should be is
//! written anew before anything starts from it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ocelot-supervisor"));
const DIGEST: &str = env!("SUPERVISOR_SHA256");

/// Why there is no supervisor to start.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("this executor was built for a system that cannot run tasks itself; use one on Linux")]
    NotLinux,
    #[error("cannot write the supervisor to {path}", path = path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Puts the supervisor below the data directory, unless it is there, and returns its path. Blocks.
pub fn install(data: &Path) -> Result<PathBuf, InstallError> {
    if PROGRAM.is_empty() {
        return Err(InstallError::NotLinux);
    }
    let path = data.join("supervisor").join(DIGEST);
    match write(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(InstallError::Io { path, source }),
    }
}

/// Returns the folder that `install` keeps its files in.
pub(super) fn folder(data: &Path) -> PathBuf {
    data.join("supervisor")
}

fn write(path: &Path) -> io::Result<()> {
    if is_whole(path) {
        return Ok(());
    }
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let new = folder.join(format!("{DIGEST}.{}.new", std::process::id()));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o700).open(&new)?;
    file.write_all(PROGRAM)?;
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

fn is_whole(path: &Path) -> bool {
    let executable = fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o777 == 0o755);
    executable && fs::read(path).is_ok_and(|bytes| bytes == PROGRAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_or_unusable_copy_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        let path = install(data.path()).unwrap();
        assert!(is_whole(&path));
        fs::write(&path, b"half").unwrap();
        assert_eq!(install(data.path()).unwrap(), path);
        assert!(is_whole(&path));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        install(data.path()).unwrap();
        assert!(is_whole(&path));
        assert_eq!(fs::read_dir(folder(data.path())).unwrap().count(), 1);
    }

    #[test]
    fn it_needs_no_shared_library() {
        // A program header of type PT_INTERP (3) would name a loader that images do not have.
        let header = |at: usize| usize::from(u16::from_le_bytes([PROGRAM[at], PROGRAM[at + 1]]));
        let table = u64::from_le_bytes(PROGRAM[32..40].try_into().unwrap()) as usize;
        for entry in 0..header(56) {
            let at = table + entry * header(54);
            assert_ne!(PROGRAM[at..at + 4], [3, 0, 0, 0]);
        }
    }
}

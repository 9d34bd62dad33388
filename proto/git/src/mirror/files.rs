//! The files of a mirror, where git is not asked. Never follows a symlink.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::GitError;

/// Removes what a killed fetch left, and counts the packs.
pub(super) fn clean_packs(folder: &Path) -> std::io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("tmp_") {
            std::fs::remove_file(entry.path())?;
        } else if name.ends_with(".pack") {
            count += 1;
        }
    }
    Ok(count)
}

/// Removes every lock of git; only for whoever holds ours.
pub(super) fn remove_locks(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if name != "objects" {
                remove_locks(&entry.path())?;
            }
        } else if name.to_string_lossy().ends_with(".lock") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Counts what the files of a folder take on disk.
pub(super) fn size_of(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let found = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => Ok(metadata.blocks() * 512),
            Err(error) => Err(error),
        };
        bytes += match found {
            // A fetch moves its files while we count.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            found => found?,
        };
    }
    Ok(bytes)
}

/// Removes a folder, if it is there.
pub(super) async fn remove_folder(path: &Path) -> Result<(), GitError> {
    match tokio::fs::remove_dir_all(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(GitError::io("remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

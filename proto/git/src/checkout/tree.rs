//! The folder of a workspace: that it is ours and empty before, and the task's after.
//!
//! A symlink is never followed: it is given away as itself.

use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;

use crate::command::Git;
use crate::error::GitError;
use crate::setup::Account;

use super::Owner;

/// Makes the folder, or checks that it is empty, and lets git's account write there.
pub(super) async fn claim(git: &Git, workspace: &Path) -> Result<(), GitError> {
    tokio::fs::create_dir_all(workspace).await.map_err(GitError::io("make", workspace))?;
    let look = GitError::io("look at", workspace);
    let metadata = tokio::fs::symlink_metadata(workspace).await.map_err(look)?;
    let mut entries = tokio::fs::read_dir(workspace).await.map_err(GitError::io("read", workspace))?;
    let first = entries.next_entry().await.map_err(GitError::io("read", workspace))?;
    if first.is_some() || !metadata.is_dir() {
        return Err(GitError::Occupied { path: workspace.to_owned() });
    }
    if let Some(Account { uid, gid }) = git.setup().account {
        lchown(workspace, Some(uid), Some(gid)).map_err(GitError::io("give away", workspace))?;
    }
    Ok(())
}

/// Removes everything in the folder, which may be a mount and is therefore kept.
pub(super) async fn empty(workspace: &Path) -> Result<(), GitError> {
    let failed = || GitError::io("empty", workspace);
    let mut entries = tokio::fs::read_dir(workspace).await.map_err(failed())?;
    while let Some(entry) = entries.next_entry().await.map_err(failed())? {
        let folder = entry.file_type().await.map_err(failed())?.is_dir();
        let removed = match folder {
            true => tokio::fs::remove_dir_all(entry.path()).await,
            false => tokio::fs::remove_file(entry.path()).await,
        };
        removed.map_err(failed())?;
    }
    Ok(())
}

/// Gives the folder and all in it to an account.
pub(super) async fn give(workspace: &Path, owner: Owner) -> Result<(), GitError> {
    let path = workspace.to_owned();
    let given = tokio::task::spawn_blocking(move || give_all(&path, owner)).await;
    given.map_err(std::io::Error::other).flatten().map_err(GitError::io("give away", workspace))
}

/// Holds one folder open at a time: how deep they go is the repository's choice.
fn give_all(path: &Path, owner: Owner) -> std::io::Result<()> {
    let mut ahead = vec![path.to_owned()];
    while let Some(path) = ahead.pop() {
        let metadata = std::fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                ahead.push(entry?.path());
            }
        }
        if (metadata.uid(), metadata.gid()) != (owner.uid, owner.gid) {
            lchown(&path, Some(owner.uid), Some(owner.gid))?;
        }
    }
    Ok(())
}

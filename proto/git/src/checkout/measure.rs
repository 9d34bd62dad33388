//! What a commit unfolds to: a tree of a few objects can stand for any number of files.

use std::path::Path;

use crate::error::GitError;
use crate::mirror::Mirror;
use crate::reference::CommitId;

/// Files of one commit that are checked out.
const FILES_MAX: u64 = 1_000_000;
/// A size is padded to seven letters, and its end is one more.
const SIZE_BYTES: u64 = 8;

/// Checks that the files of a commit are not too many, and that the disk has room for them.
pub(super) async fn fits(mirror: &Mirror, commit: &CommitId, workspace: &Path) -> Result<(), GitError> {
    let listed = {
        let _life = mirror.reading().await?;
        let call = mirror.local_call("ls-tree").args(["-r", "-z", "--full-tree"]);
        let call = call.args(["--format=%(objectsize:padded)", "--end-of-options", commit.as_str()]);
        let most = usize::try_from(FILES_MAX * SIZE_BYTES).unwrap_or(usize::MAX);
        call.most(most).ask().await?
    };
    let (files, bytes) = counted(&listed.stdout);
    if listed.cut || files > FILES_MAX {
        return Err(GitError::Files { commit: commit.clone(), limit: FILES_MAX });
    }
    let disk = rustix::fs::statvfs(workspace).map_err(std::io::Error::from);
    let disk = disk.map_err(GitError::io("look at the disk of", workspace))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if bytes > free {
        return Err(GitError::Room { commit: commit.clone(), bytes, free });
    }
    Ok(())
}

/// Counts files and their bytes; a submodule has no size.
fn counted(listed: &[u8]) -> (u64, u64) {
    let sizes = listed.split(|byte| *byte == 0).filter(|size| !size.is_empty());
    sizes.fold((0, 0), |(files, bytes), size| {
        let size = std::str::from_utf8(size).ok().and_then(|size| size.trim().parse().ok()).unwrap_or(0);
        (files + 1, u64::saturating_add(bytes, size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_added_up_and_a_submodule_has_none() {
        assert_eq!(counted(b""), (0, 0));
        assert_eq!(counted(b"      4\0      -\0  12345\x0018446744073709551615\0"), (4, u64::MAX));
    }
}

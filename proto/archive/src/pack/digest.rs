//! The digest of some files' contents, as the key of a cache is made of.

use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{FileType, Stat, readlinkat};
use sha2::{Digest as _, Sha256};

use super::walk::{Found, Visit, walk};
use super::write::open;
use super::{Oddity, Selection};
use crate::Result;
use crate::error::failed;
use crate::limits::{Limits, Tally};
use crate::root::Root;

/// The digest of all selected files: their paths and contents, sorted; modes and times do not count.
///
/// A link counts by its target's text: what it leads to may lie outside. No file at all has a digest too.
pub fn digest_files(root: &Root, selection: Selection<'_>, limits: Limits) -> Result<[u8; 32]> {
    let mut files = Files { whole: Sha256::new(), tally: Tally::new(limits), limits };
    walk(root, selection, &mut files)?;
    Ok(files.whole.finalize().into())
}

struct Files {
    whole: Sha256,
    tally: Tally,
    limits: Limits,
}

impl Files {
    /// Lengths come first, so that no two lists of files read the same.
    fn add(&mut self, kind: &[u8; 4], path: &Path, contents: [u8; 32]) {
        let path = path.as_os_str().as_bytes();
        self.whole.update(kind);
        self.whole.update((path.len() as u64).to_be_bytes());
        self.whole.update(path);
        self.whole.update(contents);
    }
}

impl Visit for Files {
    fn directory(&mut self, _path: &Path, _stat: &Stat) -> Result<()> {
        Ok(())
    }

    fn leaf(&mut self, found: Found<'_>) -> Result<()> {
        match FileType::from_raw_mode(found.stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => {
                self.tally.entry(found.path, 0)?;
                let target = readlinkat(found.at, found.name, Vec::new())
                    .map_err(failed("read the link", found.path))?;
                self.add(b"link", found.path, Sha256::digest(target.as_bytes()).into());
                return Ok(());
            }
            FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket
            | FileType::Directory
            | FileType::Unknown => return Ok(()),
        }
        let Some((file, stat)) = open(&found)? else { return Ok(()) };
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        self.tally.entry(found.path, size)?;
        let mut contents = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        // What is appended meanwhile does not keep the digest from its end.
        let mut file = file.take(size);
        loop {
            let count = file.read(&mut buffer).map_err(failed("read", found.path))?;
            if count == 0 {
                break;
            }
            contents.update(&buffer[..count]);
        }
        self.add(b"file", found.path, contents.finalize().into());
        Ok(())
    }

    fn odd(&mut self, _path: &Path, _oddity: Oddity) {}

    fn depth(&self) -> usize {
        self.limits.depth
    }
}

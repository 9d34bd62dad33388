//! The directory that everything happens below, and the only way down from it.
//!
//! No link is ever followed on the way. The kernel sees to that in one call (`openat2`); where it
//! cannot, the way is walked one handle at a time, each opened without following.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::Result;
use crate::error::{Error, failed};
use crate::limits::Limit;

/// A directory is opened for what is in it, never for what it points to.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// More names than this in one directory are not listed.
const NAMES_MAX: usize = 1_000_000;

/// Deeper trees are not removed: each step down holds a handle.
const REMOVED_DEPTH_MAX: usize = 256;

/// An open directory that archives are made of or unpacked into.
#[derive(Debug)]
pub struct Root {
    handle: OwnedFd,
    /// Whether the kernel's own way down is not there.
    walks: AtomicBool,
}

impl Root {
    /// Opens a directory; the path to it is the caller's and may go through links.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
    }

    /// Never asks the kernel to resolve a whole path, as on one that cannot.
    #[must_use]
    pub fn walking(self) -> Self {
        self.walks.store(true, Ordering::Relaxed);
        self
    }

    /// Opens a directory below this one whose way has no link; an empty path is this one.
    pub(crate) fn directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        if path.as_os_str().is_empty() {
            return openat(&self.handle, ".", DIRECTORY, Mode::empty());
        }
        if !self.walks.load(Ordering::Relaxed) {
            match resolve(self.handle.as_fd(), path) {
                // A seccomp profile older than the call forbids it by EPERM.
                Err(Errno::NOSYS | Errno::PERM) => self.walks.store(true, Ordering::Relaxed),
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
        let mut at = openat(&self.handle, ".", DIRECTORY, Mode::empty())?;
        for part in path.components() {
            at = openat(&at, part.as_os_str(), DIRECTORY, Mode::empty())?;
        }
        Ok(at)
    }

    /// A root at a directory below this one.
    pub(crate) fn below(&self, handle: OwnedFd) -> Self {
        Self { handle, walks: AtomicBool::new(self.walks.load(Ordering::Relaxed)) }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl From<OwnedFd> for Root {
    fn from(handle: OwnedFd) -> Self {
        Self { handle, walks: AtomicBool::new(false) }
    }
}

#[cfg(target_os = "linux")]
fn resolve(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), beneath)
}

#[cfg(not(target_os = "linux"))]
fn resolve(_root: BorrowedFd<'_>, _path: &Path) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// What stands at a name, not what a link there points to.
pub(crate) fn kind_at(at: BorrowedFd<'_>, name: &OsStr) -> Result<Option<FileType>, Errno> {
    match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names in a directory, sorted by their bytes.
fn names(at: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for found in Dir::read_from(at)? {
        let found = found?;
        let name = found.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        if names.len() == NAMES_MAX {
            return Err(Errno::TOOBIG);
        }
        names.push(name.to_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// The names in the directory at `path`, or an error that says which it is.
pub(crate) fn list(at: BorrowedFd<'_>, path: &Path) -> Result<Vec<CString>> {
    names(at).map_err(|error| match error {
        Errno::TOOBIG => Error::TooMuch { limit: Limit::Siblings(NAMES_MAX as u64) },
        _ => failed("list", path)(error),
    })
}

/// Removes what stands at a name, with all below it, following nothing.
pub(crate) fn remove(at: BorrowedFd<'_>, name: &OsStr, depth: usize) -> Result<(), Errno> {
    match unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says ISDIR, others PERM.
        Err(Errno::ISDIR | Errno::PERM) if depth < REMOVED_DEPTH_MAX => {}
        Err(error) => return Err(error),
    }
    let inside = openat(at, name, DIRECTORY, Mode::empty())?;
    for name in names(inside.as_fd())? {
        remove(inside.as_fd(), OsStr::from_bytes(name.to_bytes()), depth + 1)?;
    }
    unlinkat(at, name, AtFlags::REMOVEDIR)
}

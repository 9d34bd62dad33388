//! The directory in which an archive is unpacked until it is known to be good.
//!
//! It lies directly below the root, for that is surely the root's file system, so moving in is a
//! matter of names. A lock on it says that its owner lives; `sweep` removes those of the dead.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, flock, mkdirat, openat};
use rustix::io::Errno;

use super::Policy;
use super::merge::Merge;
use super::place::Directories;
use crate::error::failed;
use crate::root::{DIRECTORY, Root, list, remove};
use crate::{Result, path};

/// So many archives may be unpacked into one root at a time.
const STAGES_MAX: usize = 1000;

/// What is unpacked, and what it replaced while it is moved in.
const NEW: &str = "new";
const OLD: &str = "old";

/// A directory that is gone when this value is.
pub(crate) struct Stage<'a> {
    root: &'a Root,
    name: OsString,
    /// Open for its lock alone.
    _lock: Root,
    new: Root,
    old: Root,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(root: &'a Root) -> Result<Self> {
        let mut tries = 0;
        let name = loop {
            let name = OsString::from(format!("{}{tries}", path::STAGE));
            match mkdirat(root, &name, Mode::RWXU) {
                Ok(()) => break name,
                Err(Errno::EXIST) if tries < STAGES_MAX => tries += 1,
                Err(error) => return Err(failed("unpack aside, in", Path::new(&name))(error)),
            }
        };
        Self::inhabit(root, &name).inspect_err(|_| {
            remove(root.as_fd(), &name, 0).ok();
        })
    }

    fn inhabit(root: &'a Root, name: &OsStr) -> Result<Self> {
        let made = || {
            let lock = root.below(openat(root, name, DIRECTORY, Mode::empty())?);
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            let inside = |part| {
                mkdirat(&lock, part, Mode::RWXU)?;
                openat(&lock, part, DIRECTORY, Mode::empty()).map(|handle| root.below(handle))
            };
            let (new, old) = (inside(NEW)?, inside(OLD)?);
            Ok(Self { root, name: name.to_owned(), _lock: lock, new, old })
        };
        made().map_err(|error: Errno| failed("unpack aside, in", Path::new(name))(error))
    }

    /// Where to unpack.
    pub(crate) fn inside(&self) -> &Root {
        &self.new
    }

    /// Moves all that was unpacked to where it belongs, or nothing of it.
    pub(crate) fn move_in(&self, directories: &Directories, policy: &Policy) -> Result<()> {
        let mut merge = Merge::new(self.root, &self.new, &self.old);
        let moved = merge.all().and_then(|()| directories.finish(self.root, policy, merge.kept()));
        if moved.is_err() {
            directories.reopen(self.root, merge.kept());
            merge.undo();
        }
        moved
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is left to `sweep`.
        remove(self.root.as_fd(), &self.name, 0).ok();
    }
}

/// Removes what programs that died while they unpacked left below `root`.
///
/// For a moment when nobody begins to unpack there: a stage is not locked yet as it is made.
pub fn sweep(root: &Root) -> Result<usize> {
    let mut swept = 0;
    for name in list(root.as_fd(), Path::new(""))? {
        if !path::is_stage(name.to_bytes()) {
            continue;
        }
        let name = OsStr::from_bytes(name.to_bytes());
        let Ok(left) = openat(root, name, DIRECTORY, Mode::empty()) else { continue };
        if flock(&left, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(root.as_fd(), name, 0).map_err(failed("remove", Path::new(name)))?;
            swept += 1;
        }
    }
    Ok(swept)
}

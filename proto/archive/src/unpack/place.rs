//! Makes entries below a root, by handles alone.
//!
//! Directories stay the program's own, and writable, until all is placed; then they get the modes
//! that the archive tells, the deepest first.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, futimens,
    mkdirat, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::{Finish, Finishes, Owner, Policy};
use crate::Result;
use crate::error::{Error, Shown, failed};
use crate::format::Member;
use crate::root::{DIRECTORY, Root, kind_at};

/// Contents on their way from the stream to a file.
const BUFFER: usize = 128 << 10;

/// Someone else may put a thing where one was just removed; not for ever.
const TRIES: usize = 3;

/// Directories that no entry tells the mode of.
const IMPLIED: Finish = Finish { mode: 0o755, mtime: 0 };

/// Where entries are put.
pub(crate) struct Place<'a> {
    root: &'a Root,
    owner: Option<Owner>,
    /// The directory that the last entry went to: most neighbours follow each other.
    last: Option<(PathBuf, OwnedFd)>,
    made: Directories,
    buffer: Vec<u8>,
}

/// The directories that were made, to be finished.
#[derive(Default)]
pub(crate) struct Directories(Finishes);

impl<'a> Place<'a> {
    pub(crate) fn new(root: &'a Root, policy: &Policy) -> Self {
        let made = Directories::default();
        Self { root, owner: policy.owner, last: None, made, buffer: vec![0; BUFFER] }
    }

    pub(crate) fn into_directories(self) -> Directories {
        self.made
    }

    pub(crate) fn directory(&mut self, path: &Path, member: &Member) -> Result<()> {
        self.open(path)?;
        // One that was there before this archive keeps what it has.
        if let Some(finish) = self.made.0.get_mut(path) {
            *finish = member.into();
        }
        Ok(())
    }

    pub(crate) fn file(
        &mut self,
        path: &Path,
        member: &Member,
        mut read: impl FnMut(&mut [u8]) -> Result<usize>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = self.fresh(path, |at, name| openat(at, name, flags, Mode::RUSR | Mode::WUSR))?;
        let mut file = File::from(made);
        loop {
            let count = read(&mut self.buffer)?;
            if count == 0 {
                break;
            }
            file.write_all(&self.buffer[..count]).map_err(failed("write", path))?;
        }
        finish(file.as_fd(), path, member.into(), self.owner)
    }

    pub(crate) fn link(&mut self, path: &Path, target: &[u8]) -> Result<()> {
        let owner = self.owner;
        self.fresh(path, |at, name| {
            symlinkat(target, at, name)?;
            let Some((uid, gid)) = owner.map(ids) else { return Ok(()) };
            chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    /// Makes what must not be there, after removing what is.
    fn fresh<T>(
        &mut self,
        path: &Path,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T> {
        let (parent, name) = split(path);
        let at = self.open(parent)?;
        for _ in 0..TRIES {
            match make(at, name) {
                Err(Errno::EXIST) => {}
                made => return made.map_err(failed("make", path)),
            }
            if kind_at(at, name).map_err(failed("look at", path))?.is_some_and(|kind| kind.is_dir()) {
                let what = "a directory stands there";
                return Err(Error::Occupied { path: Shown::path(path), what });
            }
            match unlinkat(at, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(failed("replace", path)(error)),
            }
        }
        Err(Error::Occupied { path: Shown::path(path), what: "others write there" })
    }

    /// The handle of a directory, made where it is not there, with all above it.
    fn open(&mut self, path: &Path) -> Result<BorrowedFd<'_>> {
        let known = self.last.as_ref().is_some_and(|(last, _)| last == path);
        if !known {
            let handle = match self.root.directory(path) {
                Err(Errno::NOENT) => self.make(path)?,
                opened => opened.map_err(|error| in_the_way(path, error))?,
            };
            self.last = Some((path.to_owned(), handle));
        }
        let (_, handle) = self.last.as_ref().expect("just put there");
        Ok(handle.as_fd())
    }

    fn make(&mut self, path: &Path) -> Result<OwnedFd> {
        let mut way = PathBuf::new();
        let mut at = self.root.directory(&way).map_err(failed("open", &way))?;
        for part in path.components() {
            let name = part.as_os_str();
            way.push(name);
            match mkdirat(&at, name, Mode::RWXU) {
                Ok(()) => {
                    self.made.0.insert(way.clone(), IMPLIED);
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(failed("make", &way)(error)),
            }
            at = openat(&at, name, DIRECTORY, Mode::empty()).map_err(|error| in_the_way(&way, error))?;
        }
        Ok(at)
    }
}

impl Directories {
    /// Gives each its mode, owner and time, except those that only took in what was unpacked.
    pub(crate) fn finish(&self, root: &Root, policy: &Policy, kept: &BTreeSet<PathBuf>) -> Result<()> {
        for (path, told) in self.0.iter().rev().filter(|(path, _)| !kept.contains(*path)) {
            let handle = root.directory(path).map_err(failed("open", path))?;
            finish(handle.as_fd(), path, *told, policy.owner)?;
        }
        Ok(())
    }

    /// Makes those writable again that may have been finished, as far as it goes.
    pub(crate) fn reopen(&self, root: &Root, kept: &BTreeSet<PathBuf>) {
        for path in self.0.keys().filter(|path| !kept.contains(*path)) {
            if let Ok(handle) = root.directory(path) {
                fchmod(handle, Mode::RWXU).ok();
            }
        }
    }
}

/// The owner comes first, for a change of owner may take bits of the mode away.
fn finish(made: BorrowedFd<'_>, path: &Path, told: Finish, owner: Option<Owner>) -> Result<()> {
    if let Some((uid, gid)) = owner.map(ids) {
        fchown(made, Some(uid), Some(gid)).map_err(failed("give away", path))?;
    }
    fchmod(made, Mode::from_raw_mode(told.mode & 0o777)).map_err(failed("set the mode of", path))?;
    if told.mtime == 0 {
        return Ok(());
    }
    let at = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let seconds = i64::try_from(told.mtime).unwrap_or(i64::MAX);
    let times = Timestamps { last_access: at(0, UTIME_OMIT), last_modification: at(seconds, 0) };
    futimens(made, &times).map_err(failed("set the time of", path))
}

fn ids(owner: Owner) -> (Uid, Gid) {
    (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid))
}

fn in_the_way(path: &Path, error: Errno) -> Error {
    match error {
        Errno::LOOP | Errno::NOTDIR => {
            Error::Occupied { path: Shown::path(path), what: "something on its way is no directory" }
        }
        _ => failed("open", path)(error),
    }
}

/// An entry's directory and its name there.
pub(crate) fn split(path: &Path) -> (&Path, &OsStr) {
    let name = path.file_name().expect("an entry's path was checked to end in a name");
    (path.parent().unwrap_or(Path::new("")), name)
}

//! Moves a good archive's entries in among what is there, and back out if one cannot be moved.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, openat, renameat};
use rustix::io::Errno;

use super::place::split;
use crate::Result;
use crate::error::{Error, Shown, failed};
use crate::root::{DIRECTORY, Root, kind_at, list};

/// One move in the making, remembered so that it can be taken back.
enum Moved {
    /// To a name where nothing stood.
    In(PathBuf),
    /// What stood at a name, to the old things under this number.
    Out(PathBuf, usize),
}

/// The moves of one archive.
pub(crate) struct Merge<'a> {
    root: &'a Root,
    new: &'a Root,
    old: &'a Root,
    done: Vec<Moved>,
    /// Directories that were there and only took entries in.
    kept: BTreeSet<PathBuf>,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(root: &'a Root, new: &'a Root, old: &'a Root) -> Self {
        Self { root, new, old, done: Vec::new(), kept: BTreeSet::new() }
    }

    /// Directories that were there before.
    pub(crate) fn kept(&self) -> &BTreeSet<PathBuf> {
        &self.kept
    }

    pub(crate) fn all(&mut self) -> Result<()> {
        let (root, new) = (self.root, self.new);
        self.level(new.as_fd(), root.as_fd(), Path::new(""))
    }

    fn level(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path) -> Result<()> {
        for name in list(from, path)? {
            let name = OsStr::from_bytes(name.to_bytes());
            self.entry(from, to, name, &path.join(name))?;
        }
        Ok(())
    }

    fn entry(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<()> {
        let look = |at| kind_at(at, name).map_err(failed("look at", path));
        let new = look(from)?;
        match look(to)? {
            None => {}
            Some(FileType::Directory) if new == Some(FileType::Directory) => {
                let open = |at| openat(at, name, DIRECTORY, Mode::empty()).map_err(failed("open", path));
                let (from, to) = (open(from)?, open(to)?);
                self.kept.insert(path.to_owned());
                return self.level(from.as_fd(), to.as_fd(), path);
            }
            Some(FileType::Directory) => {
                let what = "a directory stands there";
                return Err(Error::Occupied { path: Shown::path(path), what });
            }
            Some(_) => {
                let number = self.done.len();
                renameat(to, name, self.old, number.to_string()).map_err(failed("replace", path))?;
                self.done.push(Moved::Out(path.to_owned(), number));
            }
        }
        renameat(from, name, to, name).map_err(failed("move in", path))?;
        self.done.push(Moved::In(path.to_owned()));
        Ok(())
    }

    /// Takes the moves back, the last first; what cannot be taken back stays.
    pub(crate) fn undo(&mut self) {
        let (root, new, old) = (self.root, self.new, self.old);
        while let Some(moved) = self.done.pop() {
            // A failure here has a cause that was told already, and the rest is still worth trying.
            let _: Result<(), Errno> = match &moved {
                Moved::In(path) => back(root, path, new, &self.done.len().to_string()),
                Moved::Out(path, number) => forth(root, path, old, &number.to_string()),
            };
        }
    }
}

fn back(root: &Root, path: &Path, new: &Root, spare: &str) -> Result<(), Errno> {
    let (parent, name) = split(path);
    // A name no archive has, for what lay there may be in the way.
    renameat(root.directory(parent)?, name, new, format!("{}{spare}", crate::path::STAGE))
}

fn forth(root: &Root, path: &Path, old: &Root, number: &str) -> Result<(), Errno> {
    let (parent, name) = split(path);
    renameat(old, number, root.directory(parent)?, name)
}

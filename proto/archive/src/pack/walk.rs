//! The way through a tree that may change under the walk.
//!
//! Each directory is entered by its handle and each entry opened from there without following, so
//! that a directory swapped for a link is missed and never gone through.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, Stat, openat, statat};
use rustix::io::Errno;

use super::{Oddity, Select, Selection};
use crate::error::{Error, Shown, failed};
use crate::root::{DIRECTORY, Root, list};
use crate::{Result, path};

/// An entry that was selected.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) path: &'a Path,
    pub(crate) at: BorrowedFd<'a>,
    pub(crate) name: &'a OsStr,
    pub(crate) stat: Stat,
}

/// What is done with the entries of a walk.
pub(crate) trait Visit {
    /// A directory that is taken, before what is in it.
    fn directory(&mut self, path: &Path, stat: &Stat) -> Result<()>;
    /// Anything else that is taken; what is no file or link is the visitor's to refuse.
    fn leaf(&mut self, found: Found<'_>) -> Result<()>;
    /// Something that is left out though it was selected.
    fn odd(&mut self, path: &Path, oddity: Oddity);
    /// The deepest way that is gone.
    fn depth(&self) -> usize;
}

struct Walk<'a> {
    choice: Choice<'a>,
    visit: &'a mut dyn Visit,
    path: PathBuf,
    /// Directories gone into of which nothing is taken yet.
    pending: Vec<(PathBuf, Stat)>,
}

/// Walks what is selected below `root`, sorted by the bytes of names.
pub(crate) fn walk(root: &Root, selection: Selection<'_>, visit: &mut dyn Visit) -> Result<()> {
    let choice = Choice::new(selection)?;
    let taken = choice.all();
    let mut walk = Walk { choice, visit, path: PathBuf::new(), pending: Vec::new() };
    walk.below(root.as_fd(), taken)
}

impl Walk<'_> {
    fn below(&mut self, at: BorrowedFd<'_>, taken: bool) -> Result<()> {
        let top = self.path.as_os_str().is_empty();
        for name in list(at, &self.path)? {
            if top && path::is_stage(name.to_bytes()) {
                continue;
            }
            let name = OsStr::from_bytes(name.to_bytes());
            self.path.push(name);
            let done = self.entry(at, name, taken);
            self.path.pop();
            done?;
        }
        Ok(())
    }

    fn entry(&mut self, at: BorrowedFd<'_>, name: &OsStr, taken: bool) -> Result<()> {
        let stat = match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed("look at", &self.path)(error)),
        };
        let directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        let select = if taken { Select::Take } else { self.choice.ask(&self.path, directory) };
        match (select, directory) {
            (Select::Skip, _) | (Select::Descend, false) => Ok(()),
            (Select::Take, false) => {
                self.keep_parents()?;
                self.visit.leaf(Found { path: &self.path, at, name, stat })
            }
            (Select::Take, true) => {
                self.keep_parents()?;
                self.visit.directory(&self.path, &stat)?;
                self.enter(at, name, true)
            }
            (Select::Descend, true) => {
                let above = self.pending.len();
                self.pending.push((self.path.clone(), stat));
                let done = self.enter(at, name, false);
                self.pending.truncate(above);
                done
            }
        }
    }

    fn enter(&mut self, at: BorrowedFd<'_>, name: &OsStr, taken: bool) -> Result<()> {
        if self.path.components().count() > self.visit.depth() {
            return Err(Error::Name { path: Shown::path(&self.path), what: "the path is too deep" });
        }
        match openat(at, name, DIRECTORY, Mode::empty()) {
            Ok(inside) => self.below(inside.as_fd(), taken),
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {
                self.visit.odd(&self.path, Oddity::Vanished);
                Ok(())
            }
            Err(error) => Err(failed("open", &self.path)(error)),
        }
    }

    fn keep_parents(&mut self) -> Result<()> {
        for (path, stat) in std::mem::take(&mut self.pending) {
            self.visit.directory(&path, &stat)?;
        }
        Ok(())
    }
}

/// A selection whose paths have been checked.
enum Choice<'a> {
    Ask(&'a dyn Fn(&Path, bool) -> Select),
    Paths(Vec<PathBuf>),
}

impl<'a> Choice<'a> {
    fn new(selection: Selection<'a>) -> Result<Self> {
        let paths = match selection {
            Selection::Choose(ask) => return Ok(Self::Ask(ask)),
            Selection::Paths(paths) => paths,
        };
        let plain =
            |told: &PathBuf| path::plain(told).ok_or_else(|| Error::Selection { path: Shown::path(told) });
        paths.iter().map(plain).collect::<Result<_>>().map(Self::Paths)
    }

    /// Whether the root itself was named.
    fn all(&self) -> bool {
        match self {
            Self::Ask(_) => false,
            Self::Paths(paths) => paths.iter().any(|path| path.as_os_str().is_empty()),
        }
    }

    fn ask(&self, path: &Path, directory: bool) -> Select {
        match self {
            Self::Ask(ask) => ask(path, directory),
            Self::Paths(paths) if paths.iter().any(|told| told == path) => Select::Take,
            Self::Paths(paths) if directory && paths.iter().any(|told| told.starts_with(path)) => {
                Select::Descend
            }
            Self::Paths(_) => Select::Skip,
        }
    }
}

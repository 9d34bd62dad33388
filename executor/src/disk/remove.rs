//! Taking away a tree that a task wrote, whatever it made of it: of any depth, with folders shut.
//!
//! No link is followed. Neither the handles nor the stack that it takes grow with the depth, which
//! strangers choose: what lies too deep is moved up to the top and taken away from there.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, chmodat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Folders inside each other that are held open at a time.
const OPEN_MAX: usize = 32;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes what stands at a path, with all below it. Blocks.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent =
        rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    remove_at(parent.as_fd(), name)
}

fn remove_at(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        // Linux says ISDIR, others PERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        removed => return Ok(removed?),
    }
    let name = CString::new(name.as_encoded_bytes())?;
    let top = open(parent, &name)?;
    let mut sweep = Sweep { top: top.as_fd(), moved: 0 };
    // What was moved up while the top was swept is there the next time.
    loop {
        let before = sweep.moved;
        sweep.empty(top.as_fd(), 1)?;
        if sweep.moved == before {
            break;
        }
    }
    Ok(unlinkat(parent, name.as_c_str(), AtFlags::REMOVEDIR)?)
}

struct Sweep<'a> {
    top: BorrowedFd<'a>,
    /// How many folders were moved up.
    moved: u64,
}

impl Sweep<'_> {
    /// Removes all in a folder, but what it moves up.
    fn empty(&mut self, folder: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        for name in names(folder)? {
            match unlinkat(folder, name.as_c_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
            if depth >= OPEN_MAX {
                self.move_up(folder, &name)?;
                continue;
            }
            let inner = open(folder, &name)?;
            self.empty(inner.as_fd(), depth + 1)?;
            unlinkat(folder, name.as_c_str(), AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }

    /// Moves a folder to the top, under a name that nobody has there.
    fn move_up(&mut self, folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        // Its own entry `..` changes, for which it must be open to its owner.
        drop(open(folder, name)?);
        loop {
            self.moved += 1;
            let there = format!(".ocelot-gone-{}", self.moved);
            match renameat(folder, name, self.top, there.as_str()) {
                // Something of the task's has this name, and goes in its turn.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                moved => return Ok(moved?),
            }
        }
    }
}

/// Opens a folder for all that is to be done with it, also one that its owner has shut.
fn open(at: BorrowedFd<'_>, name: &CStr) -> io::Result<std::os::fd::OwnedFd> {
    let folder = match openat(at, name, FOLDER, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
            openat(at, name, FOLDER, Mode::empty())?
        }
        folder => folder?,
    };
    let mode = rustix::fs::fstat(&folder)?.st_mode;
    if Mode::from_raw_mode(mode) & Mode::RWXU != Mode::RWXU {
        rustix::fs::fchmod(&folder, Mode::RWXU)?;
    }
    Ok(folder)
}

fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::mkdirat;

    use super::*;

    #[test]
    fn a_tree_goes_whatever_is_in_it_and_nothing_that_it_points_to() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("outside/kept")).unwrap();
        fs::create_dir_all(at("tree/a/b")).unwrap();
        fs::create_dir_all(at("tree/.ocelot-gone-1/x")).unwrap();
        fs::write(at("tree/a/file"), "").unwrap();
        symlink(at("outside"), at("tree/a/b/link")).unwrap();
        for shut in ["tree/a/b", "tree/a"] {
            fs::set_permissions(at(shut), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&at("tree")).unwrap();
        assert!(!at("tree").exists() && at("outside/kept").exists());
        fs::write(at("file"), "").unwrap();
        symlink(at("outside"), at("link")).unwrap();
        remove_tree(&at("file")).unwrap();
        remove_tree(&at("link")).unwrap();
        assert!(at("outside/kept").exists());
        assert_eq!(remove_tree(&at("tree")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_tree_that_is_deeper_than_any_stack_goes_too() {
        const DEEP: usize = 50_000;
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at: std::os::fd::OwnedFd = fs::File::open(&tree).unwrap().into();
        for _ in 0..DEEP {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = openat(&at, "d", FOLDER, Mode::empty()).unwrap();
        }
        drop(at);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}

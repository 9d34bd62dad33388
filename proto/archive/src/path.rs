//! Which names an archive may use. Pure: nothing here touches a file system.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Shown};
use crate::limits::Limits;

/// No file system of ours takes a longer name.
const NAME_MAX: usize = 255;

/// The first part of the directory names that `unpack` keeps for itself, directly below a root.
pub(crate) const STAGE: &str = ".ocelot-unpack-";

/// An entry's path below the root, or `None` where it is the root itself.
pub(crate) fn entry(raw: &[u8], limits: &Limits) -> Result<Option<PathBuf>, Error> {
    let refused = |what| Err(Error::Name { path: Shown::bytes(raw), what });
    if raw.is_empty() {
        return refused("the name is empty");
    }
    if raw.contains(&0) {
        return refused("the name has a NUL");
    }
    if raw[0] == b'/' {
        return refused("the path is absolute");
    }
    let mut rest = raw.strip_suffix(b"/").unwrap_or(raw);
    while let Some(after) = rest.strip_prefix(b"./") {
        rest = after;
    }
    if rest.is_empty() || rest == b"." {
        return Ok(None);
    }
    let path = PathBuf::from(OsStr::from_bytes(rest));
    for part in rest.split(|byte| *byte == b'/') {
        match part {
            b"" => return refused("a part of the path is empty"),
            b".." => return refused("the path climbs"),
            b"." => return refused("a part of the path is a dot"),
            _ => {}
        }
    }
    if is_stage(rest) {
        return refused("the name is kept for unpacking");
    }
    match fits(&path, limits) {
        Ok(()) => Ok(Some(path)),
        Err(what) => refused(what),
    }
}

/// Whether a name directly below a root belongs to `unpack` itself.
pub(crate) fn is_stage(name: &[u8]) -> bool {
    name.starts_with(STAGE.as_bytes())
}

/// Whether a path is short and shallow enough.
pub(crate) fn fits(path: &Path, limits: &Limits) -> Result<(), &'static str> {
    let mut depth = 0;
    for part in path.components() {
        depth += 1;
        if part.as_os_str().len() > NAME_MAX {
            return Err("a part of the path is too long");
        }
    }
    if path.as_os_str().len() > limits.path {
        return Err("the path is too long");
    }
    if depth > limits.depth {
        return Err("the path is too deep");
    }
    Ok(())
}

/// Whether a link at `path` with this target stays below the root, whoever follows it.
///
/// `..` may only lead: all parents of an entry are real directories, so leading ones climb exactly as
/// many steps as they say. A later one would climb from wherever another link led to.
pub(crate) fn stays_inside(path: &Path, target: &[u8], limits: &Limits) -> bool {
    if target.is_empty() || target.len() > limits.path || target.contains(&0) || target[0] == b'/' {
        return false;
    }
    let mut room = path.components().count().saturating_sub(1);
    let mut leads = true;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if leads && room > 0 => room -= 1,
            b".." => return false,
            _ => leads = false,
        }
    }
    true
}

/// A path that the caller names, in the form that the walk meets it in.
pub(crate) fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!path.as_os_str().is_empty()).then_some(plain)
}

//! Starts a supervisor inside its control group.
//!
//! Moving a running process into a group waits for a grace period of the whole kernel (ten
//! milliseconds and more), and every fork of the machine waits with it. A process that is born there
//! costs nothing, and is nowhere else for a moment.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys;

/// Starts a program in a group of the new kind and returns its number; none where that cannot be had,
/// and nothing was started. The caller is its parent, and has to look for its end. Blocks until the
/// program is loaded.
pub fn spawn_in_group(
    group: &Path,
    program: &Path,
    arguments: &[&OsStr],
    stderr: &File,
) -> io::Result<Option<i32>> {
    let Ok(group) = File::open(group) else { return Ok(None) };
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    let words = std::iter::once(program.as_os_str()).chain(arguments.iter().copied());
    let words: Result<Vec<_>, _> = words.map(|word| CString::new(word.as_bytes())).collect();
    sys::spawn_in_group(group.as_fd(), &words?, [nothing.as_fd(), nothing.as_fd(), stderr.as_fd()])
}

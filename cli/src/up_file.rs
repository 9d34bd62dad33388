//! The file by which `ocelot` finds the `ocelot up` that this user runs on this machine.
//!
//! It is there while `up` runs and goes with it; after a crash it is left, and the process that it
//! names is gone. Only its owner can read it: it holds the token.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::config::replace;

/// What is known of the `up` that runs here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpFile {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) pid: u32,
    /// Of its certificate, once it listens beyond loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
}

/// What was found where the file belongs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Running(UpFile),
    /// Its process is gone, or never wrote it to its end.
    Stale {
        pid: Option<u32>,
    },
}

/// Where the file belongs, in the folder of this user's state.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join("up.json")
}

impl UpFile {
    /// Puts the file in its place, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        replace(path, serde_json::to_string_pretty(self)?.as_bytes())
    }

    /// Takes the file away, unless another `up` has put its own there.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        match read(path) {
            Some(other) if other.pid != self.pid => Ok(()),
            Some(_) | None => match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                ended => ended,
            },
        }
    }
}

/// Looks for the `up` of this user.
pub(crate) fn find(path: &Path) -> Found {
    if !path.exists() {
        return Found::Nothing;
    }
    match read(path) {
        Some(file) if lives(file.pid) => Found::Running(file),
        Some(file) => Found::Stale { pid: Some(file.pid) },
        None => Found::Stale { pid: None },
    }
}

fn read(path: &Path) -> Option<UpFile> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| match test_kill_process(pid) {
        Ok(()) => true,
        Err(error) => error == rustix::io::Errno::PERM,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(pid: u32) -> UpFile {
        UpFile { url: "http://127.0.0.1:7070".into(), token: "t".into(), pid, fingerprint: None }
    }

    #[test]
    fn the_one_that_runs_is_found_and_only_its_user_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder.path().join("ocelot"));
        assert_eq!(find(&path), Found::Nothing);
        let own = file(std::process::id());
        own.write(&path).unwrap();
        assert_eq!(find(&path), Found::Running(own.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        own.remove(&path).unwrap();
        assert_eq!(find(&path), Found::Nothing);
        own.remove(&path).unwrap();
    }

    #[test]
    fn one_whose_process_is_gone_is_stale() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id();
        child.wait().unwrap();
        file(gone).write(&path).unwrap();
        assert_eq!(find(&path), Found::Stale { pid: Some(gone) });
        fs::write(&path, b"{").unwrap();
        assert_eq!(find(&path), Found::Stale { pid: None });
    }

    #[test]
    fn another_ones_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let own = file(std::process::id());
        own.write(&path).unwrap();
        file(1).remove(&path).unwrap();
        assert_eq!(find(&path), Found::Running(own));
    }
}

//! Where the things of one attempt's log are.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::attempt_log::LogSettings;
use super::kept::Kept;
use super::news::NewsSender;
use crate::attempt::AttemptId;

/// Holds where the capture is.
const CAPTURE: &str = "capture";

/// One attempt's log: how it is kept, and who hears of it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) settings: LogSettings,
    pub(super) id: AttemptId,
    pub(super) directory: PathBuf,
    pub(super) news: NewsSender,
}

impl Place {
    pub(super) fn spool(&self) -> PathBuf {
        spool_in(&self.directory)
    }

    pub(super) fn kept(&self) -> Kept {
        Kept::new(self.settings.memory.as_deref(), &self.directory, self.id)
    }
}

/// Returns where the spool of a log in this directory is.
pub(super) fn spool_in(directory: &Path) -> PathBuf {
    directory.join("spool")
}

/// Returns where the capture of a log in this directory is, once it was said.
pub(super) fn followed(directory: &Path) -> Option<PathBuf> {
    let path = fs::read(directory.join(CAPTURE)).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(&path)))
}

/// Notes where the capture is. The next process may not be told, and must not miss it.
pub(super) fn note_followed(directory: &Path, control: &Path) -> io::Result<()> {
    let new = directory.join("capture.new");
    fs::write(&new, control.as_os_str().as_bytes())?;
    fs::rename(new, directory.join(CAPTURE))
}

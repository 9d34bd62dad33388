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
        self.directory.join("spool")
    }

    pub(super) fn kept(&self) -> Kept {
        Kept::new(self.settings.memory.as_deref(), &self.directory, self.id)
    }

    /// Returns where the capture is, once it was said: the next process may not be told.
    pub(super) fn followed(&self) -> Option<PathBuf> {
        let path = fs::read(self.capture()).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(&path)))
    }

    pub(super) fn note_followed(&self, control: &Path) -> io::Result<()> {
        let new = self.directory.join("capture.new");
        fs::write(&new, control.as_os_str().as_bytes())?;
        fs::rename(new, self.capture())
    }

    fn capture(&self) -> PathBuf {
        self.directory.join("capture")
    }
}

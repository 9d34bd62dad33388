//! A child of this process, whatever started it: only a parent learns an exit status, and only once.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::runtime::UNKNOWN_STATUS;

/// A supervisor that this process started.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    control: PathBuf,
    /// Once it has ended and was taken off the kernel's table: its number may be another's now.
    status: Option<i64>,
}

impl Child {
    pub(super) fn new(pid: Pid, control: &Path) -> Self {
        Self { pid, control: control.to_owned(), status: None }
    }

    /// Returns the control directory that it was started for.
    pub(super) fn control(&self) -> &Path {
        &self.control
    }

    pub(super) fn look(&mut self) -> io::Result<ChildState> {
        if self.status.is_none()
            && let Some((_, ended)) = waitpid(Some(self.pid), WaitOptions::NOHANG)?
        {
            let by_signal = ended.terminating_signal().map(|signal| 128 + signal);
            self.status = Some(ended.exit_status().or(by_signal).map_or(UNKNOWN_STATUS, i64::from));
        }
        Ok(self.status.map_or(ChildState::Runs, ChildState::Ended))
    }
}

/// What a child of this process does.
pub(super) enum ChildState {
    Runs,
    /// With its status as the shell counts.
    Ended(i64),
}

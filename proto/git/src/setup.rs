//! How git is run on this machine, as an operator decides it.
//!
//! The programs read the environment and their settings and say it here; this crate reads neither.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::guard::Guard;
use crate::url::Allowed;

/// The account that git runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
}

/// How git is run here. The caller reads the environment; nothing of it is passed on by itself.
#[derive(Debug, Clone)]
pub struct Setup {
    /// A path, or a name that is looked for in `path`.
    pub program: PathBuf,
    /// `PATH` of git and its children.
    pub path: OsString,
    /// An empty folder of ours, `HOME` of git.
    pub home: PathBuf,
    /// Where ssh keys lie while they are used; a folder in memory.
    pub secrets: PathBuf,
    /// `https_proxy`, `no_proxy` and the like.
    pub proxies: Vec<(String, String)>,
    pub allowed: Allowed,
    /// An account that is neither ours nor a task's; files of mirrors are its own.
    pub account: Option<Account>,
    /// Whether a server may point elsewhere at the first request; the host there is checked by no one.
    pub redirects: bool,
    /// The operator knows that this old version has been mended.
    pub submodules_below_floor: bool,
    /// Decides which servers may be spoken to; without one all may.
    pub guard: Option<Arc<dyn Guard>>,
    /// How long a call may take that speaks to a server.
    pub remote_limit: Duration,
    /// How long a call may take that stays on this machine.
    pub local_limit: Duration,
}

impl Setup {
    pub fn new(home: impl Into<PathBuf>, secrets: impl Into<PathBuf>) -> Self {
        Self {
            program: PathBuf::from("git"),
            path: OsString::from("/usr/local/bin:/usr/bin:/bin"),
            home: home.into(),
            secrets: secrets.into(),
            proxies: Vec::new(),
            allowed: Allowed::default(),
            account: None,
            redirects: false,
            guard: None,
            submodules_below_floor: false,
            remote_limit: Duration::from_mins(10),
            local_limit: Duration::from_mins(5),
        }
    }
}

//! What holds for every run of git, whatever a repository says: its settings on the command line, which
//! come before those of any file, and its environment.

use crate::url::Allowed;

/// What git may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocols {
    None,
    /// What the operator allows, to a server.
    Remote,
    /// From a mirror into a workspace.
    Local,
}

pub(crate) const FIXED_VARIABLES: &[(&str, &str)] = &[
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_PROTOCOL_FROM_USER", "0"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
];

pub(crate) const FIXED_SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.askPass=",
    "credential.helper=",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "transfer.fsckObjects=true",
    "fetch.fsckObjects=true",
    // Old histories hold these; they harm no one, and nobody can mend them any more.
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.missingSpaceBeforeEmail=ignore",
    "fetch.fsck.missingNameBeforeEmail=ignore",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    // Every folder that we name is of our making, whichever account owns it.
    "safe.directory=*",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "advice.detachedHead=false",
];

/// The git that gives a repository of this machine away hears none of the settings above, and would
/// refuse one of another account's: the operator has allowed it.
pub(crate) const SERVES_FILES: &str = "remote.origin.uploadpack=git -c safe.directory=* upload-pack";

impl Protocols {
    pub(crate) fn list(self, allowed: Allowed) -> String {
        let mut list = match self {
            Self::None => return "none".to_owned(),
            Self::Local => return "file".to_owned(),
            Self::Remote => "https:ssh".to_owned(),
        };
        if allowed.http {
            list.push_str(":http");
        }
        if allowed.file {
            list.push_str(":file");
        }
        list
    }

    pub(crate) fn reads_files(self, allowed: Allowed) -> bool {
        match self {
            Self::None => false,
            Self::Local => true,
            Self::Remote => allowed.file,
        }
    }
}

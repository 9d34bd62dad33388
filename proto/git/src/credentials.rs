//! How a secret reaches git and nothing else.
//!
//! A user and password are variables of that one git process, named (never held) by a credential helper
//! that is bound to the server of the URL. `/proc/PID/environ` is readable by the same account and root
//! alone, who could read our own memory as well; an argument is readable by everyone, and a pipe would
//! have to be inherited, also by whatever else starts at that moment. An ssh key must be a file: 0600,
//! of a name never used twice, in the caller's folder in memory, removed when the call ends.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use crate::error::GitError;
use crate::setup::Account;
use crate::url::{RepositoryUrl, Scheme};

const SECRET_BYTES_MAX: usize = 64 * 1024;

/// The variable that holds how git calls ssh.
pub(crate) const SSH_COMMAND: &str = "GIT_SSH_COMMAND";

/// The helper reads what git asks, and answers a question only.
const HELPER: &str = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \
                      \"$OCELOT_GIT_USER\" \"$OCELOT_GIT_SECRET\"; }; f";

/// Why a secret cannot be given to git.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    #[error(
        "a user name or password must not hold a line break or NUL, and has at most {SECRET_BYTES_MAX} bytes"
    )]
    Text,
    #[error("an ssh key does not fit a https:// repository; store a user and token instead")]
    KeyForHttp,
    #[error("a user and token do not fit an ssh:// repository; store an ssh key instead")]
    BasicForSsh,
    #[error("a secret folder or known_hosts file has a name that ssh cannot be given")]
    Place,
}

/// What a server is shown, so that it lets us read.
#[derive(Clone, Default)]
pub enum Credentials {
    #[default]
    None,
    /// A user and a password or token, over https.
    Basic { user: String, secret: Zeroizing<String> },
    /// A private key, and the server's lines of `known_hosts` where they were given.
    SshKey { private_key: Zeroizing<String>, known_hosts: Option<String> },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Basic { user, .. } => write!(f, "Basic {{ user: {user:?}, .. }}"),
            Self::SshKey { .. } => f.write_str("SshKey { .. }"),
        }
    }
}

/// What one call of git needs to know the secret; files go when it is dropped.
#[derive(Default)]
pub(crate) struct Lease {
    pub(crate) settings: Vec<String>,
    pub(crate) variables: Vec<(&'static str, Zeroizing<String>)>,
    /// What must not be shown, should git or the server say it.
    pub(crate) hidden: Vec<Zeroizing<String>>,
    files: Vec<PathBuf>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        for file in &self.files {
            if let Err(error) = std::fs::remove_file(file) {
                tracing::warn!(%error, "cannot remove the file of an ssh key");
            }
        }
    }
}

/// Where files of secrets and of the servers' keys are put.
pub(crate) struct Place<'a> {
    pub(crate) secrets: &'a Path,
    /// Takes the key of a server that is met for the first time.
    pub(crate) known: &'a Path,
    pub(crate) account: Option<Account>,
}

impl Credentials {
    pub(crate) fn lease(&self, url: &RepositoryUrl, place: &Place<'_>) -> Result<Lease, GitError> {
        let mut lease = Lease::default();
        match (self, url.scheme()) {
            (_, Scheme::File) | (Self::None, Scheme::Https | Scheme::Http) => {}
            (Self::Basic { user, secret }, Scheme::Https | Scheme::Http) => {
                let plain = |text: &str| text.len() <= SECRET_BYTES_MAX && !text.contains(['\n', '\r', '\0']);
                if !plain(user) || !plain(secret) {
                    return Err(CredentialsError::Text.into());
                }
                lease.settings.push(format!("credential.{}.helper={HELPER}", url.server()));
                lease.variables.push(("OCELOT_GIT_USER", Zeroizing::new(user.clone())));
                lease.variables.push(("OCELOT_GIT_SECRET", secret.clone()));
                lease.hidden.push(secret.clone());
            }
            (Self::Basic { .. }, Scheme::Ssh) => return Err(CredentialsError::BasicForSsh.into()),
            (Self::SshKey { .. }, Scheme::Https | Scheme::Http) => {
                return Err(CredentialsError::KeyForHttp.into());
            }
            (Self::None, Scheme::Ssh) => lease.ssh("none", place.known, Trust::FirstSeen)?,
            (Self::SshKey { private_key, known_hosts }, Scheme::Ssh) => {
                let mut text = private_key.clone();
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                let key = lease.file(place, &text)?;
                let key = key.to_str().ok_or(CredentialsError::Place)?.to_owned();
                match known_hosts {
                    None => lease.ssh(&key, place.known, Trust::FirstSeen)?,
                    Some(lines) => {
                        let known = lease.file(place, lines)?;
                        lease.ssh(&key, &known, Trust::Given)?;
                    }
                }
            }
        }
        Ok(lease)
    }
}

#[derive(Clone, Copy)]
enum Trust {
    Given,
    FirstSeen,
}

impl Lease {
    /// Writes a file that only the account of git can read.
    fn file(&mut self, place: &Place<'_>, text: &str) -> Result<PathBuf, GitError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = place.secrets.join(format!("git-{}-{number}", std::process::id()));
        // A name left by a process that died with this pid; the file itself is always made anew.
        let _stale = std::fs::remove_file(&path);
        let failed = |source| GitError::Io { what: "write", path: path.clone(), source };
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        self.files.push(path.clone());
        if let Some(Account { uid, gid }) = place.account {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid)).map_err(failed)?;
        }
        file.write_all(text.as_bytes()).map_err(failed)?;
        Ok(path)
    }

    fn ssh(&mut self, key: &str, known: &Path, trust: Trust) -> Result<(), GitError> {
        let known = known.to_str().ok_or(CredentialsError::Place)?;
        // The shell of git and ssh's own parser both read these names.
        if [key, known].iter().any(|path| path.contains(['\'', '"', '\\', '%', '$', '\n', '~'])) {
            return Err(CredentialsError::Place.into());
        }
        let strict = match trust {
            Trust::Given => "yes",
            Trust::FirstSeen => "accept-new",
        };
        let options = [
            "BatchMode=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "IdentityAgent=none".to_owned(),
            format!("IdentityFile=\"{key}\""),
            format!("UserKnownHostsFile=\"{known}\""),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            format!("StrictHostKeyChecking={strict}"),
            "PasswordAuthentication=no".to_owned(),
            "ForwardAgent=no".to_owned(),
            "ClearAllForwardings=yes".to_owned(),
            "ControlMaster=no".to_owned(),
            "ConnectTimeout=15".to_owned(),
            "ServerAliveInterval=15".to_owned(),
        ];
        let options: Vec<String> = options.iter().map(|option| format!(" -o '{option}'")).collect();
        let command = format!("ssh -F none{}", options.concat());
        self.variables.push((SSH_COMMAND, Zeroizing::new(command)));
        self.variables.push(("GIT_SSH_VARIANT", Zeroizing::new("ssh".to_owned())));
        Ok(())
    }
}

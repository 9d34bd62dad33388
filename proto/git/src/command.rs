//! One run of git: the settings that no repository can change, the deadline, the bounded output.
//!
//! Every call of this crate goes through [`Call`]; there is no other way to start a process.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::cause;
use crate::credentials::{Credentials, Lease, Place, SSH_COMMAND};
use crate::error::GitError;
use crate::fixed::{FIXED_SETTINGS, FIXED_VARIABLES, Protocols, SERVES_FILES};
use crate::guard;
use crate::setup::{Account, Setup};
use crate::url::{RepositoryUrl, Scheme};
use crate::version::{Floor, Version};

/// What a call writes at most, unless it says otherwise.
const OUTPUT_MAX: usize = 1024 * 1024;
/// How much of git's last words is kept.
const STDERR_MAX: usize = 8 * 1024;
const MESSAGE_LINES: usize = 6;

/// The git program, ready to be asked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Git {
    setup: Arc<Setup>,
    version: Version,
}

impl Git {
    /// Makes the folders and asks for the version, so that a missing git is known at the start.
    pub async fn open(setup: Setup) -> Result<Self, GitError> {
        let mut git = Self::unknown(setup);
        git.make_folder(&git.setup.home).await?;
        git.make_folder(&git.setup.secrets).await?;
        git.version = git.ask_version().await?;
        Ok(git)
    }

    /// Asks the git of this machine for its version, and makes nothing.
    pub async fn installed() -> Result<Version, GitError> {
        Self::unknown(Setup::new("/", "/")).ask_version().await
    }

    fn unknown(setup: Setup) -> Self {
        Self { setup: Arc::new(setup), version: Version { major: 0, minor: 0, patch: 0 } }
    }

    async fn ask_version(&self) -> Result<Version, GitError> {
        let text = self.call("version").run().await?.text();
        Version::parse(&text).ok_or(GitError::Answer { verb: "version", what: text })
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn floor(&self) -> Floor {
        self.version.floor()
    }

    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(crate) fn call(&self, verb: &'static str) -> Call<'_> {
        Call {
            git: self,
            verb,
            place: Vec::new(),
            settings: Vec::new(),
            arguments: Vec::new(),
            protocols: Protocols::None,
            lease: Lease::default(),
            server: None,
            input: Vec::new(),
            most: OUTPUT_MAX,
            limit: self.setup.local_limit,
        }
    }

    /// Makes a folder that only git's account can enter.
    pub(crate) async fn make_folder(&self, path: &Path) -> Result<(), GitError> {
        if let Some(parent) = path.parent() {
            // Folders on the way are not ours to close.
            tokio::fs::create_dir_all(parent).await.map_err(GitError::io("make", parent))?;
        }
        let mut builder = tokio::fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(path).await;
        made.map_err(GitError::io("make", path))?;
        if let Some(Account { uid, gid }) = self.setup.account {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(GitError::io("give away", path))?;
        }
        Ok(())
    }
}

/// One run of git that is being put together.
pub(crate) struct Call<'a> {
    git: &'a Git,
    verb: &'static str,
    place: Vec<OsString>,
    settings: Vec<String>,
    arguments: Vec<OsString>,
    protocols: Protocols,
    lease: Lease,
    /// The URL whose server is spoken to.
    server: Option<RepositoryUrl>,
    input: Vec<u8>,
    most: usize,
    limit: Duration,
}

/// What a git that ended well has written.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    /// There was more.
    pub(crate) cut: bool,
    /// The answer was *no*, where the caller asked a question.
    pub(crate) no: bool,
}

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }
}

/// How an end is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// All must be well.
    Strict,
    /// Exit code 1 is an answer, and so is output that was cut.
    Question,
}

impl Call<'_> {
    /// Runs in a bare repository.
    pub(crate) fn bare(mut self, repository: &Path) -> Self {
        let mut argument = OsString::from("--git-dir=");
        argument.push(repository);
        self.place = vec![argument];
        self
    }

    /// Runs in a work tree whose `.git` is its own.
    pub(crate) fn tree(mut self, tree: &Path) -> Self {
        let mut argument = OsString::from("--git-dir=");
        argument.push(tree.join(".git"));
        let mut work = OsString::from("--work-tree=");
        work.push(tree);
        self.place = vec![OsString::from("-C"), tree.into(), argument, work];
        self
    }

    pub(crate) fn set(mut self, setting: impl Into<String>) -> Self {
        self.settings.push(setting.into());
        self
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<T: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Gives git something to read.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Reads at most so much.
    pub(crate) fn most(mut self, bytes: usize) -> Self {
        self.most = bytes;
        self
    }

    /// Reads from a mirror on this machine.
    pub(crate) fn local(mut self) -> Self {
        self.protocols = Protocols::Local;
        self
    }

    /// Speaks to the server of a URL.
    pub(crate) fn remote(
        mut self,
        url: &RepositoryUrl,
        credentials: &Credentials,
        known: &Path,
    ) -> Result<Self, GitError> {
        let setup = &self.git.setup;
        if !url.scheme().is_allowed(setup.allowed) {
            return Err(GitError::Scheme { url: url.clone() });
        }
        let place = Place { secrets: &setup.secrets, known, account: setup.account };
        self.lease = credentials.lease(url, &place)?;
        if url.scheme() == Scheme::File {
            self.settings.push(SERVES_FILES.to_owned());
        }
        self.protocols = Protocols::Remote;
        self.server = Some(url.clone());
        self.limit = setup.remote_limit;
        Ok(self)
    }

    /// Runs git; anything but a good end is an error.
    pub(crate) async fn run(self) -> Result<Output, GitError> {
        self.finish(Reading::Strict).await
    }

    /// Runs git, which may answer *no* or more than is wanted.
    pub(crate) async fn ask(self) -> Result<Output, GitError> {
        self.finish(Reading::Question).await
    }

    async fn finish(mut self, reading: Reading) -> Result<Output, GitError> {
        self.pin().await?;
        let program = self.git.setup.program.clone();
        let mut child = self.command().spawn().map_err(|source| GitError::Start { program, source })?;
        let group = Group::of(&child);
        let (verb, limit) = (self.verb, self.limit);
        let Ok(ended) = tokio::time::timeout(limit, listen(&mut child, &group, &self.input, self.most)).await
        else {
            group.kill();
            let _reaped = child.wait().await;
            group.forget();
            return Err(GitError::Deadline { verb, limit });
        };
        let (status, stdout, stderr) = ended.map_err(GitError::io("read from", verb))?;
        group.forget();
        let cut = stdout.len() > self.most;
        match (status.code(), reading) {
            (_, Reading::Strict) if cut => Err(GitError::Output { verb, limit: self.most }),
            (Some(0), _) => Ok(Output { stdout, cut, no: false }),
            (_, Reading::Question) if cut => Ok(Output { stdout, cut, no: false }),
            (Some(1), Reading::Question) => Ok(Output { stdout, cut, no: true }),
            (code, _) => {
                let mut message = last_words(&stderr, &self.lease);
                if message.is_empty() {
                    message = code.map_or_else(|| status.to_string(), |code| format!("exit code {code}"));
                }
                Err(GitError::Failed { verb, cause: cause::of(&message), message })
            }
        }
    }

    /// Has the server checked, and git held to the addresses that were found.
    async fn pin(&mut self) -> Result<(), GitError> {
        let (Some(guard), Some(url)) = (&self.git.setup.guard, &self.server) else { return Ok(()) };
        let pins = guard::pins(guard.as_ref(), url).await?;
        self.settings.extend(pins.setting);
        for (name, value) in &mut self.lease.variables {
            if *name == SSH_COMMAND {
                value.push_str(&pins.ssh);
            }
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let setup = &self.git.setup;
        let mut command = Command::new(&setup.program);
        command.env_clear().env("PATH", &setup.path).env("HOME", &setup.home).env("LC_ALL", "C");
        for (name, value) in FIXED_VARIABLES {
            command.env(name, value);
        }
        command.env("GIT_ALLOW_PROTOCOL", self.protocols.list(setup.allowed));
        if self.protocols == Protocols::Remote {
            command.envs(setup.proxies.iter().map(|(name, value)| (name, value)));
            command.envs(self.lease.variables.iter().map(|(name, value)| (name, value.as_str())));
        } else {
            command.env("GIT_NO_LAZY_FETCH", "1");
        }
        let file = if self.protocols.reads_files(setup.allowed) { "always" } else { "never" };
        let redirects = if setup.redirects { "initial" } else { "false" };
        let own = [format!("protocol.file.allow={file}"), format!("http.followRedirects={redirects}")];
        let fixed = FIXED_SETTINGS.iter().map(|setting| (*setting).to_owned());
        for setting in
            fixed.chain(own).chain(self.settings.iter().cloned()).chain(self.lease.settings.clone())
        {
            command.arg("-c").arg(setting);
        }
        command.args(&self.place).arg(self.verb).args(&self.arguments);
        let stdin = if self.input.is_empty() { Stdio::null() } else { Stdio::piped() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(Account { uid, gid }) = setup.account {
            command.uid(uid).gid(gid);
        }
        command.current_dir(&setup.home).process_group(0).kill_on_drop(true);
        command
    }
}

/// The processes of one git, killed when nobody waits for them any more.
struct Group(AtomicI32);

impl Group {
    fn of(child: &Child) -> Self {
        Self(AtomicI32::new(child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0)))
    }

    fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.0.load(Ordering::Relaxed)) {
            let _gone = kill_process_group(pid, Signal::KILL);
        }
    }

    /// The leader is reaped: its number may be another's.
    fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

type Ended = (std::process::ExitStatus, Vec<u8>, Vec<u8>);

/// Writes the input, reads both outputs to their end, then the exit code.
async fn listen(child: &mut Child, group: &Group, input: &[u8], most: usize) -> std::io::Result<Ended> {
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().expect("standard output was asked for");
    let stderr = child.stderr.take().expect("standard error was asked for");
    let zeroth = async {
        if let Some(mut stdin) = stdin {
            // A git that ends before it has read everything says why by itself.
            let _heard = stdin.write_all(input).await;
        }
        Ok(())
    };
    let first = async {
        let mut bytes = Vec::new();
        stdout.take(most as u64 + 1).read_to_end(&mut bytes).await?;
        if bytes.len() > most {
            group.kill();
        }
        Ok::<_, std::io::Error>(bytes)
    };
    let ((), stdout, stderr) = tokio::try_join!(zeroth, first, tail(stderr))?;
    Ok((child.wait().await?, stdout, stderr))
}

/// Reads to the end and keeps the last bytes.
async fn tail(mut from: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    loop {
        if from.read_buf(&mut kept).await? == 0 {
            break;
        }
        if kept.len() > 2 * STDERR_MAX {
            kept.drain(..kept.len() - STDERR_MAX);
        }
    }
    kept.drain(..kept.len().saturating_sub(STDERR_MAX));
    Ok(kept)
}

/// Returns the last lines that a person can use, with no secret and no terminal's escape in them.
fn last_words(stderr: &[u8], lease: &Lease) -> String {
    let mut text = String::from_utf8_lossy(stderr).into_owned();
    for secret in lease.hidden.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "***");
    }
    let lines = text.split(['\n', '\r']).map(str::trim_end);
    let useful: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("hint:")).collect();
    let last = &useful[useful.len().saturating_sub(MESSAGE_LINES)..];
    let plain = |letter: char| if letter.is_control() { '?' } else { letter };
    last.join("; ").chars().map(plain).collect()
}

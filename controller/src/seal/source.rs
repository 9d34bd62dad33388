//! Where the fleet's keys come from: a file, or what a command writes.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::key_file::{self, BadKeys};
use super::{KEY_BYTES, SealKeys};

/// A command that has not given the keys by then is ended.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
/// More than this is no list of keys.
const OUTPUT_MAX: u64 = 64 * 1024;

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealSource {
    /// A file, made with a new key if it is not there.
    Own(PathBuf),
    /// A file that an operator made.
    File(PathBuf),
    /// A program and its arguments; what it writes are the keys.
    Command(Vec<String>),
}

/// Why the keys could not be had. Shows none of them.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("the seal key {} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the command for the seal key, {program:?}, cannot be run")]
    NotRun { program: String, source: io::Error },
    #[error(
        "the command for the seal key, {program:?}, ended with {status}; what it said is on standard error"
    )]
    Failed { program: String, status: std::process::ExitStatus },
    #[error("the command for the seal key, {program:?}, was not done after {COMMAND_DEADLINE:?}")]
    TooLong { program: String },
    #[error("what the command for the seal key, {program:?}, wrote is not right")]
    Output { program: String, source: BadKeys },
}

impl SealSource {
    /// Returns the keys; a command is run for each call.
    pub async fn keys(&self, new: fn() -> [u8; KEY_BYTES]) -> Result<SealKeys, SourceError> {
        match self {
            Self::Own(path) => blocking(path.clone(), move |path| key_file::ensure(path, new)).await,
            Self::File(path) => {
                let read =
                    |path: &std::path::Path| Ok(key_file::parse(&Zeroizing::new(std::fs::read(path)?))?);
                blocking(path.clone(), read).await
            }
            Self::Command(argv) => command(argv).await,
        }
    }

    /// Returns whether a look at it is cheap enough to be repeated.
    pub fn is_file(&self) -> bool {
        match self {
            Self::Own(_) | Self::File(_) => true,
            Self::Command(_) => false,
        }
    }
}

async fn blocking(
    path: PathBuf,
    read: impl FnOnce(&std::path::Path) -> io::Result<SealKeys> + Send + 'static,
) -> Result<SealKeys, SourceError> {
    let at = path.clone();
    let keys = tokio::task::spawn_blocking(move || read(&at)).await;
    let keys = keys.unwrap_or_else(|died| Err(io::Error::other(died)));
    keys.map_err(|source| SourceError::File { path, source })
}

async fn command(argv: &[String]) -> Result<SealKeys, SourceError> {
    let program = argv.first().cloned().unwrap_or_default();
    let not_run = |source| SourceError::NotRun { program: program.clone(), source };
    let mut child = tokio::process::Command::new(&program)
        .args(argv.iter().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_run)?;
    let stdout = child.stdout.take().ok_or_else(|| not_run(io::Error::other("it has no output")))?;
    let ended = tokio::time::timeout(COMMAND_DEADLINE, async {
        let mut output = Zeroizing::new(Vec::with_capacity(usize::try_from(OUTPUT_MAX).unwrap_or(0)));
        stdout.take(OUTPUT_MAX).read_to_end(&mut output).await?;
        Ok::<_, io::Error>((output, child.wait().await?))
    });
    let (output, status) = match ended.await {
        Ok(ended) => ended.map_err(not_run)?,
        Err(_) => return Err(SourceError::TooLong { program }),
    };
    if !status.success() {
        return Err(SourceError::Failed { program, status });
    }
    key_file::parse(&output).map_err(|source| SourceError::Output { program, source })
}

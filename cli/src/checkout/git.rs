//! The person's own git, in the person's own repository, with all that the person configured.
//!
//! It is asked, and told to write only below folders of ours. What a hook of git set for itself is
//! taken away: it names the index of the commit that is being made.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Git in a folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Git {
    at: Option<PathBuf>,
    set: Vec<(&'static str, PathBuf)>,
}

/// Why git did not do it, in its own words.
#[derive(Debug)]
pub(crate) struct GitFailed {
    pub(crate) verb: String,
    pub(crate) says: String,
}

/// As much of what git says as people read.
const SAYS_BYTES_MAX: usize = 2_000;

impl Git {
    /// Git in the current folder.
    pub(crate) fn here() -> Self {
        Self::default()
    }

    pub(crate) fn at(folder: impl AsRef<Path>) -> Self {
        Self { at: Some(folder.as_ref().to_owned()), set: Vec::new() }
    }

    /// Sets a variable for it.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<PathBuf>) -> Self {
        self.set.push((name, value.into()));
        self
    }

    /// Returns what it prints, without the end of the line; nothing if it fails or prints nothing.
    pub(crate) fn text(&self, arguments: &[&str]) -> Option<String> {
        let text = String::from_utf8(self.bytes(arguments)?).ok()?;
        let text = text.trim_end();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Returns what it prints; nothing if it fails.
    pub(crate) fn bytes(&self, arguments: &[&str]) -> Option<Vec<u8>> {
        let output = self.command(arguments).stdin(Stdio::null()).output().ok()?;
        output.status.success().then_some(output.stdout)
    }

    /// Runs it with something on its standard input; returns what it prints, without the end of the line.
    pub(super) fn run<A: AsRef<OsStr>>(&self, arguments: &[A], input: &[u8]) -> Result<String, GitFailed> {
        let verb = arguments.first().map(|verb| verb.as_ref().to_string_lossy().into_owned());
        let failed = |says: String| GitFailed { verb: verb.clone().unwrap_or_default(), says };
        let output = self.fed(arguments, input).map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            let mut says = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            says.truncate(says.floor_char_boundary(SAYS_BYTES_MAX));
            return Err(failed(says));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn fed<A: AsRef<OsStr>>(&self, arguments: &[A], input: &[u8]) -> std::io::Result<Output> {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().expect("it was piped");
        // What is given is read before anything is printed, so neither waits for the other. Who ends
        // without reading it says why by its exit code.
        let written = stdin.write_all(input);
        drop(stdin);
        let output = child.wait_with_output()?;
        if output.status.success() {
            written?;
        }
        Ok(output)
    }

    fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new("git");
        if let Some(at) = &self.at {
            command.arg("-C").arg(at);
            // What a hook of git was told must not lead from a folder of ours into the person's.
            for of_a_hook in ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_PREFIX"] {
                command.env_remove(of_a_hook);
            }
        }
        command.args(arguments).env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
        for of_a_hook in ["GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"] {
            command.env_remove(of_a_hook);
        }
        command.envs(self.set.iter().map(|(name, value)| (name, value)));
        command
    }
}

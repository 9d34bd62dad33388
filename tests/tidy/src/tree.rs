//! The files of the repository, as git knows them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One tracked (or about to be tracked) text file.
pub(crate) struct Source {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// Lines in front of the tests.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]") || !self.tests_follow())
    }

    pub(crate) fn is_test(&self) -> bool {
        let name = Path::new(&self.path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        name == "tests" || self.path.contains("/tests/") || self.path.starts_with("tests/tidy/")
    }

    /// Whether the tests stand at the end of this file, and not in one of their own.
    fn tests_follow(&self) -> bool {
        self.text.contains("#[cfg(test)]\nmod tests {")
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns every text file that is, or would be, committed, with the given ending.
pub(crate) fn files(ending: &str) -> Vec<Source> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "git ls-files failed");
    let paths = String::from_utf8(listed.stdout).unwrap();
    let wanted = paths.lines().filter(|path| path.ends_with(ending));
    // A file that was deleted but not yet committed is listed and not there.
    wanted
        .filter_map(|path| {
            Some(Source { path: path.to_owned(), text: std::fs::read_to_string(root().join(path)).ok()? })
        })
        .collect()
}

//! What can go wrong with an archive, in words a build's owner can act upon.
//!
//! A path in an error came out of an archive that nobody vouches for: it is shown with its odd bytes
//! escaped, and cut.

use std::fmt;
use std::io;
use std::path::Path;

use crate::limits::Limit;

/// Why an archive was not packed or not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the tree could not be used.
    #[error("cannot {doing} {path}: {source}")]
    Tree { doing: &'static str, path: Shown, source: io::Error },
    /// The stream that the archive is read from or written to failed, or is not zstd.
    #[error("the archive's stream failed: {0}")]
    Stream(io::Error),
    /// The stream ended before the archive did.
    #[error("the archive is cut off")]
    Truncated,
    /// The bytes are not an archive as we read it.
    #[error("the archive is damaged at byte {at}: {what}")]
    Corrupt { what: &'static str, at: u64 },
    /// An entry's name may not be used.
    #[error("the archive names {path}: {what}")]
    Name { path: Shown, what: &'static str },
    /// An entry is neither a file nor a directory nor a link that is allowed.
    #[error("{path} is {kind}, which is not unpacked")]
    Kind { path: Shown, kind: &'static str },
    /// A symbolic link leads out of the tree, or links are not allowed.
    #[error("the link {path} leads to {target}, {what}")]
    Link { path: Shown, target: Shown, what: &'static str },
    /// Something of another kind stands where an entry belongs.
    #[error("{path} cannot be unpacked: {what}")]
    Occupied { path: Shown, what: &'static str },
    /// A bound was reached.
    #[error("there are more than {limit}")]
    TooMuch { limit: Limit },
    /// A file became shorter while it was packed.
    #[error("{path} became shorter while it was packed")]
    Shrank { path: Shown },
    /// A path of the selection is not a plain path below the root.
    #[error("{path} is not a path below the workspace")]
    Selection { path: Shown },
    /// The level is none that the unpacking side has the memory for.
    #[error("compression level {0} is not between 1 and 19")]
    Level(i32),
    /// The bytes are not those that were told.
    #[error("the archive is not the expected one: its {what} differs")]
    Unexpected { what: &'static str },
}

/// A path as an error shows it: escaped and cut.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(String);

/// Longer paths are cut here: a line of an error stays a line.
const SHOWN_MAX: usize = 200;

impl Shown {
    pub(crate) fn bytes(path: &[u8]) -> Self {
        let cut = &path[..path.len().min(SHOWN_MAX)];
        let more = if cut.len() < path.len() { "..." } else { "" };
        let text: String = String::from_utf8_lossy(cut).chars().flat_map(escaped).collect();
        Self(format!("\"{text}{more}\""))
    }

    pub(crate) fn path(path: &Path) -> Self {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Self::bytes(path.as_os_str().as_encoded_bytes())
    }
}

/// A terminal must not obey what an archive's author typed.
fn escaped(letter: char) -> Vec<char> {
    let plain = !letter.is_control() && letter != '"';
    if plain { vec![letter] } else { letter.escape_default().collect() }
}

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Turns a failed call upon `path` into an error that says what was tried.
pub(crate) fn failed<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    move |source| Error::Tree { doing, path: Shown::path(path), source: source.into() }
}

//! A tree, or what is chosen of it, into one compressed stream.
//!
//! The same tree gives the same bytes: entries are sorted, owners are never told, and times only where
//! asked. So an artifact or cache is known by its digest.

mod digest;
mod walk;
mod write;

use std::io::Write;
use std::path::{Path, PathBuf};

pub use digest::digest_files;
use write::Writer;

use crate::Result;
use crate::error::Error;
use crate::limits::Limits;
use crate::root::Root;

/// What to do with an entry that the walk meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// Takes it, and all below it without asking again.
    Take,
    /// Looks inside a directory; it is kept itself once something in it is taken.
    Descend,
    /// Leaves it out, with all below it.
    Skip,
}

/// Which entries are taken.
#[derive(Clone, Copy)]
pub enum Selection<'a> {
    /// Asks for each entry, by its path below the root and whether it is a directory.
    Choose(&'a dyn Fn(&Path, bool) -> Select),
    /// Whole subtrees by their paths below the root; those that are not there are left out.
    Paths(&'a [PathBuf]),
}

impl std::fmt::Debug for Selection<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Choose(_) => out.write_str("Choose(..)"),
            Self::Paths(paths) => out.debug_tuple("Paths").field(paths).finish(),
        }
    }
}

/// Whether the times of entries are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Times {
    /// All are left out: the archive depends on names, modes and contents alone.
    #[default]
    Omit,
    /// The seconds of each entry's last change are kept, as caches of build tools want.
    Keep,
}

/// How an archive is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub times: Times,
    /// The level of compression, 1 to 19.
    pub level: i32,
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self { times: Times::default(), level: 3, limits: Limits::default() }
    }
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Regular files; directories and links are not counted.
    pub files: u64,
    /// Contents of all files together.
    pub bytes: u64,
    /// Of the compressed stream.
    pub sha256: [u8; 32],
    /// Bytes of the compressed stream.
    pub size: u64,
    /// What was left out, or taken as it was at one moment.
    pub notes: Vec<Note>,
    /// Notes beyond those kept.
    pub notes_dropped: u64,
}

/// Something about the tree that its owner should hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub path: PathBuf,
    pub oddity: Oddity,
}

/// What is odd about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// Not a file, directory or link: left out.
    Special(Filed),
    /// A link that leads, or might lead, out of the tree: left out.
    LinkLeadsOut,
    /// Gone, or of another kind, when its turn came: left out.
    Vanished,
    /// Written to while it was packed: its contents may be of no single moment.
    Changed,
}

/// The kinds of entry that have no contents to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filed {
    Device,
    Pipe,
    Socket,
    Unknown,
}

/// Packs what is selected below `root` into `stream`.
///
/// The stream is flushed, not closed. After an error it holds a part of an archive.
pub fn pack(root: &Root, selection: Selection<'_>, stream: impl Write, options: Options) -> Result<Packed> {
    if !(1..=19).contains(&options.level) {
        return Err(Error::Level(options.level));
    }
    let mut writer = Writer::new(stream, options)?;
    walk::walk(root, selection, &mut writer)?;
    writer.finish()
}

//! A compressed stream into a tree, of which nothing but the tree itself is touched.
//!
//! The archive is a stranger's. Entries are made by handles below the root, never through a link,
//! never onto a thing that stands there; owners and special bits that it tells are not heard.

mod merge;
mod place;
mod stage;

use std::io::Read;
use std::path::{Path, PathBuf};

use place::Place;
use stage::Stage;
pub use stage::sweep;

use crate::error::{Error, Shown};
use crate::format::{Kind, Member, Members};
use crate::limits::{Limits, Tally};
use crate::root::Root;
use crate::{Result, path};

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    pub limits: Limits,
    pub links: Links,
    pub whole: Whole,
    /// Who owns what is made; without it, who runs this program.
    pub owner: Option<Owner>,
    /// What the compressed stream must be.
    pub expected: Option<Expected>,
}

/// Which symbolic links are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Links {
    /// Those that stay inside the tree.
    #[default]
    Inside,
    /// None: one is an error.
    Refuse,
}

/// What remains of an archive that turns out bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whole {
    /// Nothing: it is unpacked aside and moved in when all of it was good.
    ///
    /// It may come over a tree: a directory that is there stays with its mode and contents, and any
    /// other thing that is there gives way, but a directory never gives way to a file.
    #[default]
    OrNothing,
    /// What came before. For a directory that is fresh, and thrown away after an error.
    AsItComes,
}

/// A user and a group by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// What is known beforehand about a compressed stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub sha256: [u8; 32],
    pub size: u64,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    pub files: u64,
    pub directories: u64,
    pub links: u64,
    /// Contents of all files together.
    pub bytes: u64,
    /// Of the compressed stream.
    pub sha256: [u8; 32],
    /// Bytes of the compressed stream.
    pub size: u64,
}

/// Unpacks a stream below `root`, to its end.
pub fn unpack(stream: impl Read, root: &Root, policy: &Policy) -> Result<Unpacked> {
    match policy.whole {
        Whole::AsItComes => {
            let mut place = Place::new(root, policy);
            let unpacked = entries(stream, &mut place, policy)?;
            place.into_directories().finish(root, policy, &Default::default())?;
            Ok(unpacked)
        }
        Whole::OrNothing => {
            let stage = Stage::new(root)?;
            let mut place = Place::new(stage.inside(), policy);
            let unpacked = entries(stream, &mut place, policy)?;
            let directories = place.into_directories();
            stage.move_in(&directories, policy)?;
            Ok(unpacked)
        }
    }
}

fn entries(stream: impl Read, place: &mut Place<'_>, policy: &Policy) -> Result<Unpacked> {
    // One byte more than expected is enough to know that it is another stream.
    let most = policy.expected.map_or(u64::MAX, |expected| expected.size.saturating_add(1));
    let told = policy.expected.map(|expected| expected.size);
    let mut members = Members::new(stream.take(most), policy.limits, told)?;
    let mut tally = Tally::new(policy.limits);
    let mut done = Unpacked { files: 0, directories: 0, links: 0, bytes: 0, sha256: [0; 32], size: 0 };
    while let Some(member) = members.next()? {
        let size = if let Kind::File { size } = member.kind { size } else { 0 };
        let Some(path) = path::entry(&member.path, &policy.limits)? else {
            // The root is the caller's: its mode too.
            tally.entry(Path::new(""), 0)?;
            if member.kind != Kind::Directory {
                let path = Shown::bytes(&member.path);
                return Err(Error::Name { path, what: "the root is no file" });
            }
            continue;
        };
        tally.entry(&path, size)?;
        match &member.kind {
            Kind::Directory => {
                place.directory(&path, &member)?;
                done.directories += 1;
            }
            Kind::File { size } => {
                place.file(&path, &member, |buffer| members.read(buffer))?;
                done.files += 1;
                done.bytes += size;
            }
            Kind::Link { target } => {
                allowed(&path, target, policy)?;
                place.link(&path, target)?;
                done.links += 1;
            }
        }
    }
    (done.sha256, done.size) = members.finish()?;
    match policy.expected {
        Some(expected) if expected.size != done.size => Err(Error::Unexpected { what: "length" }),
        Some(expected) if expected.sha256 != done.sha256 => Err(Error::Unexpected { what: "digest" }),
        Some(_) | None => Ok(done),
    }
}

fn allowed(path: &Path, target: &[u8], policy: &Policy) -> Result<()> {
    let what = match policy.links {
        Links::Refuse => "and links are not unpacked here",
        Links::Inside if path::stays_inside(path, target, &policy.limits) => return Ok(()),
        Links::Inside => "which is not surely inside",
    };
    Err(Error::Link { path: Shown::path(path), target: Shown::bytes(target), what })
}

/// What a directory is to become once everything is in it.
#[derive(Debug, Clone, Copy)]
struct Finish {
    mode: u32,
    mtime: u64,
}

/// Paths of directories, parents before what is in them.
type Finishes = std::collections::BTreeMap<PathBuf, Finish>;

impl From<&Member> for Finish {
    fn from(member: &Member) -> Self {
        Self { mode: member.mode, mtime: member.mtime }
    }
}

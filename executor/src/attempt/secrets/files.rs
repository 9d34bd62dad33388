//! Files of secrets: in memory on this machine, each open to the task for as long as it is its turn.
//!
//! The files of an attempt are there, empty, before its container is, which binds each of them by
//! itself. A stage's own hold their value while that stage runs, and no other stage finds more than an
//! empty file. Nothing is ever written over by a new file: the container would go on with the old one.
//!
//! None is bound inside the workspace, with or without a container: what fills the workspace would unlink
//! it there. A stage finds a link in its place, which is made once the workspace is full and goes with the
//! stage, so that nothing which is kept of the workspace has the file.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Component, Path, PathBuf};

use ocelot_core::plan::{SecretDelivery, SecretUse, Stage, TaskPlan, Work};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, mkdirat, openat, readlinkat, symlinkat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Secrets, tools};
use crate::attempt::files::gone;
use crate::runtime::Mount;

/// Where a container finds what its tools are to find, and what links of its workspace lead to.
const OWN: &str = "/run/ocelot";
/// The folder of files that have a path of their own.
const FILES: &str = "files";

/// Where the files of one attempt are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// In memory, and the attempt's own.
    pub directory: PathBuf,
    /// A service has none.
    pub workspace: Option<Workspace>,
    /// The task's directory, as the task sees it: what relative paths are below.
    pub inside: PathBuf,
    /// The task sees a file system of its own.
    pub contained: bool,
}

/// A task's workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workspace {
    /// On this machine.
    pub here: PathBuf,
    /// As the task sees it.
    pub seen: PathBuf,
}

/// One file, as a use asks for it.
struct Piece {
    source: PathBuf,
    /// Where the task sees it; never in its workspace.
    target: PathBuf,
    /// The place in the workspace at which a link leads to it, if it is asked for there.
    link: Option<PathBuf>,
    bytes: Zeroizing<Vec<u8>>,
}

/// Why a file is not where it is to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unplaced {
    /// The task's own doing, or its repository's.
    #[error("a symlink, a file or a folder of the task's own is in the way of {}", path.display())]
    Blocked { path: PathBuf },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Who reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// The user that this process is, root in a container.
    Own,
    Number(u32, Option<u32>),
    /// Only the container knows the number. The directory on this machine is closed to all others.
    Unknown,
}

impl Place {
    /// Returns where the files of one service are; its relative paths are below the root.
    pub(crate) fn of_service(&self, number: usize) -> Self {
        Self {
            directory: self.directory.join(format!("service-{number}")),
            workspace: None,
            inside: PathBuf::from("/"),
            contained: true,
        }
    }

    /// Returns where a tool finds its files.
    pub(super) fn of_tool(&self, word: &str) -> PathBuf {
        if self.contained { Path::new(OWN).join(word) } else { self.directory.join(word) }
    }

    /// Returns the file of a path that a use asks for.
    fn file(&self, path: &str, bytes: &[u8]) -> Piece {
        let digits: String =
            Sha256::digest(path.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let source = self.directory.join(FILES).join(&digits);
        let asked = self.inside.join(path);
        let seen = self.workspace.as_ref().map(|workspace| &workspace.seen);
        let link = seen.and_then(|seen| asked.strip_prefix(seen).ok()).map(Path::to_owned);
        let target = match (&link, self.contained) {
            (None, _) => asked,
            (Some(_), true) => Path::new(OWN).join(FILES).join(digits),
            (Some(_), false) => source.clone(),
        };
        Piece { source, target, link, bytes: Zeroizing::new(bytes.to_vec()) }
    }
}

impl Secrets {
    /// Makes the files, empty, and returns what a container binds. Those that are there stay as they
    /// are. Blocks.
    pub(crate) fn lay_out(&self, plan: &TaskPlan, place: &Place) -> io::Result<Vec<Mount>> {
        let pieces = self.all_pieces(plan, place);
        let mut targets = BTreeSet::new();
        let mut mounts = Vec::new();
        for Piece { source, target, .. } in pieces {
            if let Some(parent) = source.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            }
            OpenOptions::new().append(true).create(true).mode(0o600).open(&source)?;
            if place.contained && targets.insert(target.clone()) {
                mounts.push(Mount { source, target });
            }
        }
        Ok(mounts)
    }

    /// Makes the files of each service, which reads them all the while. Blocks.
    pub(crate) fn lay_out_services(&self, plan: &TaskPlan, place: &Place) -> io::Result<Vec<Vec<Mount>>> {
        let services = plan.environment.services.iter().enumerate();
        let laid_out = services.map(|(number, service)| {
            let own = place.of_service(number);
            let mut mounts = Vec::new();
            for piece in self.pieces(&service.secrets, &own) {
                if let Some(parent) = piece.source.parent() {
                    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
                }
                fill(&piece, Reader::Unknown, &own).map_err(io::Error::other)?;
                mounts.push(Mount { source: piece.source, target: piece.target });
            }
            Ok(mounts)
        });
        laid_out.collect()
    }

    /// Fills the files that a stage may read, and empties the others. Blocks.
    pub(crate) fn open_for(
        &self,
        plan: &TaskPlan,
        stage: u16,
        user: Option<&str>,
        place: &Place,
    ) -> Result<(), Unplaced> {
        let mut filled: BTreeMap<PathBuf, Piece> = BTreeMap::new();
        let own = stages(plan).get(usize::from(stage)).map_or(&[][..], |stage| stage.secrets.as_slice());
        // What is nearer counts.
        for uses in [plan.environment.secrets.as_slice(), own] {
            for piece in self.pieces(uses, place) {
                filled.insert(piece.source.clone(), piece);
            }
        }
        let reader = if place.contained { reader_of(user) } else { Reader::Own };
        for piece in self.all_pieces(plan, place) {
            match filled.get(&piece.source) {
                Some(filled) => fill(filled, reader, place)?,
                None => empty(&piece, place)?,
            }
        }
        Ok(())
    }

    /// Empties the files of a stage that has ended; with none, all files. Blocks.
    pub(crate) fn close_after(
        &self,
        plan: &TaskPlan,
        stage: Option<u16>,
        place: &Place,
    ) -> Result<(), Unplaced> {
        let pieces = match stage.map(|stage| stages(plan).get(usize::from(stage))) {
            None => self.all_pieces(plan, place),
            Some(Some(stage)) => self.pieces(&stage.secrets, place),
            Some(None) => return Ok(()),
        };
        pieces.iter().try_for_each(|piece| empty(piece, place))
    }

    fn all_pieces(&self, plan: &TaskPlan, place: &Place) -> Vec<Piece> {
        let of_stages = stages(plan).iter().flat_map(|stage| &stage.secrets);
        self.pieces(plan.environment.secrets.iter().chain(of_stages), place)
    }

    fn pieces<'a>(&self, uses: impl IntoIterator<Item = &'a SecretUse>, place: &Place) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for used in uses {
            let Some(value) = self.value(&used.name) else { continue };
            match &used.delivery {
                SecretDelivery::Env(_) | SecretDelivery::Argument(_) => {}
                SecretDelivery::File(path) => pieces.push(place.file(path, value)),
                SecretDelivery::Tool(tool) => {
                    let inside = place.of_tool(tools::word(*tool));
                    // What is in no known form was refused when it was taken.
                    let Ok(login) = tools::login(*tool, value, &inside) else { continue };
                    let source = place.directory.join(tools::word(*tool));
                    pieces.extend(login.files.into_iter().map(|(name, bytes)| Piece {
                        source: source.join(name),
                        target: inside.join(name),
                        link: None,
                        bytes,
                    }));
                }
            }
        }
        pieces
    }
}

fn stages(plan: &TaskPlan) -> &[Stage] {
    match &plan.work {
        Work::Stages { stages, .. } => stages,
        Work::Command(_) => &[],
    }
}

fn reader_of(user: Option<&str>) -> Reader {
    let Some(user) = user.filter(|user| !user.is_empty()) else { return Reader::Own };
    let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    match user.parse() {
        Ok(0) => Reader::Own,
        Ok(number) => Reader::Number(number, group.and_then(|group| group.parse().ok())),
        Err(_) if user == "root" => Reader::Own,
        Err(_) => Reader::Unknown,
    }
}

fn fill(piece: &Piece, reader: Reader, place: &Place) -> Result<(), Unplaced> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&piece.source)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(&piece.bytes)?;
    let is_own = match reader {
        Reader::Own => true,
        // Who is not root may not give it away.
        Reader::Number(user, group) => fchown(&file, Some(user), group).is_ok(),
        Reader::Unknown => false,
    };
    if !is_own {
        file.set_permissions(Permissions::from_mode(0o444))?;
    }
    if let Some(way) = Way::to(piece, place) {
        let (folder, name) = way.open(Missing::Make)?;
        match unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // A folder: Linux says ISDIR, others PERM.
            Err(error) => return Err(way.stopped(error)),
        }
        symlinkat(&piece.target, &folder, name).map_err(|error| way.stopped(error))?;
    }
    Ok(())
}

fn empty(piece: &Piece, place: &Place) -> Result<(), Unplaced> {
    let emptied = OpenOptions::new().write(true).truncate(true).open(&piece.source).map(drop);
    gone(emptied)?;
    // What the task itself put there instead, or on the way there, is the task's.
    let Some((folder, name)) = Way::to(piece, place).and_then(|way| way.open(Missing::Leave).ok()) else {
        return Ok(());
    };
    let is_ours = readlinkat(&folder, name, Vec::new())
        .is_ok_and(|to| to.to_bytes() == piece.target.as_os_str().as_encoded_bytes());
    if is_ours {
        gone(unlinkat(&folder, name, AtFlags::empty()).map_err(io::Error::from))?;
    }
    Ok(())
}

/// The way to the place of a file in a workspace, where a link is put. It is this process that makes it:
/// nothing of the way may be a link of the repository's or a stage's own, which could lead anywhere.
struct Way<'a> {
    /// On this machine.
    workspace: &'a Path,
    below: &'a Path,
    name: &'a OsStr,
}

/// What becomes of folders that are not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Leave,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl<'a> Way<'a> {
    fn to(piece: &'a Piece, place: &'a Place) -> Option<Self> {
        let workspace = &place.workspace.as_ref()?.here;
        let below = piece.link.as_deref()?;
        Some(Self { workspace, below, name: below.file_name()? })
    }

    fn blocked(&self) -> Unplaced {
        Unplaced::Blocked { path: self.below.to_owned() }
    }

    /// What stands in a workspace, comes there meanwhile or is shut there is the task's own doing.
    fn stopped(&self, error: Errno) -> Unplaced {
        const OWN_DOING: [Errno; 6] =
            [Errno::LOOP, Errno::NOTDIR, Errno::ISDIR, Errno::EXIST, Errno::ACCESS, Errno::PERM];
        if OWN_DOING.contains(&error) { self.blocked() } else { io::Error::from(error).into() }
    }

    /// Opens the folder that the file is in.
    fn open(&self, missing: Missing) -> Result<(OwnedFd, &'a OsStr), Unplaced> {
        let mut folder = rustix::fs::open(self.workspace, FOLDER, Mode::empty()).map_err(io::Error::from)?;
        for part in self.below.parent().unwrap_or(Path::new("")).components() {
            let part = match part {
                Component::Normal(part) => part,
                Component::CurDir => continue,
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(self.blocked());
                }
            };
            let opened = match openat(&folder, part, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) if missing == Missing::Make => make_folder(&folder, part),
                opened => opened,
            };
            folder = opened.map_err(|error| self.stopped(error))?;
        }
        Ok((folder, self.name))
    }
}

/// Makes a folder in another, for whoever that one belongs to: the task may write beside its file.
fn make_folder(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    mkdirat(parent, name, Mode::from_raw_mode(0o777))?;
    let folder = openat(parent, name, FOLDER, Mode::empty())?;
    let owner = fstat(parent)?;
    // Who is not root may not give it away.
    let _kept = fchown(&folder, Some(owner.st_uid), Some(owner.st_gid));
    Ok(folder)
}

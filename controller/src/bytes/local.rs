//! The home of bytes in a directory, of this machine or shared by several.
//!
//! A file is written beside its place and linked into it, so that no one ever reads half of one.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use ocelot_proto::kit::clock::UnixMicros;

use super::files::{self, Access};
use super::part::LocalPart;
use super::{Entry, Error, Home, Identity, Name, Part, Put, Result};

/// A directory as the home of bytes.
#[derive(Debug, Clone)]
pub struct LocalHome {
    root: PathBuf,
    /// Beside the objects: a list never sees a part.
    parts: PathBuf,
    identity: Identity,
}

impl LocalHome {
    const IDENTITY_FILE: &str = "identity";

    /// Opens the home in `root`, or makes it with the identity `new`. Blocks.
    pub fn open(root: impl Into<PathBuf>, new: Identity) -> Result<Self> {
        let root = root.into();
        let objects = root.join("objects");
        let parts = root.join("parts");
        let made = files::ensure_directory(&objects).and_then(|()| files::ensure_directory(&parts));
        let identity = made.and_then(|()| ensure_identity(&root, new));
        Ok(Self { root: objects, parts, identity: identity.map_err(refused)? })
    }

    /// Refuses a home that is not the fleet's.
    pub fn expect(self, expected: Identity) -> Result<Self> {
        if self.identity == expected {
            return Ok(self);
        }
        Err(Error::NotOurs { found: self.identity, expected })
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.root.join(name.as_str())
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        name: &Name,
        act: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.path(name);
        let done = tokio::task::spawn_blocking(move || act(&path)).await;
        done.unwrap_or_else(|died| Err(io::Error::other(died))).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NotFound(name.clone()),
            _ => refused(error),
        })
    }
}

#[async_trait]
impl Home for LocalHome {
    async fn put(&self, name: &Name, bytes: Bytes) -> Result<Put> {
        self.on_disk(name, move |path| {
            if let Some(directory) = path.parent() {
                files::ensure_directory(directory)?;
            }
            match files::create(path, &bytes, Access::Usual) {
                Ok(()) => Ok(Put::Stored),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // Whoever put it may have died before the name was durable.
                    files::sync_directory_of(path)?;
                    Ok(if fs::read(path)? == bytes { Put::AlreadyThere } else { Put::Different })
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn read(&self, name: &Name, range: Range<u64>) -> Result<Bytes> {
        self.on_disk(name, move |path| {
            let file = File::open(path)?;
            let end = range.end.min(file.metadata()?.len());
            let mut bytes = vec![0; usize::try_from(end.saturating_sub(range.start)).unwrap_or(0)];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes.into())
        })
        .await
    }

    async fn list(&self, prefix: &Name) -> Result<Vec<Entry>> {
        let text = prefix.as_str().to_owned();
        let root = self.root.clone();
        let found = self.on_disk(prefix, move |_| {
            let folder = text.rsplit_once('/').map_or("", |(folder, _)| folder);
            let mut found = Vec::new();
            collect(&root.join(folder), folder, &text, &mut found)?;
            Ok(found)
        });
        let mut entries = Vec::new();
        for Found { name, size_bytes, changed } in found.await? {
            entries.push(Entry { name: Name::new(name)?, size_bytes, changed });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    async fn delete(&self, name: &Name) -> Result<()> {
        let deleted = self.on_disk(name, |path| {
            fs::remove_file(path)?;
            files::sync_directory_of(path)
        });
        match deleted.await {
            Ok(()) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn size_bytes(&self, name: &Name) -> Result<u64> {
        self.on_disk(name, |path| Ok(fs::metadata(path)?.len())).await
    }

    async fn begin(&self) -> Result<Box<dyn Part>> {
        let (parts, root) = (self.parts.clone(), self.root.clone());
        let begun = tokio::task::spawn_blocking(move || LocalPart::begin(&parts, root)).await;
        let part = begun.unwrap_or_else(|died| Err(io::Error::other(died))).map_err(refused)?;
        Ok(Box::new(part))
    }

    async fn look(&self, name: &Name) -> Result<Entry> {
        let metadata = self.on_disk(name, |path| fs::metadata(path)).await?;
        Ok(Entry { name: name.clone(), size_bytes: metadata.len(), changed: changed(&metadata) })
    }

    async fn renew(&self, name: &Name, at: UnixMicros) -> Result<()> {
        self.on_disk(name, move |path| File::open(path)?.set_modified(moment(at))).await
    }

    async fn rename(&self, from: &Name, to: &Name) -> Result<()> {
        let to = self.path(to);
        self.on_disk(from, move |from| {
            if let Some(directory) = to.parent() {
                files::ensure_directory(directory)?;
            }
            fs::rename(from, &to)?;
            files::sync_directory_of(&to)?;
            files::sync_directory_of(from)
        })
        .await
    }

    async fn sweep_parts(&self, before: UnixMicros) -> Result<usize> {
        let parts = self.parts.clone();
        let swept = tokio::task::spawn_blocking(move || super::part::sweep(&parts, before)).await;
        swept.unwrap_or_else(|died| Err(io::Error::other(died))).map_err(refused)
    }

    fn identity(&self) -> Identity {
        self.identity
    }
}

fn ensure_identity(root: &Path, new: Identity) -> io::Result<Identity> {
    let path = root.join(LocalHome::IDENTITY_FILE);
    match files::create(&path, format!("{new}\n").as_bytes(), Access::Usual) {
        Ok(()) => Ok(new),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let text = fs::read_to_string(&path)?;
            let number = u128::from_str_radix(text.trim_end(), 16);
            let number = number.map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, wrong))?;
            Ok(Identity(number.to_be_bytes()))
        }
        Err(error) => Err(error),
    }
}

/// A file as a list finds it.
struct Found {
    name: String,
    size_bytes: u64,
    changed: UnixMicros,
}

/// Returns when a file was last written, or renewed.
pub(super) fn changed(metadata: &fs::Metadata) -> UnixMicros {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    UnixMicros(since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX)))
}

/// Returns a moment as files keep it.
pub(super) fn moment(at: UnixMicros) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(at.0)
}

/// Finds the files under `directory`, which is called `folder`, whose whole names begin with `prefix`.
fn collect(directory: &Path, folder: &str, prefix: &str, found: &mut Vec<Found>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(part) = entry.file_name().into_string() else { continue };
        let name = if folder.is_empty() { part.clone() } else { format!("{folder}/{part}") };
        let kind = entry.file_type()?;
        if kind.is_dir() && (name.starts_with(prefix) || prefix.starts_with(&format!("{name}/"))) {
            collect(&entry.path(), &name, prefix, found)?;
        } else if kind.is_file() && name.starts_with(prefix) && !files::is_temporary(&part) {
            // It may be deleted while the folder is read.
            if let Ok(metadata) = entry.metadata() {
                found.push(Found { name, size_bytes: metadata.len(), changed: changed(&metadata) });
            }
        }
    }
    Ok(())
}

pub(super) fn refused(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full(error),
        _ => Error::Unavailable(error),
    }
}

//! Something large on its way into a directory: a file of its own beside the objects, linked among
//! them when all of it is on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use ocelot_proto::kit::clock::UnixMicros;

use super::local::{changed, moment, refused};
use super::{Name, Part, Put, Result, files};

/// One part in a directory.
#[derive(Debug)]
pub(super) struct LocalPart {
    /// None while a piece is being written.
    file: Option<File>,
    path: PathBuf,
    /// Where finished ones go.
    root: PathBuf,
    linked: bool,
}

impl LocalPart {
    /// Makes an empty part. Blocks.
    pub(super) fn begin(parts: &Path, root: PathBuf) -> io::Result<Self> {
        // Several machines may share the directory, so only chance tells the names apart.
        let mut number = [0; 16];
        getrandom::fill(&mut number).map_err(io::Error::other)?;
        let name: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = parts.join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { file: Some(file), path, root, linked: false })
    }

    async fn on_disk<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut File) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let lost = || io::Error::other("a piece before it was not written");
        let mut file = self.file.take().ok_or_else(lost).map_err(refused)?;
        let done = tokio::task::spawn_blocking(move || act(&mut file).map(|done| (file, done))).await;
        let (file, done) = done.unwrap_or_else(|died| Err(io::Error::other(died))).map_err(refused)?;
        self.file = Some(file);
        Ok(done)
    }
}

#[async_trait]
impl Part for LocalPart {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.on_disk(move |file| file.write_all(&bytes)).await
    }

    async fn finish(mut self: Box<Self>, name: &Name, at: UnixMicros) -> Result<Put> {
        let (path, target) = (self.path.clone(), self.root.join(name.as_str()));
        let put = self
            .on_disk(move |file| {
                file.set_modified(moment(at))?;
                file.sync_all()?;
                if let Some(directory) = target.parent() {
                    files::ensure_directory(directory)?;
                }
                link(&path, &target, file.metadata()?.len())
            })
            .await?;
        self.linked = put == Put::Stored;
        Ok(put)
    }
}

/// Puts a synced file under its name.
fn link(path: &Path, target: &Path, length: u64) -> io::Result<Put> {
    match fs::hard_link(path, target) {
        Ok(()) => {
            fs::remove_file(path)?;
            files::sync_directory_of(target)?;
            Ok(Put::Stored)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::metadata(target)?.len() == length {
                // Whoever put it may have died before the name was durable.
                files::sync_directory_of(target)?;
                return Ok(Put::AlreadyThere);
            }
            // A disk that lost a part of it: this one is whole.
            fs::rename(path, target)?;
            files::sync_directory_of(target)?;
            Ok(Put::Stored)
        }
        Err(error) => Err(error),
    }
}

impl Drop for LocalPart {
    fn drop(&mut self) {
        if self.linked {
            return;
        }
        // What is left is swept later.
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(path = %self.path.display(), %error, "a part stays behind");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Removes parts that were not written to since then. Blocks.
pub(super) fn sweep(parts: &Path, before: UnixMicros) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(parts)? {
        let entry = entry?;
        // It may be finished while the directory is read.
        let Ok(metadata) = entry.metadata() else { continue };
        if changed(&metadata) < before && fs::remove_file(entry.path()).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

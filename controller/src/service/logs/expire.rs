//! Deleting logs that are not kept any more, and what crashes left behind.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::bytes::{Entry, Name, files};

use super::disk::{Disk, Listed};
use super::error::Result;
use super::id::LogId;
use super::keep::{self, Kept, Retention};
use super::place::{BYTES, END, Place};
use super::{Logs, blocking};

/// The home keeps a log a little longer than the controllers do: one that a controller still has and
/// the home has not would be put there again.
const HOME_LATER: Duration = Duration::from_secs(24 * 3600);

/// What the home of bytes has of one log.
#[derive(Debug, Default)]
struct Stored {
    chunks: Vec<Name>,
    end: Option<Name>,
    bytes: u64,
}

/// What one pass did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Logs that are gone now, oldest first.
    pub logs: Vec<LogId>,
}

impl Logs {
    /// Deletes what is not kept any more and closes what nobody uses. A log that is not over stays.
    pub async fn expire_once(&self) -> Result<Expired> {
        self.open_logs().close_idle();
        let (directory, disk) = (self.directory.clone(), Arc::clone(&self.disk));
        let (now, retention) = (Duration::from_micros(self.clock.wall().0), self.retention);
        let expired =
            blocking(move || Ok(keep::expired(list(disk.as_ref(), &directory)?, now, retention))).await?;
        let mut logs = Vec::new();
        for id in expired {
            if self.is_shipped(id).await? {
                self.delete(id).await?;
                logs.push(id);
            } else {
                // Once it is open, it is put into the home of bytes; a later pass deletes it.
                self.ensure_open(id).await?;
            }
        }
        Ok(Expired { logs })
    }

    /// Deletes from the shared home of bytes what is not kept any more. Any controller may do it, and
    /// several at once. A log that is not over stays.
    pub async fn expire_home_once(&self) -> Result<Expired> {
        let mut gone = Expired { logs: Vec::new() };
        let Some(home) = &self.home else { return Ok(gone) };
        let mut stored: HashMap<LogId, Stored> = HashMap::new();
        for Entry { name, size_bytes, .. } in home.list(&Name::new("logs")?).await? {
            let parts = name.as_str().strip_prefix("logs/").and_then(|rest| rest.split_once('/'));
            let Some((id, part)) = parts.and_then(|(stem, part)| Some((LogId::from_stem(stem)?, part)))
            else {
                continue;
            };
            let log = stored.entry(id).or_default();
            if part == "end" {
                log.end = Some(name);
            } else {
                log.bytes += size_bytes;
                log.chunks.push(name);
            }
        }
        // A home does not tell when something was put; a run's id tells when it was made.
        let made = |id: &LogId| Duration::from_millis(id.task.run.unix_ms().unwrap_or(u64::MAX));
        let over = stored.iter().filter(|(_, log)| log.end.is_some());
        let kept = over.map(|(id, log)| Kept { id: *id, size_bytes: log.bytes, ended: made(id) }).collect();
        let retention = Retention { age: self.retention.age + HOME_LATER, ..self.retention };
        for id in keep::expired(kept, Duration::from_micros(self.clock.wall().0), retention) {
            let log = stored.remove(&id).unwrap_or_default();
            // The end goes last: without it, the log would look as if it were still running.
            for name in log.chunks.iter().chain(&log.end) {
                home.delete(name).await?;
            }
            gone.logs.push(id);
        }
        Ok(gone)
    }

    /// Opens what an earlier process did not put into the home of bytes.
    pub(super) async fn resume_shipping(&self) {
        let (directory, disk) = (self.directory.clone(), Arc::clone(&self.disk));
        let here = blocking(move || Ok(ids(disk.list(&directory)?))).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the directory of logs could not be read");
            BTreeSet::new()
        });
        for id in here {
            let opened = async {
                if !self.is_shipped(id).await? {
                    self.ensure_open(id).await?;
                }
                Ok::<_, super::Error>(())
            };
            if let Err(error) = opened.await {
                tracing::warn!(log = %id, %error, "the log of {id} waits to be put into the home of bytes");
            }
        }
    }

    async fn delete(&self, id: LogId) -> Result<()> {
        let (directory, disk) = (self.directory.clone(), Arc::clone(&self.disk));
        let place = Place { id, directory, disk, alone: self.home.is_none() };
        blocking(move || {
            // The end goes last: without it, the log would look as if it were still running.
            place.disk.remove(&place.file())?;
            Ok(place.disk.remove(&place.end_file())?)
        })
        .await?;
        // Who reads it now still holds its file.
        self.open_logs().forget(&id);
        tracing::info!(log = %id, "the log of {id} is not kept any more");
        Ok(())
    }
}

/// Returns the logs of which there is anything here.
fn ids(files: Vec<Listed>) -> BTreeSet<LogId> {
    let id = |file: Listed| {
        let (stem, extension) = file.name.rsplit_once('.')?;
        LogId::from_stem(stem).filter(|_| [BYTES, END].contains(&extension))
    };
    files.into_iter().filter_map(id).collect()
}

/// Returns the logs that are over.
fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<Kept>> {
    let mut sizes = HashMap::new();
    let mut ended = HashMap::new();
    for Listed { name, size_bytes, modified } in disk.list(directory)? {
        let Some((stem, extension)) = name.rsplit_once('.') else { continue };
        match (LogId::from_stem(stem), extension) {
            (Some(id), BYTES) => drop(sizes.insert(id, size_bytes)),
            (Some(id), END) => drop(ended.insert(id, modified)),
            _ if files::is_temporary(&name) => continue,
            _ => tracing::warn!(file = %name, "{name} does not belong among the logs"),
        }
    }
    let kept = |(id, at): (LogId, std::time::SystemTime)| Kept {
        id,
        size_bytes: sizes.get(&id).copied().unwrap_or(0),
        ended: at.duration_since(UNIX_EPOCH).unwrap_or_default(),
    };
    Ok(ended.into_iter().map(kept).collect())
}

//! Deleting logs that are not kept any more, and what crashes left behind.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::bytes::files;

use super::disk::{Disk, Listed};
use super::error::Result;
use super::id::LogId;
use super::keep::{self, Kept};
use super::log::{BYTES, END, Place};
use super::{Logs, blocking};

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
        let expired = blocking(move || {
            let kept = list(disk.as_ref(), &directory)?;
            let expired = keep::expired(kept, now, retention);
            for id in &expired {
                let place = Place { id: *id, directory: directory.clone(), disk: Arc::clone(&disk) };
                // The end goes last: without it, the log would look as if it were still running.
                disk.remove(&place.file())?;
                disk.remove(&place.end_file())?;
            }
            Ok(expired)
        });
        let logs = expired.await?;
        for id in &logs {
            // Who reads one now still holds its file.
            self.open_logs().forget(id);
            tracing::info!(log = %id, "the log of {id} is not kept any more");
        }
        Ok(Expired { logs })
    }
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

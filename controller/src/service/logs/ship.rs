//! Carrying logs to the shared home of bytes, and back to a controller that takes one over.
//!
//! A chunk is named by its log and its offset. Two controllers may put the same place in pieces of
//! different lengths: the sequence is fixed, so where they overlap they are equal, and what is not
//! equal is an alarm. Nothing counts as durable before it was read back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use ocelot_proto::kit::chaos;

use crate::bytes::{Entry, Error as HomeError, Home, Name, Put};
use crate::store::codec;

use super::end::End;
use super::error::{Error, Result};
use super::id::LogId;
use super::judge::Piece;
use super::log::{Log, Progress, Taken};
use super::open::OpenLog;
use super::{Logs, blocking};

/// The most bytes of one chunk; so many do not wait.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// No received byte waits longer to be put.
const SHIP_AFTER: Duration = Duration::from_secs(10);

/// What is put: everything, or what has waited long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ship {
    All,
    Due,
}

impl Logs {
    /// Puts what is due of every open log. One that fails does not hold up the others.
    pub(super) async fn ship_once(&self, ship: Ship) {
        let Some(home) = &self.home else { return };
        let open = self.open_logs().all();
        for open in open {
            if let Err(error) = self.ship_log(home.as_ref(), &open, ship).await {
                let id = open.log.id();
                tracing::warn!(log = %id, %error, "the log of {id} could not be put into the home of bytes");
            }
        }
    }

    async fn ship_log(&self, home: &dyn Home, open: &OpenLog, ship: Ship) -> Result<()> {
        let (log, now) = (&open.log, self.clock.monotonic());
        loop {
            let Progress { received, durable, ended, .. } = log.progress();
            let waiting = received.saturating_sub(durable);
            if waiting == 0 {
                open.ship_since(None);
                break;
            }
            let waits_long = open.ship_since(Some(now)).is_some_and(|since| now - since >= SHIP_AFTER);
            let due = ship == Ship::All || ended || waiting >= CHUNK_BYTES || waits_long;
            if !due {
                return Ok(());
            }
            ship_chunk(home, log, durable, waiting.min(CHUNK_BYTES)).await?;
            open.ship_since(None);
        }
        match log.end_to_ship() {
            Some(end) => ship_end(home, log, &end).await,
            None => Ok(()),
        }
    }

    /// Learns what the home of bytes has of a log, and fetches what is missing here.
    pub(super) async fn catch_up(&self, home: &dyn Home, log: &Arc<Log>) -> Result<()> {
        let (chunks, end) = chunks(home, log.id()).await?;
        for (offset, size_bytes) in chunks {
            let here = log.progress().visible;
            if offset > here {
                break;
            }
            if offset + size_bytes > here {
                let bytes = home.read(&chunk_name(log.id(), offset)?, 0..size_bytes).await?;
                self.adopt(log, offset, bytes).await?;
            }
            log.shipped((offset + size_bytes).min(log.progress().received));
        }
        if end {
            let bytes = home.read(&end_name(log.id())?, 0..CHUNK_BYTES).await?;
            let end: End = codec::decode(&bytes).map_err(|cause| Error::Corrupt(log.id(), cause))?;
            let own = Arc::clone(log);
            blocking(move || own.adopt_end(end)).await?;
        }
        Ok(())
    }

    async fn adopt(&self, log: &Arc<Log>, offset: u64, bytes: Bytes) -> Result<()> {
        let (own, unix_us) = (Arc::clone(log), self.clock.wall().0);
        blocking(move || {
            let piece = Piece { offset, bytes: &bytes, crc32c: crc32c::crc32c(&bytes) };
            match own.append(&piece, unix_us)? {
                Taken::New { .. } | Taken::AlreadyThere => own.sync(),
                Taken::Gap { .. } | Taken::Diverged { .. } => return Err(Error::Contradicted(own.id())),
            }
            Ok(())
        })
        .await
    }

    /// Tells whether the home of bytes has the whole log.
    pub(super) async fn is_shipped(&self, id: LogId) -> Result<bool> {
        let Some(home) = &self.home else { return Ok(true) };
        match home.size_bytes(&end_name(id)?).await {
            Ok(_) => Ok(true),
            Err(HomeError::NotFound(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

async fn ship_chunk(home: &dyn Home, log: &Arc<Log>, offset: u64, length: u64) -> Result<()> {
    let own = Arc::clone(log);
    let bytes = blocking(move || own.read(offset, length as usize)).await?;
    let (bytes, name) = (Bytes::from(bytes), chunk_name(log.id(), offset)?);
    let put = home.put(&name, bytes.clone()).await?;
    let stored = home.read(&name, 0..CHUNK_BYTES).await?;
    let both = stored.len().min(bytes.len());
    let whole = put == Put::Different || stored.len() == bytes.len();
    if both == 0 || !whole || stored[..both] != bytes[..both] {
        tracing::error!(log = %log.id(), offset, "the home of bytes contradicts the log of {}", log.id());
        return Err(Error::Contradicted(log.id()));
    }
    chaos::point("log.shipped");
    log.shipped(offset + both as u64);
    Ok(())
}

async fn ship_end(home: &dyn Home, log: &Log, end: &End) -> Result<()> {
    let name = end_name(log.id())?;
    if home.put(&name, codec::encode(end, None)).await? == Put::Different {
        return Err(Error::Contradicted(log.id()));
    }
    log.end_shipped();
    Ok(())
}

/// Returns offset and length of each chunk in order, and whether the end is there.
async fn chunks(home: &dyn Home, id: LogId) -> Result<(Vec<(u64, u64)>, bool)> {
    let folder = format!("logs/{}", id.stem());
    let (mut chunks, mut end) = (Vec::new(), false);
    for Entry { name, size_bytes, .. } in home.list(&Name::new(folder.as_str())?).await? {
        // The number of another attempt may begin with this one's.
        match name.as_str().strip_prefix(&folder).and_then(|rest| rest.strip_prefix('/')) {
            Some("end") => end = true,
            Some(offset) => chunks.extend(offset.parse().ok().map(|offset: u64| (offset, size_bytes))),
            None => {}
        }
    }
    chunks.sort_unstable();
    Ok((chunks, end))
}

fn chunk_name(id: LogId, offset: u64) -> Result<Name> {
    Ok(Name::new(format!("logs/{}/{offset:020}", id.stem()))?)
}

fn end_name(id: LogId) -> Result<Name> {
    Ok(Name::new(format!("logs/{}/end", id.stem()))?)
}

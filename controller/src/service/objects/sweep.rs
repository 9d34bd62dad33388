//! What goes: artifacts past their time, caches beyond the budget, and bytes that nothing names.
//!
//! Any number of controllers may do it at once. Bytes leave in two passes: one that finds nothing to
//! name them lays them apart, and a later one, which finds that again, deletes them. Whoever needs them
//! meanwhile brings them back. A completion renews the bytes it names just before its transaction, so
//! nothing is deleted within [`FLOOR`] of it.

use std::collections::BTreeSet;
use std::time::Duration;

use ocelot_proto::kit::clock::UnixMicros;

use super::budget::too_many;
use super::{Result, Service, Shelf, failed};
use crate::bytes::{Entry, Error as HomeError};
use crate::records::{ArtifactRecord, CacheRecord, Digest};
use crate::store::codec::decode;
use crate::store::keys::Folder;
use crate::store::{Expected, KeyValue, Txn};

/// Bytes that were put, or wanted, later than this stay.
pub(super) const FLOOR: Duration = Duration::from_secs(3600);
/// Records that one transaction deletes.
const BATCH: usize = 100;

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub expired: usize,
    pub evicted: usize,
    /// Objects that were laid apart.
    pub apart: usize,
    /// Objects that came back.
    pub back: usize,
    /// Objects and parts that were deleted.
    pub deleted: usize,
}

impl Service {
    /// Takes away what has had its time; a controller that keeps nothing has nothing to do.
    pub async fn sweep_objects(&self) -> Result<Swept> {
        let Some(objects) = self.objects.get() else { return Ok(Swept::default()) };
        let mut swept = Swept { expired: self.expire_artifacts().await?, ..Swept::default() };
        swept.evicted = self.evict_caches().await?;
        let floor = u64::try_from(FLOOR.as_micros()).unwrap_or(u64::MAX);
        let before = UnixMicros(self.wall().0.saturating_sub(floor));
        let home = objects.home.as_ref();
        // Bytes before names: what is named after this look was renewed before it was named.
        let apart = home.list(&Shelf::Leaving.folder()).await.map_err(failed)?;
        let there = home.list(&Shelf::Objects.folder()).await.map_err(failed)?;
        let named = self.named().await?;
        for (entry, digest) in apart.iter().filter_map(object) {
            if named.contains(digest.as_bytes()) || entry.changed >= before {
                swept.back += moved(home.rename(&entry.name, &Shelf::Objects.name(&digest)).await)?;
            } else if is_still(home.look(&entry.name).await, before)? {
                home.delete(&entry.name).await.map_err(failed)?;
                swept.deleted += 1;
            }
        }
        for (entry, digest) in there.iter().filter_map(object) {
            let goes = !named.contains(digest.as_bytes()) && entry.changed < before;
            if goes && is_still(home.look(&entry.name).await, before)? {
                swept.apart += moved(home.rename(&entry.name, &Shelf::Leaving.name(&digest)).await)?;
            }
        }
        swept.deleted += home.sweep_parts(before).await.map_err(failed)?;
        Ok(swept)
    }

    /// Reads every digest that a record names, for this very call.
    async fn named(&self) -> Result<BTreeSet<[u8; 32]>> {
        let mut named = BTreeSet::new();
        for item in self.list(&Folder::Artifacts.to_string()).await? {
            named.insert(*decode::<ArtifactRecord>(&item.value)?.kept.digest.as_bytes());
        }
        for item in self.list(&Folder::Caches.to_string()).await? {
            named.insert(*decode::<CacheRecord>(&item.value)?.kept.digest.as_bytes());
        }
        Ok(named)
    }

    async fn expire_artifacts(&self) -> Result<usize> {
        let now = self.timestamp();
        let mut leaving = Vec::new();
        for item in self.list(&Folder::Artifacts.to_string()).await? {
            if decode::<ArtifactRecord>(&item.value)?.has_expired(now) {
                leaving.push(item);
            }
        }
        self.forget(&leaving).await
    }

    async fn evict_caches(&self) -> Result<usize> {
        let items = self.list(&Folder::Caches.to_string()).await?;
        let caches =
            items.iter().map(|item| Ok(decode(&item.value)?)).collect::<Result<Vec<CacheRecord>>>()?;
        let leaving = too_many(&caches, &self.objects()?.limits);
        let leaving: Vec<KeyValue> = leaving.into_iter().map(|place| items[place].clone()).collect();
        self.forget(&leaving).await
    }

    /// Deletes records that are as they were read; what has changed is looked at again with the next pass.
    async fn forget(&self, items: &[KeyValue]) -> Result<usize> {
        let mut forgotten = 0;
        for batch in items.chunks(BATCH) {
            let txn = batch.iter().fold(Txn::new(), |txn, item| {
                txn.when(item.key.as_str(), Expected::At(item.mod_revision)).delete(item.key.as_str())
            });
            if self.commit_duty(txn).await? {
                forgotten += batch.len();
            }
        }
        Ok(forgotten)
    }
}

/// Returns the digest that an entry is named by; what is no object of ours is left alone.
fn object(entry: &Entry) -> Option<(&Entry, Digest)> {
    let (_, text) = entry.name.as_str().rsplit_once('/')?;
    Some((entry, text.parse().ok()?))
}

/// Another controller may be doing the same.
fn moved(renamed: crate::bytes::Result<()>) -> Result<usize> {
    match renamed {
        Ok(()) => Ok(1),
        Err(HomeError::NotFound(_)) => Ok(0),
        Err(error) => Err(failed(error)),
    }
}

/// Returns whether it is there, and nobody has wanted it since.
fn is_still(found: crate::bytes::Result<Entry>, before: UnixMicros) -> Result<bool> {
    match found {
        Ok(entry) => Ok(entry.changed < before),
        Err(HomeError::NotFound(_)) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

//! The homes of bytes: this disk, or the directory that all controllers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use serde::{Deserialize, Serialize};

use crate::bytes::{Error as BytesError, Home, Identity, LocalHome, Name};
use crate::records::Digest;
use crate::service::{Error, Plans, Result};
use crate::store::codec::{Record, decode, encode};
use crate::store::keys::Key;
use crate::store::{self, Expected, RangeRequest, Store, Txn, Verdict};

use super::chance::SystemChance;
use super::settings::{Settings, StoreSettings};
use super::{StartError, store as opening};
use crate::service::Unguessable;

/// The longest plan that is read back.
const PLAN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where this controller puts bytes.
#[derive(Debug)]
pub(super) struct Homes {
    /// The fleet's, for logs; none where this disk is all there is.
    pub(super) shared: Option<Arc<dyn Home>>,
    pub(super) plans: Arc<dyn Home>,
    pub(super) identity: Identity,
    pub(super) path: PathBuf,
}

/// Opens the homes, or makes them. Blocks.
pub(super) fn open(settings: &Settings) -> std::result::Result<Homes, StartError> {
    let mut new = [0; 16];
    SystemChance.fill(&mut new);
    let shared = match (&settings.store, &settings.logs) {
        (StoreSettings::Etcd(_), Some(logs)) => Some(logs.clone()),
        (StoreSettings::Etcd(_), None) | (StoreSettings::Embedded, _) => None,
    };
    let path = shared.clone().unwrap_or_else(|| settings.data.join("bytes"));
    let home = Arc::new(LocalHome::open(&path, Identity(new))?);
    let identity = home.identity();
    let plans: Arc<dyn Home> = Arc::clone(&home) as _;
    Ok(Homes { shared: shared.map(|_| home as _), plans, identity, path })
}

/// Says which home of bytes is the fleet's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HomeRecord {
    identity: [u8; 16],
}

impl Record for HomeRecord {
    const KIND: &'static str = "home";
    const VERSION: u32 = 1;
}

/// Refuses a home that is not the fleet's; the first controller's becomes it.
pub(super) async fn is_the_fleets(
    homes: &Homes,
    store: &dyn Store,
    (clock, tasks): (&dyn Clock, &Tasks),
) -> std::result::Result<(), StartError> {
    let own = HomeRecord { identity: homes.identity.0 };
    let mut wait = Duration::from_millis(100);
    loop {
        match fleets(&own, store).await {
            Ok(found) if found == own => return Ok(()),
            Ok(found) => {
                let expected = Identity(found.identity);
                return Err(BytesError::NotOurs { found: homes.identity, expected }.into());
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, again_in = ?wait, "the fleet's home of bytes could not be learned");
            }
            Err(error) => return Err(StartError::Store(error)),
        }
        opening::pause(&mut wait, (clock, tasks)).await?;
    }
}

async fn fleets(own: &HomeRecord, store: &dyn Store) -> store::Result<HomeRecord> {
    let page = store.range(RangeRequest::key(Key::Home)).await?;
    if let Some(item) = page.items.first() {
        return decode(&item.value);
    }
    // If the answer is lost, the next look finds it.
    let txn = Txn::new().when(Key::Home, Expected::Absent).put(Key::Home, encode(own, None));
    match store.commit(txn).await? {
        Verdict::Committed(_) => Ok(own.clone()),
        Verdict::Refused { .. } => Err(store::Error::Unavailable("another controller came first".into())),
    }
}

/// Plans in a home of bytes.
#[derive(Debug)]
pub(super) struct HomePlans {
    home: Arc<dyn Home>,
}

impl HomePlans {
    pub(super) fn new(home: Arc<dyn Home>) -> Self {
        Self { home }
    }
}

fn name_of(digest: Digest) -> Name {
    Name::new(format!("plans/{digest}")).expect("a digest is written in digits and small letters")
}

fn unavailable(error: BytesError) -> Error {
    Error::Store(store::Error::Unavailable(Box::new(error)))
}

#[async_trait]
impl Plans for HomePlans {
    async fn keep(&self, digest: Digest, plan: Bytes) -> Result<()> {
        self.home.put(&name_of(digest), plan).await.map(drop).map_err(unavailable)
    }

    async fn fetch(&self, digest: Digest) -> Result<Option<Bytes>> {
        match self.home.read(&name_of(digest), 0..PLAN_BYTES_MAX).await {
            Ok(plan) => Ok(Some(plan)),
            Err(BytesError::NotFound(_)) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::assert_stored_shape;

    #[test]
    fn which_home_is_the_fleets_is_stored_as_the_one_on_file() {
        assert_stored_shape(&HomeRecord { identity: [7; 16] }, "home.v1");
    }
}

//! Artifacts and caches: bytes that are whole or not there, and the records that make them visible.
//!
//! Bytes come first, under the digest of what they are, and nobody sees them; a record names them
//! later, in the transaction that decides. What no record names is taken away after a while. Bytes
//! that are asked for by their digest alone are never given to anybody.

mod budget;
mod fetch;
mod keep;
mod push;
mod scope;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ocelot_core::plan::{Plan, TaskPlan};
use ocelot_proto::kit::clock::UnixMicros;

use super::error::{Error, Result, What};
use super::{AttemptRef, Service, lock};
use crate::bytes::{Error as HomeError, Home, Name};
use crate::records::{Digest, Kept, RunRecord};
use crate::store;
use crate::store::codec::decode;
use crate::store::keys::Key;

pub use fetch::{FoundCache, KeptArtifact, WantedCache};
pub use keep::ClaimedArtifact;
pub use push::{Incoming, Pushed};

/// The most bytes that are read, sent or written at a time.
pub const PIECE_BYTES_MAX: usize = 1024 * 1024;
/// Artifacts of one task: a transaction holds them all.
pub const ARTIFACTS_MAX: usize = 64;

const GIB: u64 = 1024 * 1024 * 1024;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLimits {
    /// The longest artifact or state of a cache.
    pub object_bytes: u64,
    /// Pushes that one controller takes at a time.
    pub pushes: usize,
    /// All states of all caches together.
    pub caches_bytes: u64,
    /// Those of one project or job.
    pub owner_caches_bytes: u64,
}

impl Default for ObjectLimits {
    fn default() -> Self {
        Self { object_bytes: 8 * GIB, pushes: 64, caches_bytes: 20 * GIB, owner_caches_bytes: 10 * GIB }
    }
}

/// The bytes, by their digest.
#[derive(Debug)]
pub struct Objects {
    home: Arc<dyn Home>,
    limits: ObjectLimits,
    /// What is being pushed here.
    pushes: Arc<Mutex<BTreeSet<(AttemptRef, Pushed)>>>,
}

/// Where an object is: with the others, or apart because nothing seemed to name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shelf {
    Objects,
    Leaving,
}

impl Shelf {
    fn folder(self) -> Name {
        Name::new(match self {
            Self::Objects => "objects",
            Self::Leaving => "leaving",
        })
        .expect("the folders are written in small letters")
    }

    fn name(self, digest: &Digest) -> Name {
        let text = digest.to_string();
        let place = format!("{}/{}/{text}", self.folder(), &text[..2]);
        Name::new(place).expect("a digest is written in digits and small letters")
    }
}

impl Objects {
    pub fn new(home: Arc<dyn Home>, limits: ObjectLimits) -> Self {
        Self { home, limits, pushes: Arc::default() }
    }

    /// Returns whether an object is there. If so it stays for a while, whatever names it.
    async fn want(&self, kept: &Kept, now: UnixMicros) -> Result<bool> {
        let (here, apart) = (Shelf::Objects.name(&kept.digest), Shelf::Leaving.name(&kept.digest));
        // Somebody else may bring it back at the same moment: then it is found the second time.
        for _ in 0..2 {
            match self.home.renew(&here, now).await {
                Ok(()) => return Ok(self.home.size_bytes(&here).await.map_err(failed)? == kept.size_bytes),
                Err(HomeError::NotFound(_)) => {}
                Err(error) => return Err(failed(error)),
            }
            match self.home.rename(&apart, &here).await {
                Ok(()) | Err(HomeError::NotFound(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(false)
    }

    /// Reads a piece of an object.
    async fn read(&self, kept: &Kept, offset: u64) -> Result<Bytes> {
        let end = offset.saturating_add(PIECE_BYTES_MAX as u64).min(kept.size_bytes);
        for shelf in [Shelf::Objects, Shelf::Leaving, Shelf::Objects] {
            match self.home.read(&shelf.name(&kept.digest), offset..end).await {
                Ok(bytes) if bytes.len() as u64 == end.saturating_sub(offset) => return Ok(bytes),
                Ok(_) => return Err(Error::NotNow { why: "the home of bytes has not all of it" }),
                Err(HomeError::NotFound(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Error::not_found(What::Object, kept.digest))
    }
}

impl Service {
    /// Gives the home of artifacts and caches; without one, none are taken. The first word counts.
    pub fn set_objects(&self, objects: Objects) {
        self.objects.get_or_init(|| objects);
    }

    fn objects(&self) -> Result<&Objects> {
        self.objects.get().ok_or(Error::NotNow { why: "this controller keeps no artifacts and caches" })
    }

    /// Reads a piece of an object that was found, at most [`PIECE_BYTES_MAX`].
    pub async fn read_object(&self, kept: &Kept, offset: u64) -> Result<Bytes> {
        self.objects()?.read(kept, offset).await
    }

    fn wall(&self) -> UnixMicros {
        self.parts.clock.wall()
    }

    /// Returns the run of an attempt with its plan.
    async fn planned(&self, attempt: AttemptRef) -> Result<Planned> {
        let run = attempt.task.run;
        let item = self.read(&Key::Run(run).to_string()).await?;
        let record: RunRecord = decode(&item.ok_or_else(|| Error::not_found(What::Run, run))?.value)?;
        let plan = self.plan_of(&record).await?;
        if plan.tasks.get(attempt.task.index as usize).is_none() {
            return Err(Error::not_found(What::Task, attempt.task));
        }
        Ok(Planned { run: record, plan, index: attempt.task.index as usize })
    }
}

/// A task's place in what its run was planned to do.
struct Planned {
    run: RunRecord,
    plan: Arc<Plan>,
    index: usize,
}

impl Planned {
    fn task(&self) -> &TaskPlan {
        &self.plan.tasks[self.index]
    }
}

/// Returns what a failure of the home means to whoever asked.
fn failed(error: HomeError) -> Error {
    match error {
        HomeError::Full(_) => Error::NoRoom { why: "the controller's disk is full" },
        error @ (HomeError::InvalidName(_)
        | HomeError::NotFound(_)
        | HomeError::Unavailable(_)
        | HomeError::NotOurs { .. }) => Error::Store(store::Error::Unavailable(Box::new(error))),
    }
}

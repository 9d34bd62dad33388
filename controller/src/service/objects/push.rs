//! Taking an object: piece by piece into a part that nobody sees, compared as a whole at its end.

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ocelot_domain::task::state::Session;
use ocelot_proto::kit::chaos;
use sha2::{Digest as _, Sha256};

use super::scope::{fits, part, scopes};
use super::{
    AttemptRef, Error, Kept, Objects, PIECE_BYTES_MAX, Planned, Result, Service, Shelf, failed, lock,
};
use crate::bytes::{Part, Put, Room};
use crate::records::{CacheRecord, Digest};
use crate::store::codec::{decode, encode};
use crate::store::keys::Key;
use crate::store::{Expected, Revision, Txn, Verdict};

/// How often the record of a cache is tried while the task's own moves.
const ROUNDS: usize = 8;

/// What is pushed, as the task's plan names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pushed {
    Artifact(String),
    Cache { name: String, key: String },
}

/// An object on its way in. Dropped before its end, nothing of it stays.
pub struct Incoming {
    session: Session,
    attempt: AttemptRef,
    what: Pushed,
    files: u64,
    part: Box<dyn Part>,
    hash: Sha256,
    size_bytes: u64,
    _turn: Turn,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("attempt", &self.attempt)
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

/// The right to push one thing, given back when dropped.
struct Turn {
    pushes: Arc<Mutex<std::collections::BTreeSet<(AttemptRef, Pushed)>>>,
    own: (AttemptRef, Pushed),
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.pushes).remove(&self.own);
    }
}

impl Objects {
    fn turn(&self, attempt: AttemptRef, what: &Pushed) -> Result<Turn> {
        let mut pushes = lock(&self.pushes);
        if pushes.len() >= self.limits.pushes {
            return Err(Error::NotNow { why: "too much is pushed here at once" });
        }
        let own = (attempt, what.clone());
        if !pushes.insert(own.clone()) {
            return Err(Error::NotNow { why: "it is being pushed already" });
        }
        Ok(Turn { pushes: Arc::clone(&self.pushes), own })
    }
}

impl Service {
    /// Begins to take an object of a live attempt, if its plan names it.
    pub async fn begin_push(
        &self,
        session: Session,
        attempt: AttemptRef,
        what: Pushed,
        files: u64,
    ) -> Result<Incoming> {
        self.live_now(session, attempt).await?;
        let planned = self.planned(attempt).await?;
        is_planned(&planned, &what)?;
        let objects = self.objects()?;
        let turn = objects.turn(attempt, &what)?;
        self.has_room(&what)?;
        let part = objects.home.begin().await.map_err(failed)?;
        let (hash, size_bytes) = (Sha256::new(), 0);
        Ok(Incoming { session, attempt, what, files, part, hash, size_bytes, _turn: turn })
    }

    /// Takes the next piece.
    pub async fn push_piece(&self, incoming: &mut Incoming, bytes: Bytes) -> Result<()> {
        if bytes.len() > PIECE_BYTES_MAX {
            return Err(Error::invalid(format_args!("a piece has at most {PIECE_BYTES_MAX} bytes")));
        }
        self.has_room(&incoming.what)?;
        incoming.size_bytes += bytes.len() as u64;
        let most = self.objects()?.limits.object_bytes;
        if incoming.size_bytes > most {
            return Err(Error::invalid(format_args!("it is longer than {most} bytes")));
        }
        let mut hash = std::mem::take(&mut incoming.hash);
        let hashed = bytes.clone();
        let hashing = tokio::task::spawn_blocking(move || {
            hash.update(&hashed);
            hash
        });
        incoming.part.write(bytes).await.map_err(failed)?;
        incoming.hash = hashing.await.map_err(|_| Error::NotNow { why: "a piece was not counted" })?;
        chaos::point("object.piece_written");
        Ok(())
    }

    /// Ends a push: what came is compared with what was meant, and kept. Returns whether it was there.
    pub async fn end_push(&self, incoming: Incoming, claimed: Kept) -> Result<bool> {
        let Incoming { session, attempt, what, files, part, hash, size_bytes, _turn } = incoming;
        let found = Kept { digest: Digest::from_bytes(hash.finalize().into()), size_bytes };
        if found != claimed {
            return Err(Error::invalid(format_args!(
                "{size_bytes} bytes with the digest {} came, not {} with {}",
                found.digest, claimed.size_bytes, claimed.digest
            )));
        }
        let objects = self.objects()?;
        // What is there already stays for a while from now on.
        let was_there = objects.want(&found, self.wall()).await?;
        if !was_there {
            let name = Shelf::Objects.name(&found.digest);
            match part.finish(&name, self.wall()).await.map_err(failed)? {
                Put::Stored => {}
                // Another push of the same was faster, by a moment.
                Put::AlreadyThere | Put::Different => {}
            }
        }
        chaos::point("object.kept");
        match what {
            // Its name comes with the completion.
            Pushed::Artifact(_) => Ok(was_there),
            Pushed::Cache { name, key } => {
                let record = (name, key, found, files);
                self.keep_cache(session, attempt, record).await
            }
        }
    }

    /// Records a state of a cache; the first one of a key stays. Returns whether there was one.
    async fn keep_cache(
        &self,
        session: Session,
        attempt: AttemptRef,
        (name, key, kept, files): (String, String, Kept, u64),
    ) -> Result<bool> {
        let planned = self.planned(attempt).await?;
        let scopes = scopes(&planned.run, self.default_branch(&planned.run).as_deref());
        let scope = scopes.write.ok_or_else(no_scope)?;
        let place = Key::Cache { scope: part(&scope), name, key: part(&key) };
        let now = self.timestamp();
        let record =
            CacheRecord { owner: scopes.owner, scope, key, kept, files, created_at: now, used_at: now };
        for _ in 0..ROUNDS {
            let live: Revision = self.live_now(session, attempt).await?;
            if let Some(item) = self.read(&place.to_string()).await? {
                decode::<CacheRecord>(&item.value)?;
                return Ok(true);
            }
            let txn = Txn::new()
                .when(Key::Task(attempt.task), Expected::At(live))
                .when(place.clone(), Expected::Absent)
                .put(place.clone(), encode(&record, None));
            // An answer that is lost is found with the executor's repeat.
            match self.store.commit(txn).await? {
                Verdict::Committed(_) => return Ok(false),
                Verdict::Refused { .. } => {}
            }
        }
        Err(Error::NotNow { why: "the task's record keeps changing" })
    }

    /// Caches are the first to be refused: who lacks one is slower, and not wrong.
    fn has_room(&self, what: &Pushed) -> Result<()> {
        match (self.floor().room(), what) {
            (Room::Enough, _) | (Room::NoNewRuns, Pushed::Artifact(_)) => Ok(()),
            (Room::NoNewRuns, Pushed::Cache { .. }) => {
                Err(Error::NoRoom { why: "the controller's disk is nearly full; it takes no caches" })
            }
            (Room::Backpressure, Pushed::Artifact(_) | Pushed::Cache { .. }) => {
                Err(Error::NoRoom { why: "the controller's disk is full" })
            }
        }
    }
}

fn no_scope() -> Error {
    Error::Conflict { why: "a run of a fork keeps caches only for its pull request, and it has none".into() }
}

fn is_planned(planned: &Planned, what: &Pushed) -> Result<()> {
    let environment = &planned.task().environment;
    let known = match what {
        Pushed::Artifact(name) => environment.artifacts.iter().any(|artifact| artifact.name == *name),
        Pushed::Cache { name, key } => {
            environment.caches.iter().any(|cache| cache.name == *name && fits(key, &cache.key))
        }
    };
    if known {
        return match what {
            Pushed::Cache { .. } if scopes(&planned.run, None).write.is_none() => Err(no_scope()),
            Pushed::Artifact(_) | Pushed::Cache { .. } => Ok(()),
        };
    }
    let why = match what {
        Pushed::Artifact(name) => format!("the task's plan has no artifact {name:?}"),
        Pushed::Cache { name, key } => format!("the task's plan has no cache {name:?} with the key {key:?}"),
    };
    Err(Error::Conflict { why })
}

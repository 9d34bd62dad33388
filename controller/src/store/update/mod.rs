//! The one compare-and-swap loop: read, decide, write if nothing changed meanwhile, or again.
//!
//! **When the outcome is unknown** the change may have happened, or may still happen. Every write
//! carries a mark of its own, and every write of a key compares the revision that it replaces, so at
//! most one write replaces it. The loop therefore reads the key linearizably. Unchanged: the same
//! transaction is repeated, and of the two at most one can take effect. Changed: the history of the
//! key is walked back to the version that replaced ours to replace; its mark says whether the write
//! was this one. If the history does not tell, the caller is told *unknown*: nothing is assumed.

mod epoch;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Store;
use super::codec::{self, Mark, Record};
use super::error::{Error, Result};
use super::range::{KeyValue, RangeRequest, Revision};
use super::txn::{Compare, Expected, Op, Txn, Verdict};

/// What becomes of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit<T> {
    /// It is as it should be; nothing is written.
    Keep,
    Put(T),
    /// Puts it under a lease.
    PutUnder(super::LeaseId, T),
    Delete,
}

/// A decision: what becomes of the record, and what else must hold and change with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<T> {
    pub edit: Edit<T>,
    pub beside: Txn,
}

impl<T> From<Edit<T>> for Decision<T> {
    fn from(edit: Edit<T>) -> Self {
        Self { edit, beside: Txn::new() }
    }
}

impl<T> Edit<T> {
    /// Adds what else must hold, and what else is written, in the same transaction.
    #[must_use]
    pub fn beside(self, beside: Txn) -> Decision<T> {
        Decision { edit: self, beside }
    }
}

/// How an update ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updated {
    /// The decision was carried out at this revision.
    Written(Revision),
    /// The decision was to keep the record, last changed at this revision; none if there is none.
    Kept(Option<Revision>),
}

/// Why an update was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError<E> {
    /// The caller's own decision; nothing was written.
    #[error("the change was refused")]
    Rejected(E),
    /// A compare beside the record did not hold; nothing was written. What was found, in the order
    /// of the compares beside.
    #[error("what had to hold beside the record does not")]
    Beside { found: Vec<Option<KeyValue>> },
    /// Others were faster each time; nothing was written.
    #[error("the record changed under {attempts} attempts")]
    Contended { attempts: u32 },
    #[error(transparent)]
    Store(#[from] Error),
}

/// Where marks and jitter come from.
pub trait Chance: fmt::Debug + Send + Sync {
    /// Returns a number that nobody can expect to see twice.
    fn number(&self) -> u64;
}

/// How often an update is tried, and how long it waits in between.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub attempts: u32,
    /// The longest wait before the second attempt; it doubles with each, up to `longest`.
    pub first: Duration,
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 10, first: Duration::from_millis(2), longest: Duration::from_millis(250) }
    }
}

impl Patience {
    /// Returns the wait after the attempt with this number, counted from 0: anywhere up to its limit.
    fn wait(&self, attempt: u32, chance: &dyn Chance) -> Duration {
        let limit = self.first.saturating_mul(1 << attempt.min(20)).min(self.longest);
        limit.mul_f64((chance.number() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// Changes records by compare-and-swap.
#[derive(Debug, Clone)]
pub struct Updater {
    store: Arc<dyn Store>,
    chance: Arc<dyn Chance>,
    patience: Patience,
}

/// What is known of the key before a write.
#[derive(Debug, Clone)]
struct Known {
    /// None if nothing is there.
    revision: Option<Revision>,
    value: Option<Bytes>,
    /// The store was at least here when it was read.
    seen: Revision,
}

/// What became of a write whose outcome was unknown.
enum Fate {
    /// It has not happened; the key is as it was.
    NotYet,
    Happened(Revision),
    /// Another write came first, so it can never happen.
    Overtaken(Option<KeyValue>),
    /// The history does not tell.
    Unclear,
}

impl Updater {
    pub fn new(store: Arc<dyn Store>, chance: Arc<dyn Chance>, patience: Patience) -> Self {
        Self { store, chance, patience }
    }

    /// Decides about the record under `key`, and carries the decision out if the record is still
    /// what the decision was made on; otherwise decides anew.
    pub async fn update<T, D, E>(
        &self,
        key: &str,
        mut decide: impl FnMut(Option<T>) -> std::result::Result<D, E>,
    ) -> std::result::Result<Updated, UpdateError<E>>
    where
        T: Record,
        D: Into<Decision<T>>,
    {
        let mut known = None;
        for attempt in 0..self.patience.attempts {
            if attempt > 0 {
                tokio::time::sleep(self.patience.wait(attempt - 1, &*self.chance)).await;
            }
            let before = match known.take() {
                Some(known) => known,
                None => match self.read(key).await {
                    Err(error) if error.is_retryable() && !self.is_last(attempt) => continue,
                    read => read?,
                },
            };
            let record = before.value.as_ref().map(|value| codec::decode(value)).transpose()?;
            let Decision { edit, beside } = decide(record).map_err(UpdateError::Rejected)?.into();
            let mark = Mark(self.chance.number());
            let Some(txn) = transaction(key, &before, edit, &beside, mark) else {
                return Ok(Updated::Kept(before.revision));
            };
            match self.write(key, &before, &txn, mark).await? {
                Verdict::Committed(revision) => return Ok(Updated::Written(revision)),
                Verdict::Refused { mut found } => {
                    let now = found.remove(0);
                    if now.as_ref().map(|item| item.mod_revision) == before.revision {
                        return Err(UpdateError::Beside { found });
                    }
                    // The compare that failed found what to decide on next; no need to read again.
                    known = Some(Known::of(now, before.seen));
                }
            }
        }
        Err(UpdateError::Contended { attempts: self.patience.attempts })
    }

    /// Puts a record in the place of the one that was seen at this revision, and carries out what is
    /// beside it; none if something was not so, or is not any more, and then nothing was written.
    ///
    /// What was seen may be old: whoever decided on it asks again, of what is read.
    pub async fn replace<T: Record>(
        &self,
        key: &str,
        seen: Revision,
        record: T,
        beside: &Txn,
    ) -> Result<Option<Revision>> {
        let before = Known { revision: Some(seen), value: None, seen };
        let mark = Mark(self.chance.number());
        let Some(txn) = transaction(key, &before, Edit::Put(record), beside, mark) else { return Ok(None) };
        match self.write(key, &before, &txn, mark).await? {
            Verdict::Committed(revision) => Ok(Some(revision)),
            Verdict::Refused { .. } => Ok(None),
        }
    }

    fn is_last(&self, attempt: u32) -> bool {
        attempt + 1 >= self.patience.attempts
    }

    async fn read(&self, key: &str) -> Result<Known> {
        let page = self.store.range(RangeRequest::key(key)).await?;
        Ok(Known::of(page.items.into_iter().next(), page.revision))
    }

    /// Writes until the outcome is known.
    async fn write(&self, key: &str, before: &Known, txn: &Txn, mark: Mark) -> Result<Verdict> {
        let mut may_have_happened = false;
        let mut attempt = 0;
        loop {
            let error = match self.store.commit(txn.clone()).await {
                Ok(Verdict::Refused { .. }) if may_have_happened => {
                    Error::Unknown("refused after an unknown outcome".into())
                }
                Err(error) if error.is_retryable() => error,
                // A door that has closed says nothing about what went through before.
                Err(error) if may_have_happened => return Err(unknown(error)),
                done => return done,
            };
            may_have_happened |= error.may_have_happened();
            if may_have_happened {
                match self.fate(key, before, mark).await {
                    Ok(Fate::Happened(revision)) => return Ok(Verdict::Committed(revision)),
                    Ok(Fate::Overtaken(now)) => return Ok(Verdict::Refused { found: vec![now] }),
                    Ok(Fate::Unclear) => return Err(unknown(error)),
                    Ok(Fate::NotYet) => {}
                    Err(read) if read.is_retryable() => {}
                    Err(read) => return Err(unknown(read)),
                }
            }
            if self.is_last(attempt) {
                return Err(if may_have_happened { unknown(error) } else { error });
            }
            tokio::time::sleep(self.patience.wait(attempt, &*self.chance)).await;
            attempt += 1;
        }
    }

    /// Finds out whether the write with this mark has happened.
    async fn fate(&self, key: &str, before: &Known, mark: Mark) -> Result<Fate> {
        /// Versions that may have come between the write and the look at it.
        const STEPS: usize = 32;
        let page = self.store.range(RangeRequest::key(key)).await?;
        let now = page.items.into_iter().next();
        let Some(mut version) = now.clone() else {
            // Gone: if it was there, some write between deleted it, and deletions bear no mark.
            return Ok(if before.revision.is_none() && page.revision == before.seen {
                Fate::NotYet
            } else {
                Fate::Unclear
            });
        };
        if Some(version.mod_revision) == before.revision {
            return Ok(Fate::NotYet);
        }
        for _ in 0..STEPS {
            if codec::mark_of(&version.value) == Some(mark) {
                return Ok(Fate::Happened(version.mod_revision));
            }
            let earlier = RangeRequest::key(key).at(Revision(version.mod_revision.0 - 1));
            let older = match self.store.range(earlier).await {
                Ok(page) => page.items.into_iter().next(),
                Err(Error::Compacted { .. }) => return Ok(Fate::Unclear),
                Err(error) => return Err(error),
            };
            match older {
                Some(older) if Some(older.mod_revision) == before.revision => {
                    return Ok(Fate::Overtaken(now));
                }
                Some(older) => version = older,
                // Absent just before: it is the first version since, unless there were others that
                // were deleted, which only a look at every revision between would tell.
                None if before.revision.is_none() && version.mod_revision == before.seen.next() => {
                    return Ok(Fate::Overtaken(now));
                }
                None => return Ok(Fate::Unclear),
            }
        }
        Ok(Fate::Unclear)
    }
}

impl Known {
    fn of(item: Option<KeyValue>, seen: Revision) -> Self {
        Self {
            revision: item.as_ref().map(|item| item.mod_revision),
            value: item.map(|item| item.value),
            seen,
        }
    }
}

fn unknown(error: Error) -> Error {
    if error.may_have_happened() { error } else { Error::Unknown(Box::new(error)) }
}

/// Returns the transaction of a decision, its first compare that of the key; none to keep it.
fn transaction<T: Record>(key: &str, before: &Known, edit: Edit<T>, beside: &Txn, mark: Mark) -> Option<Txn> {
    let txn = Txn::new().when(key, before.revision.map_or(Expected::Absent, Expected::At));
    let txn = match edit {
        Edit::Keep => return None,
        Edit::Put(record) => txn.put(key, codec::encode(&record, Some(mark))),
        Edit::PutUnder(lease, record) => txn.put_under(lease, key, codec::encode(&record, Some(mark))),
        Edit::Delete => txn.delete(key),
    };
    let txn = beside.compares().iter().fold(txn, |txn, Compare { key, expected }| txn.when(key, *expected));
    Some(beside.ops().iter().fold(txn, |txn, op| match op {
        Op::Put { key, value, lease: None } => txn.put(key, value.clone()),
        Op::Put { key, value, lease: Some(lease) } => txn.put_under(*lease, key, value.clone()),
        Op::Delete { key } => txn.delete(key),
    }))
}

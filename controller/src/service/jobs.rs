//! Jobs: put with their history, looked up, listed, deleted.

use std::ops::Bound;

use ocelot_domain::outcome::Actor;
use ocelot_spec::Job;

use super::Service;
use super::error::{Error, Result, What};
use crate::records::{JobRecord, JobVersion};
use crate::store::codec::decode;
use crate::store::keys::{Folder, Key};
use crate::store::update::{Edit, UpdateError};

/// The longest page of a list.
pub(super) const PAGE_MAX: usize = 500;

/// How often a job is tried whose schedules move on meanwhile.
const ROUNDS: usize = 16;

/// Which version a writer has seen, if that matters to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Any,
    /// The job must be new.
    None,
    Version(u32),
}

/// One page of jobs, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPage {
    pub jobs: Vec<JobRecord>,
    /// The name after which the next page begins; none on the last.
    pub next: Option<String>,
}

impl Service {
    /// Puts a job's text. The same text again changes nothing; another becomes a new version.
    pub async fn put_job(&self, text: &str, by: &Actor, seen: Seen) -> Result<JobRecord> {
        let parsed = Job::parse("job.yml", text.as_bytes()).map_err(Error::invalid)?;
        let now = self.timestamp();
        let key = Key::Job(parsed.name.clone()).to_string();
        let timed = self.timed(&parsed)?;
        for _ in 0..ROUNDS {
            let standing = self.schedules_standing(&parsed.name).await?;
            let mut put = None;
            let updated = self.updater.update(&key, |known: Option<JobRecord>| {
                if known.as_ref().is_some_and(|job| job.current().text == text) {
                    put = known;
                    return Ok(Edit::Keep.into());
                }
                let version = known.as_ref().map(|job| job.current().version);
                let is_as_seen = match seen {
                    Seen::Any => true,
                    Seen::None => version.is_none(),
                    Seen::Version(seen) => version == Some(seen),
                };
                if !is_as_seen {
                    let name = parsed.name.clone();
                    return Err(match version {
                        Some(_) => Error::AlreadyExists { what: What::Job, name },
                        None => Error::NotFound { what: What::Job, name },
                    });
                }
                let next = match known {
                    Some(job) => job.with(text.to_owned(), by.clone(), now),
                    None => {
                        let first = JobVersion { version: 1, text: text.to_owned(), by: by.clone(), at: now };
                        JobRecord { name: parsed.name.clone(), versions: vec![first] }
                    }
                };
                let beside = standing.after(&timed, next.current().version);
                put = Some(next.clone());
                Ok(Edit::Put(next).beside(beside))
            });
            match updated.await {
                // A schedule has moved on meanwhile.
                Err(UpdateError::Beside { .. }) => {}
                updated => {
                    settled(updated)?;
                    return put.ok_or(Error::NotNow { why: "the job was not written" });
                }
            }
        }
        Err(Error::NotNow { why: "the job's schedules were faster each time" })
    }

    /// Returns a job, read for this call: what was put is found.
    pub async fn job(&self, name: &str) -> Result<JobRecord> {
        let item = self.read(&Key::Job(name.to_owned()).to_string()).await?;
        let item = item.ok_or_else(|| Error::not_found(What::Job, name))?;
        Ok(decode(&item.value)?)
    }

    /// Lists jobs by name, from the one after `after`.
    pub fn jobs(&self, after: Option<&str>, limit: usize) -> JobPage {
        let folder = Folder::Jobs.to_string();
        let start = match after {
            Some(name) => Bound::Excluded(Key::Job(name.to_owned()).to_string()),
            None => Bound::Included(folder.clone()),
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let mut jobs: Vec<JobRecord> = self.view.read(|items| {
            let items = items.range((start, Bound::Unbounded));
            let items = items.take_while(|(key, _)| key.starts_with(&folder));
            items.filter_map(|(_, entry)| entry.known()?.job().cloned()).take(limit + 1).collect()
        });
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let next = jobs.last().filter(|_| more).map(|job| job.name.clone());
        JobPage { jobs, next }
    }

    /// Deletes a job and its schedules; its runs stay. Returns whether it was there.
    pub async fn delete_job(&self, name: &str) -> Result<bool> {
        let key = Key::Job(name.to_owned()).to_string();
        for _ in 0..ROUNDS {
            let standing = self.schedules_standing(name).await?;
            let mut existed = false;
            let updated = self.updater.update(&key, |known: Option<JobRecord>| {
                existed |= known.is_some();
                let edit = if known.is_some() { Edit::Delete } else { Edit::Keep };
                Ok::<_, Error>(edit.beside(standing.gone()))
            });
            match updated.await {
                Err(UpdateError::Beside { .. }) => {}
                updated => {
                    settled(updated)?;
                    return Ok(existed);
                }
            }
        }
        Err(Error::NotNow { why: "the job's schedules were faster each time" })
    }
}

/// Makes of an update's end what a caller is told.
pub(super) fn settled<T>(updated: std::result::Result<T, UpdateError<Error>>) -> Result<T> {
    updated.map_err(|error| match error {
        UpdateError::Rejected(error) => error,
        UpdateError::Beside { .. } | UpdateError::Contended { .. } => {
            Error::NotNow { why: "others were faster each time" }
        }
        UpdateError::Store(error) => error.into(),
    })
}

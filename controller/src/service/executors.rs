//! What an operator does with an executor: drain, resume, quarantine, remove.

use std::collections::BTreeMap;
use std::ops::Bound;

use ocelot_core::id::ExecutorId;
use ocelot_domain::outcome::Actor;

use super::error::{Error, Result, What};
use super::jobs::{PAGE_MAX, settled};
use super::{AttemptRef, Service};
use crate::records::{ExecutorEpoch, ExecutorRecord, Notice, SessionRecord, Stored};
use crate::store::codec::decode;
use crate::store::keys::{Folder, Key};
use crate::store::update::Edit;
use crate::store::view::Entry;
use crate::store::{Expected, Txn};

/// An executor with its session, if it has one.
pub type Known = (ExecutorRecord, Option<SessionRecord>);

fn session_of(items: &BTreeMap<String, Entry<Stored>>, id: ExecutorId) -> Option<&SessionRecord> {
    let epoch = items.get(&Key::ExecutorEpoch(id).to_string())?.known()?.epoch()?;
    items.get(&Key::Session(epoch.session.id).to_string())?.known()?.session()
}

impl Service {
    /// Lists executors by id, from the one after `after`; with the place where the next page begins.
    pub fn executors(&self, after: Option<ExecutorId>, limit: usize) -> (Vec<Known>, Option<ExecutorId>) {
        let folder = Folder::Executors.to_string();
        let start = match after {
            Some(id) => Bound::Excluded(Key::ExecutorEpoch(id).to_string()),
            None => Bound::Included(folder.clone()),
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let mut found: Vec<Known> = self.view.read(|items| {
            let session_of = |id| session_of(items, id).cloned();
            let items = items.range((start, Bound::Unbounded));
            let items = items.take_while(|(key, _)| key.starts_with(&folder));
            let records = items.filter_map(|(_, entry)| entry.known()?.executor().cloned());
            records.map(|record| (record.clone(), session_of(record.id))).take(limit + 1).collect()
        });
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(record, _)| record.id);
        (found, next)
    }

    /// Lists those executors that are wanted by name, from the one after `after`, at most so many.
    /// Only what is listed is copied.
    pub fn executors_by_name(
        &self,
        after: Option<&str>,
        limit: usize,
        wanted: impl Fn(&ExecutorRecord) -> bool,
    ) -> Vec<Known> {
        let folder = Folder::Executors.to_string();
        self.view.read(|items| {
            let all = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let records = all.filter_map(|(_, entry)| entry.known()?.executor());
            let behind = records.filter(|record| after.is_none_or(|after| record.name.as_str() > after));
            let mut found: Vec<&ExecutorRecord> = behind.filter(|record| wanted(record)).collect();
            found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            found.truncate(limit);
            found.into_iter().map(|one| (one.clone(), session_of(items, one.id).cloned())).collect()
        })
    }

    /// Finds the executor that a person means: its name, its id, or any unique part of that.
    pub fn find_executor(&self, text: &str) -> Result<Known> {
        let wanted = text.to_lowercase();
        let all = self.all_executors();
        let named = all.iter().find(|(record, _)| record.name == text);
        if let Some(known) = named {
            return Ok(known.clone());
        }
        let is_part = |(record, _): &&Known| wanted.len() >= 4 && record.id.to_string().contains(&wanted);
        let found: Vec<&Known> = all.iter().filter(is_part).collect();
        match found[..] {
            [] => Err(Error::not_found(What::Executor, text)),
            [known] => Ok(known.clone()),
            [_, _, ..] => {
                let shown = |(record, _): &&Known| format!("{}  {}", record.id, record.name);
                let matches = found.iter().take(10).map(shown).collect();
                Err(Error::Ambiguous { what: What::Executor, text: text.to_owned(), matches })
            }
        }
    }

    /// Returns all executors with their sessions.
    pub fn all_executors(&self) -> Vec<Known> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let (mut page, next) = self.executors(after, PAGE_MAX);
            all.append(&mut page);
            match next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    }

    /// Returns whether an executor has a label, written as it is granted.
    pub fn has_label(&self, record: &ExecutorRecord, label: &str) -> bool {
        super::fleet::has_label(record, label)
    }

    /// Returns the labels of an executor: those it was granted, then those of its machine.
    pub fn labels_of(&self, record: &ExecutorRecord) -> Vec<String> {
        super::fleet::shown_labels(record)
    }

    /// Returns the attempts that the records give to an executor.
    pub fn held_by(&self, session: &SessionRecord) -> Vec<AttemptRef> {
        let tasks = self.board().held_by(&session.session.id);
        let attempt = |id: ocelot_core::id::TaskId| {
            let entry = self.view.get(&Key::Task(id).to_string())?;
            let task = entry.known()?.task()?.clone();
            let live = task.live()?;
            Some(AttemptRef::of(&task, live))
        };
        tasks.into_iter().filter_map(attempt).collect()
    }

    /// Returns an executor as it is stored now, with its session.
    pub async fn executor(&self, id: ExecutorId) -> Result<Known> {
        let item = self.read(&Key::Executor(id).to_string()).await?;
        let record = decode(&item.ok_or_else(|| Error::not_found(What::Executor, id))?.value)?;
        let epoch = self.read(&Key::ExecutorEpoch(id).to_string()).await?;
        let epoch: Option<ExecutorEpoch> = epoch.map(|item| decode(&item.value)).transpose()?;
        let session = match epoch {
            Some(epoch) => self.read(&Key::Session(epoch.session.id).to_string()).await?,
            None => None,
        };
        Ok((record, session.map(|item| decode(&item.value)).transpose()?))
    }

    /// Gives the executor no more work; what it holds may finish.
    pub async fn drain_executor(&self, id: ExecutorId, why: &str, by: &Actor) -> Result<()> {
        let notice = self.notice(why, by);
        self.change_executor(id, |record| ExecutorRecord {
            draining: record.draining.clone().or_else(|| Some(notice.clone())),
            ..record
        })
        .await
    }

    /// Lets a drained or quarantined executor take work again.
    pub async fn resume_executor(&self, id: ExecutorId) -> Result<()> {
        self.forget_failed_deliveries(&id);
        self.change_executor(id, |record| ExecutorRecord { draining: None, quarantined: None, ..record })
            .await
    }

    /// Gives the executor no more work until a person lets it.
    pub async fn quarantine_executor(&self, id: ExecutorId, why: &str, by: &Actor) -> Result<()> {
        let notice = self.notice(why, by);
        self.change_executor(id, |record| ExecutorRecord {
            quarantined: record.quarantined.clone().or_else(|| Some(notice.clone())),
            ..record
        })
        .await
    }

    /// Removes the registration and the session. What the executor held is lost to it, and is taken
    /// away like that of any session that is gone.
    pub async fn remove_executor(&self, id: ExecutorId) -> Result<bool> {
        let item = self.read(&Key::ExecutorEpoch(id).to_string()).await?;
        // Compared, so that a session opened at this moment does not stay behind.
        let expected = item.as_ref().map_or(Expected::Absent, |item| Expected::At(item.mod_revision));
        let epoch: Option<ExecutorEpoch> = item.map(|item| decode(&item.value)).transpose()?;
        let mut existed = false;
        let key = Key::Executor(id).to_string();
        let updated = self.updater.update(&key, |record: Option<ExecutorRecord>| {
            existed |= record.is_some();
            let Some(record) = record else { return Ok::<_, Error>(Edit::<ExecutorRecord>::Keep.into()) };
            let beside = Txn::new().when(Key::ExecutorEpoch(id), expected);
            let beside = beside.delete(Key::ExecutorName(record.name)).delete(Key::ExecutorEpoch(id));
            let beside = match &epoch {
                Some(epoch) => beside.delete(Key::Session(epoch.session.id)),
                None => beside,
            };
            Ok(Edit::Delete.beside(beside))
        });
        settled(updated.await)?;
        Ok(existed)
    }

    /// Ends a session of its own will: a drained executor that stops.
    pub async fn close_session(&self, session: ocelot_domain::task::Session) -> Result<()> {
        let key = Key::Session(session.id).to_string();
        let updated = self.updater.update(&key, |record: Option<SessionRecord>| {
            Ok::<_, Error>(if record.is_some() { Edit::Delete } else { Edit::<SessionRecord>::Keep })
        });
        settled(updated.await).map(drop)
    }

    async fn change_executor(
        &self,
        id: ExecutorId,
        change: impl Fn(ExecutorRecord) -> ExecutorRecord + Send + Sync,
    ) -> Result<()> {
        let key = Key::Executor(id).to_string();
        let updated = self.updater.update(&key, |record: Option<ExecutorRecord>| {
            let record = record.ok_or_else(|| Error::not_found(What::Executor, id))?;
            let next = change(record.clone());
            Ok(if next == record { Edit::Keep } else { Edit::Put(next) })
        });
        settled(updated.await)?;
        self.waiters.wake_executor(&id);
        Ok(())
    }

    fn notice(&self, why: &str, by: &Actor) -> Notice {
        Notice { why: why.to_owned(), by: by.clone(), at: self.timestamp() }
    }
}

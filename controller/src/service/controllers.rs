//! The controllers that run, and how much there is to do: what an operator is shown of the whole.

use std::time::Duration;

use super::Service;
use super::error::Result;
use super::jobs::settled;
use crate::records::{ControllerRecord, Digest};
use crate::store::codec::decode;
use crate::store::keys::{Folder, Key};
use crate::store::update::Edit;
use crate::store::{Health, LeaseId};

/// How much there is to do, and who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub executors_online: u32,
    pub executors_total: u32,
    pub tasks_queued: u64,
    pub tasks_running: u64,
}

impl Service {
    /// Returns the name that this controller goes by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the controllers that run, by name, as the view has them.
    pub fn controllers(&self) -> Vec<ControllerRecord> {
        let folder = Folder::Controllers.to_string();
        self.view.read(|items| {
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            items.filter_map(|(_, entry)| entry.known()?.controller().cloned()).collect()
        })
    }

    /// Finds the controller that has the token with this digest; one that the view does not have yet
    /// is looked for in the store.
    pub async fn controller_with(&self, token: &Digest) -> crate::store::Result<Option<ControllerRecord>> {
        if let Some(known) = self.controllers().into_iter().find(|one| one.token == *token) {
            return Ok(Some(known));
        }
        let page = self.store.range(crate::store::RangeRequest::prefix(Folder::Controllers)).await?;
        for item in &page.items {
            let record: ControllerRecord = decode(&item.value)?;
            if record.token == *token {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Writes down that this controller runs, for as long as the lease lives.
    pub async fn announce(&self, record: &ControllerRecord, lease: LeaseId) -> Result<()> {
        let key = Key::Controller(record.name.clone()).to_string();
        let updated = self.updater.update(&key, |_: Option<ControllerRecord>| {
            Ok::<_, super::Error>(Edit::PutUnder(lease, record.clone()))
        });
        settled(updated.await).map(drop)
    }

    /// Returns the controller of this name, as the view has it.
    pub fn announced(&self, name: &str) -> Option<ControllerRecord> {
        let entry = self.view.get(&Key::Controller(name.to_owned()).to_string())?;
        entry.known()?.controller().cloned()
    }

    /// Waits until the view has been read once.
    pub async fn loaded(&self) {
        self.view.loaded().await;
    }

    /// Returns whether the view has been read once.
    pub fn is_loaded(&self) -> bool {
        self.view.applied() > crate::store::Revision(0)
    }

    /// Makes a lease for what must vanish with this controller.
    pub async fn lease(&self, ttl: Duration) -> Result<LeaseId> {
        Ok(self.store.grant(ttl).await?.id)
    }

    /// Gives the lease its full time again; returns false when it is gone.
    pub async fn keep_lease(&self, lease: LeaseId) -> Result<bool> {
        match self.store.keep_alive(lease).await {
            Ok(_) => Ok(true),
            Err(crate::store::Error::LeaseGone) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the lease, and with it what lives under it.
    pub async fn end_lease(&self, lease: LeaseId) -> Result<()> {
        Ok(self.store.revoke(lease).await?)
    }

    /// Tells how the store is, by asking it.
    pub async fn store_health(&self) -> Result<Health> {
        Ok(self.store.health().await?)
    }

    /// Returns the store's epoch.
    pub async fn store_epoch(&self) -> Result<u64> {
        self.epoch().await.map(|(epoch, _)| epoch.0)
    }

    /// Counts tasks and executors, as the view has them.
    pub fn load(&self) -> Load {
        let queued = self.view.read(|items| {
            let folder = Folder::Tasks.to_string();
            let tasks = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let tasks = tasks.filter_map(|(_, entry)| entry.known()?.task());
            tasks.fold((0, 0), |(queued, held), task| match &task.state {
                ocelot_domain::task::TaskState::Queued { .. } => (queued + 1, held),
                ocelot_domain::task::TaskState::Offered { .. }
                | ocelot_domain::task::TaskState::Running { .. }
                | ocelot_domain::task::TaskState::Cancelling { .. } => (queued, held + 1),
                ocelot_domain::task::TaskState::Waiting { .. }
                | ocelot_domain::task::TaskState::Finished { .. } => (queued, held),
            })
        });
        let board = self.board();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Load {
            executors_online: count(board.sessions.len()),
            executors_total: count(board.fleet.len()),
            tasks_queued: queued.0,
            tasks_running: queued.1,
        }
    }
}

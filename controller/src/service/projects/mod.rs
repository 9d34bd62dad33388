//! Projects: what happens to a repository becomes a run, exactly once.
//!
//! An event is put durably first ([`events`]) and decided later ([`decide`]), by any controller and by
//! as many as like: its id is derived from what happened, and the run bears the event's id, so that a
//! duplicate, a replay, a poll and a second controller all end at the same records. What cannot be
//! found out yet stays pending; nothing here gives up silently.

mod build;
mod checkout;
mod decide;
mod definition;
mod events;
mod facts;
mod hook;
mod look;
mod mirrors;
mod settings;
mod steps;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use build::BuildRequest;
pub use checkout::Opens;
pub(crate) use decide::Tried;
pub use events::{EventPage, Received, Told};
pub use hook::{HookPut, LeftToDo};
pub use mirrors::{MIRRORS_BYTES, Mirrors};
pub use settings::{ProjectChange, ProjectFilter, ProjectPage, PutProject, SeenProject};

use super::Service;
use super::error::{Error, Result, What};
use crate::records::{ProjectName, ProjectRecord};
use crate::store::codec::decode;

/// Where the secrets of projects are kept.
#[async_trait]
pub trait ProjectSecrets: fmt::Debug + Send + Sync {
    /// Returns the value of a secret in a project's scope; none if there is no such.
    async fn secret(&self, project: &ProjectName, name: &str) -> Result<Option<Zeroizing<String>>>;
}

/// What the use cases of projects are given.
#[derive(Debug, Default)]
pub(super) struct Given {
    mirrors: OnceLock<Mirrors>,
    secrets: OnceLock<Arc<dyn ProjectSecrets>>,
}

impl Service {
    /// Gives the folder of mirrors, without which no commit can be looked at. The first word counts.
    pub fn set_mirrors(&self, mirrors: Mirrors) {
        self.projects.mirrors.get_or_init(|| mirrors);
    }

    /// Gives the home of projects' secrets. The first word counts.
    pub fn set_project_secrets(&self, secrets: Arc<dyn ProjectSecrets>) {
        self.projects.secrets.get_or_init(|| secrets);
    }

    pub(crate) fn mirrors(&self) -> Result<&Mirrors> {
        self.projects.mirrors.get().ok_or(Error::NotNow { why: "this controller has no folder for mirrors" })
    }

    /// Returns a project, read for this call.
    pub async fn project(&self, name: &ProjectName) -> Result<ProjectRecord> {
        self.project_if_there(name).await?.ok_or_else(|| Error::not_found(What::Project, name))
    }

    async fn project_if_there(&self, name: &ProjectName) -> Result<Option<ProjectRecord>> {
        let item = self.read(&name.key().to_string()).await?;
        Ok(item.map(|item| decode(&item.value)).transpose()?)
    }

    /// Returns a project as the view has it.
    pub(crate) fn sight_of_project(&self, name: &ProjectName) -> Option<ProjectRecord> {
        self.view.get(&name.key().to_string())?.known()?.project().cloned()
    }

    /// Returns the value of a secret that a project names.
    pub(crate) async fn project_secret(&self, project: &ProjectName, name: &str) -> Result<Zeroizing<String>> {
        let secrets = self.projects.secrets.get();
        let secrets = secrets.ok_or(Error::NotNow { why: "this controller keeps no secrets of projects" })?;
        secrets.secret(project, name).await?.ok_or_else(|| Error::Conflict {
            why: format!(
                "there is no secret {name:?} in {project}; set it with `ocelot secret set {name} --project {project}`"
            ),
        })
    }
}

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
mod heads;
mod hook;
mod line;
mod look;
mod mirrors;
mod settings;
mod steps;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::time::SystemTime;

use ocelot_git::GitError;
use zeroize::Zeroizing;

pub use build::BuildRequest;
pub use checkout::Opens;
pub(crate) use decide::Tried;
pub use events::{EventPage, Received, Told};
pub(crate) use events::{commit_of, summary};
pub use hook::{HookPut, LeftToDo};
pub(crate) use line::Reach;
pub(crate) use look::event_of;
pub use mirrors::{MIRRORS_BYTES, Mirrors};
pub use settings::{ProjectChange, ProjectFilter, ProjectPage, PutProject, SeenProject};

use super::Service;
use super::error::{Error, Result, What};
use crate::forge::ForgeLine;
use crate::records::{ProjectName, ProjectRecord, SecretRecord};
use crate::store::codec::decode;
use crate::store::keys::{Key, SecretScope};

/// What the use cases of projects are given.
#[derive(Debug, Default)]
pub(super) struct Given {
    line: OnceLock<ForgeLine>,
    mirrors: OnceLock<Mirrors>,
}

impl Service {
    /// Gives the folder of mirrors, without which no commit can be looked at. The first word counts.
    pub fn set_mirrors(&self, mirrors: Mirrors) {
        self.projects.mirrors.get_or_init(|| mirrors);
    }

    pub(crate) fn mirrors(&self) -> Result<&Mirrors> {
        self.projects.mirrors.get().ok_or(Error::NotNow { why: "this controller has no folder for mirrors" })
    }

    /// Keeps the mirrors within their budget.
    pub(crate) async fn tidy_mirrors(&self, now: SystemTime) -> std::result::Result<usize, GitError> {
        match self.projects.mirrors.get() {
            Some(mirrors) => mirrors.tidy(now).await,
            None => Ok(0),
        }
    }

    /// Returns a project, read for this call.
    pub async fn project(&self, name: &ProjectName) -> Result<ProjectRecord> {
        self.project_if_there(name).await?.ok_or_else(|| Error::not_found(What::Project, name))
    }

    pub(crate) async fn project_if_there(&self, name: &ProjectName) -> Result<Option<ProjectRecord>> {
        let item = self.read(&name.key().to_string()).await?;
        Ok(item.map(|item| decode(&item.value)).transpose()?)
    }

    /// Returns a project as the view has it.
    pub(crate) fn sight_of_project(&self, name: &ProjectName) -> Option<ProjectRecord> {
        self.view.get(&name.key().to_string())?.known()?.project().cloned()
    }

    /// Returns the value of a secret that a project names.
    pub(crate) async fn project_secret(
        &self,
        project: &ProjectName,
        name: &str,
    ) -> Result<Zeroizing<String>> {
        let scope = SecretScope::Project { owner: project.owner().into(), name: project.name().into() };
        let key = Key::Secret(scope, name.to_owned()).to_string();
        let missing = || Error::Conflict {
            why: format!(
                "there is no secret {name:?} in {project}; set it with `ocelot secret set {name} --project \
                 {project}`"
            ),
        };
        let item = self.read(&key).await?.ok_or_else(missing)?;
        let SecretRecord { sealed, .. } = decode(&item.value)?;
        let value = self.open(&key, &sealed)?;
        let text = std::str::from_utf8(&value).map_err(|_| Error::Conflict {
            why: format!("the secret {name:?} of {project} is no text, so it opens nothing"),
        })?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

//! A project at its forge: its webhook registered, tried and taken away there, and its id learnt.
//!
//! Everything here needs the project's token for the forge; without one, or when the forge refuses,
//! a person is told what is left to do. The record says what is at the forge only after it is there.

use ocelot_forge::Forge;
use ocelot_forge::secret::{ForgeToken, Secret};

use super::hook::LeftToDo;
use crate::forge::{ForgeLine, Home, LineError, token_of};
use crate::records::{HookRecord, ProjectName, ProjectRecord};
use crate::service::Service;
use crate::service::error::{Error, Result, What};
use crate::service::jobs::settled;
use crate::store::update::Edit;

/// A forge that can be asked about a project.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) line: ForgeLine,
    pub(crate) home: Home,
    pub(crate) token: ForgeToken,
}

impl Service {
    /// Gives the line to the forges, without which none is asked or told. The first word counts.
    pub fn set_forge_line(&self, line: ForgeLine) {
        self.projects.line.get_or_init(|| line);
    }

    pub(crate) fn forge_line(&self) -> Result<&ForgeLine> {
        self.projects.line.get().ok_or(Error::NotNow { why: "this controller has no line to the forges" })
    }

    /// Returns how a project's forge is reached; none if it has none, or no token for it.
    pub(crate) async fn reach(&self, project: &ProjectRecord) -> Result<Option<Reach>> {
        let (Some(link), Some(name)) = (&project.forge, &project.forge_secret) else { return Ok(None) };
        let line = self.forge_line()?;
        let home = line.home(&project.url, link).map_err(refused)?;
        let secret = self.project_secret(&project.name, name).await?;
        Ok(Some(Reach { line: line.clone(), home, token: token_of(link.kind, &secret) }))
    }

    /// Notes which repository a project is at its forge, once that is known; the first word counts.
    pub async fn learn_repository(&self, name: &ProjectName, kind: Forge, id: &str) -> Result<()> {
        let key = name.key().to_string();
        let updated = self.updater.update(&key, |known: Option<ProjectRecord>| {
            let mut project = known.ok_or_else(|| Error::not_found(What::Project, name))?;
            let Some(link) = project.forge.as_mut().filter(|link| link.kind == kind) else {
                return Ok(Edit::Keep);
            };
            if link.repository.is_some() {
                return Ok(Edit::Keep);
            }
            link.repository = Some(id.to_owned());
            Ok(Edit::Put(project))
        });
        settled(updated.await).map(drop)
    }

    /// Registers the project's webhook at its forge; returns whether it is there now, and what is left
    /// to do if it is not.
    pub(super) async fn register_hook(&self, project: &ProjectRecord) -> (bool, LeftToDo) {
        match self.try_register(project).await {
            Ok(is_there) => (is_there, LeftToDo::new()),
            Err(error) => {
                tracing::warn!(project = %project.name, %error, "the webhook could not be registered");
                (false, vec![format!("the webhook could not be registered: {error}")])
            }
        }
    }

    async fn try_register(&self, project: &ProjectRecord) -> Result<bool> {
        let Some(Reach { line, home, token }) = self.reach(project).await? else { return Ok(false) };
        let identity = line.repository(&home, &token).await.map_err(refused)?;
        self.learn_repository(&project.name, home.kind, identity.id.as_str()).await?;
        let secrets = self.hook_secrets(project).await?;
        let Some(secret) = secrets.first() else { return Ok(false) };
        let secret = Secret::new(secret.as_str()).map_err(Error::invalid)?;
        let url = self.hook_url(project);
        let registered = line.register(&home, &token, &url, &secret).await.map_err(refused)?;
        self.note_registered(&project.name, Some(registered.id)).await?;
        tracing::info!(project = %project.name, forge = %home.kind, "the webhook is registered");
        Ok(true)
    }

    async fn note_registered(&self, name: &ProjectName, id: Option<String>) -> Result<()> {
        let key = name.key().to_string();
        let updated = self.updater.update(&key, |known: Option<ProjectRecord>| {
            let Some(mut project) = known else { return Ok::<_, Error>(Edit::Keep) };
            let Some(hook) = project.hook.take() else { return Ok(Edit::Keep) };
            if hook.registered == id {
                return Ok(Edit::Keep);
            }
            project.hook = Some(HookRecord { registered: id.clone(), ..hook });
            Ok(Edit::Put(project))
        });
        settled(updated.await).map(drop)
    }

    /// Lets the forge send a trial delivery; returns whether it could be asked to.
    pub(super) async fn ping_hook(&self, project: &ProjectRecord) -> Result<bool> {
        let id = project.hook.as_ref().and_then(|hook| hook.registered.as_deref());
        let (Some(id), Some(reach)) = (id, self.reach(project).await?) else { return Ok(false) };
        let Reach { line, home, token } = reach;
        line.ping(&home, &token, id).await.map_err(refused)
    }

    /// Takes the webhook away at the forge; returns whether it is gone.
    pub(super) async fn unregister_hook(&self, project: &ProjectRecord) -> bool {
        let Some(id) = project.hook.as_ref().and_then(|hook| hook.registered.as_deref()) else {
            return false;
        };
        let removed = async {
            let Some(Reach { line, home, token }) = self.reach(project).await? else { return Ok(false) };
            line.remove(&home, &token, id).await.map_err(refused)?;
            Ok::<_, Error>(true)
        };
        match removed.await {
            Ok(is_gone) => is_gone,
            Err(error) => {
                tracing::warn!(project = %project.name, %error, "the webhook could not be taken away");
                false
            }
        }
    }
}

fn refused(error: LineError) -> Error {
    Error::Conflict { why: error.to_string() }
}

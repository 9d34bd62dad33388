//! A project's webhook: its secrets, sealed, and what an operator has left to do.
//!
//! A secret is shown once, by the call that made it. After a rotation the old one works for a while, so
//! that no delivery is refused between here and the forge.

use std::time::Duration;

use ocelot_domain::outcome::Actor;
use ocelot_domain::task::state::Timestamp;
use zeroize::Zeroizing;

use crate::records::{HookRecord, PreviousSecret, ProjectName, ProjectRecord};
use crate::seal::Sealed;
use crate::service::Service;
use crate::service::error::{Error, Result, What};
use crate::service::jobs::settled;
use crate::store::update::Edit;

/// How often the time of the last delivery is written.
const SEEN_EVERY: Duration = Duration::from_secs(60);

/// What is left to do by hand, as sentences.
pub type LeftToDo = Vec<String>;

/// A project after its webhook's secret was made.
#[derive(Debug, Clone)]
pub struct HookPut {
    pub project: ProjectRecord,
    /// The secret, this once.
    pub secret: Zeroizing<String>,
    pub left_to_do: LeftToDo,
}

impl Service {
    /// Makes a new secret for a project's webhook; the old one works for the overlap.
    pub async fn rotate_hook(&self, name: &ProjectName, overlap: Duration, by: &Actor) -> Result<HookPut> {
        let secret = self.hook_secret();
        let sealed = self.seal_hook(name, &secret)?;
        let now = self.timestamp();
        let until = now.unix_ms.saturating_add(u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX));
        let mut put = None;
        let key = name.key().to_string();
        let updated = self.updater.update(&key, |known: Option<ProjectRecord>| {
            let mut project = known.ok_or_else(|| Error::not_found(What::Project, name))?;
            let before = project.hook.take();
            let previous = before.as_ref().filter(|_| !overlap.is_zero()).map(|before| PreviousSecret {
                secret: before.current.clone(),
                until: Timestamp { unix_ms: until },
            });
            project.hook = Some(HookRecord {
                current: sealed.clone(),
                previous,
                registered: before.as_ref().and_then(|before| before.registered.clone()),
                seen_at: before.and_then(|before| before.seen_at),
            });
            (project.updated_at, project.updated_by) = (now, by.clone());
            put = Some(project.clone());
            Ok(Edit::Put(project))
        });
        settled(updated.await)?;
        let project = put.ok_or(Error::NotNow { why: "the project was not written" })?;
        let is_registered = project.hook.as_ref().is_some_and(|hook| hook.registered.is_some());
        let (is_there, mut left_to_do) = match is_registered {
            true => self.register_hook(&project).await,
            false => (false, LeftToDo::new()),
        };
        if !is_there {
            left_to_do.extend(self.hook_left_to_do(&project, true));
        }
        Ok(HookPut { project, secret, left_to_do })
    }

    /// Returns the secrets that a delivery may be signed with, the newest first.
    pub async fn hook_secrets(&self, project: &ProjectRecord) -> Result<Vec<Zeroizing<String>>> {
        let Some(hook) = &project.hook else { return Ok(Vec::new()) };
        hook.secrets(self.timestamp()).map(|sealed| self.open_hook(&project.name, sealed)).collect()
    }

    /// Lets the forge try a webhook, or says how it is tried by hand.
    pub async fn test_hook(&self, name: &ProjectName) -> Result<LeftToDo> {
        let project = self.project(name).await?;
        if project.hook.is_none() {
            let why = format!("{name} has no webhook; make one with `ocelot project hook rotate {name}`");
            return Err(Error::Conflict { why });
        }
        let arrival = format!("see its arrival with `ocelot project describe {name}`");
        if self.ping_hook(&project).await? {
            return Ok(vec![arrival]);
        }
        let where_to = match &project.forge {
            Some(link) => format!("send a ping from the webhook's page of {name} at {}", link.kind.name()),
            None => format!("push to {name}, or post a signed event to {}", self.hook_url(&project)),
        };
        Ok(vec![where_to, format!("then {arrival}")])
    }

    /// Notes that a delivery came with a right signature; written once a minute at most.
    pub async fn note_delivery(&self, name: &ProjectName) -> Result<()> {
        let now = self.timestamp();
        let every = u64::try_from(SEEN_EVERY.as_millis()).unwrap_or(u64::MAX);
        let is_recent = |project: &ProjectRecord| {
            let seen = project.hook.as_ref().and_then(|hook| hook.seen_at);
            seen.is_some_and(|seen| now.unix_ms.saturating_sub(seen.unix_ms) < every)
        };
        if self.sight_of_project(name).as_ref().is_some_and(is_recent) {
            return Ok(());
        }
        let key = name.key().to_string();
        let updated = self.updater.update(&key, |known: Option<ProjectRecord>| {
            let Some(mut project) = known.filter(|project| !is_recent(project)) else {
                return Ok::<_, Error>(Edit::Keep);
            };
            let Some(hook) = &mut project.hook else { return Ok(Edit::Keep) };
            hook.seen_at = Some(now);
            Ok(Edit::Put(project))
        });
        settled(updated.await).map(drop)
    }

    /// Returns where the forge of a project sends its events.
    pub fn hook_url(&self, project: &ProjectRecord) -> String {
        let kind = project.forge.as_ref().map_or("git", |link| link.kind.word());
        let base = self.url.get().map(String::as_str).unwrap_or_default();
        format!("{base}/hooks/{kind}/{}", project.name)
    }

    /// Says how the webhook is made by hand.
    pub(super) fn hook_left_to_do(&self, project: &ProjectRecord, with_secret: bool) -> LeftToDo {
        let (url, name) = (self.hook_url(project), &project.name);
        let secret = if with_secret { ", with the secret that is shown here once" } else { "" };
        match &project.forge {
            Some(link) => vec![format!(
                "in the settings of {name} at {}, set a webhook for pushes, tags and pull requests to {url} as JSON{secret}",
                link.kind.name()
            )],
            None => vec![format!(
                "have the repository's post-receive hook post to {url}, signed{secret}, or have it polled"
            )],
        }
    }

    pub(super) fn hook_secret(&self) -> Zeroizing<String> {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(self.random());
        Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn seal_hook(&self, project: &ProjectName, secret: &str) -> Result<Sealed> {
        self.seal(&project.key().to_string(), secret.as_bytes())
    }

    fn open_hook(&self, project: &ProjectName, sealed: &Sealed) -> Result<Zeroizing<String>> {
        let bytes = self.open(&project.key().to_string(), sealed)?;
        Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

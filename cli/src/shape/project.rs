//! Projects, and what happened to them.

use ocelot_proto::wire;
use ocelot_proto::wire::project_event::Decision;
use serde::Serialize;

use super::{Run, text, uuid};
use crate::show::precise;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) forge: Option<String>,
    pub(crate) default_branch: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) enabled: bool,
    pub(crate) retention_ms: Option<u64>,
    pub(crate) poll_every_ms: Option<u64>,
    pub(crate) hook_url: Option<String>,
    pub(crate) hook_registered: bool,
    pub(crate) hook_seen: Option<String>,
    pub(crate) git_secret: Option<String>,
    pub(crate) forge_secret: Option<String>,
    pub(crate) builds_forks: bool,
    pub(crate) trouble: Option<String>,
    pub(crate) polled: Option<String>,
    pub(crate) created: Option<String>,
    pub(crate) updated: Option<String>,
    pub(crate) updated_by: Option<String>,
}

/// Something that was received, and what was decided.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) received: Option<String>,
    pub(crate) summary: String,
    pub(crate) commit: Option<String>,
    pub(crate) by: Option<String>,
    /// `pending` `run` `ignored` `rejected` `unknown`.
    pub(crate) decision: &'static str,
    /// Why it was ignored or rejected, or why it waits.
    pub(crate) why: Option<String>,
    pub(crate) run: Option<Run>,
}

impl From<&wire::Project> for Project {
    fn from(project: &wire::Project) -> Self {
        Self {
            name: project.name.clone(),
            url: project.url.clone(),
            forge: text(&project.forge),
            default_branch: text(&project.default_branch),
            group: text(&project.group),
            enabled: project.enabled,
            retention_ms: Some(project.retention_ms).filter(|ms| *ms > 0),
            poll_every_ms: Some(project.poll_every_ms).filter(|ms| *ms > 0),
            hook_url: text(&project.hook_url),
            hook_registered: project.hook_registered,
            hook_seen: precise(project.hook_seen_unix_us),
            git_secret: text(&project.git_secret),
            forge_secret: text(&project.forge_secret),
            builds_forks: project.builds_forks,
            trouble: text(&project.trouble),
            polled: precise(project.polled_unix_us),
            created: precise(project.created_unix_us),
            updated: precise(project.updated_unix_us),
            updated_by: text(&project.updated_by),
        }
    }
}

impl From<&wire::ProjectEvent> for Event {
    fn from(event: &wire::ProjectEvent) -> Self {
        let (decision, why, run) = match &event.decision {
            Some(Decision::Pending(pending)) => ("pending", text(&pending.trouble), None),
            Some(Decision::Run(run)) => ("run", None, Some(Run::from(run))),
            Some(Decision::Ignored(why)) => ("ignored", text(why), None),
            Some(Decision::Rejected(why)) => ("rejected", text(why), None),
            None => ("unknown", None, None),
        };
        Self {
            id: uuid(&event.id),
            received: precise(event.received_unix_us),
            summary: event.summary.clone(),
            commit: text(&event.commit),
            by: text(&event.by),
            decision,
            why,
            run,
        }
    }
}

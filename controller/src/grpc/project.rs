//! The service of projects.

use std::sync::Arc;
use std::time::Duration;

use ocelot_proto::wire;
use ocelot_proto::wire::project_service_server::ProjectService;
use ocelot_spec::Glob;
use tonic::{Request, Response, Status};

use crate::error::{Error, Kind};
use crate::page;
use crate::records::{EventDecision, EventRecord, ProjectName, ProjectRecord, Trigger, TriggerKind};
use crate::service::{BuildRequest, ProjectChange, ProjectFilter, SeenProject, Service, commit_of, summary};
use crate::store::Revision;

use super::{convert, invalid, person};

const PROJECTS: u32 = 100;
const EVENTS: u32 = 50;
/// The longest text of a definition that is given with a run.
const DEFINITION_BYTES_MAX: usize = 1024 * 1024;
/// Variables that are given with a run.
const VARIABLES_MAX: usize = 1000;

/// Answers for projects.
#[derive(Debug, Clone)]
pub struct Projects {
    service: Arc<Service>,
}

impl Projects {
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    fn shown(&self, project: &ProjectRecord, seen: &SeenProject) -> wire::Project {
        let hook = project.hook.as_ref();
        let link = project.forge.as_ref();
        wire::Project {
            name: project.name.to_string(),
            url: project.url.clone(),
            forge: link.map(|link| link.kind.word().to_owned()).unwrap_or_default(),
            forge_id: link.and_then(|link| link.repository.clone()).unwrap_or_default(),
            default_branch: project.default_branch.clone(),
            group: project.group.clone().unwrap_or_default(),
            enabled: project.enabled,
            retention_ms: project.retention_ms.unwrap_or_default(),
            poll_every_ms: project.poll_every_ms.unwrap_or_default(),
            hook_url: self.service.hook_url(project),
            hook_registered: hook.is_some_and(|hook| hook.registered.is_some()),
            hook_seen_unix_us: hook.and_then(|hook| hook.seen_at).map_or(0, convert::micros),
            git_secret: project.git_secret.clone().unwrap_or_default(),
            forge_secret: project.forge_secret.clone().unwrap_or_default(),
            created_unix_us: convert::micros(project.created_at),
            updated_unix_us: convert::micros(project.updated_at),
            updated_by: project.updated_by.0.clone(),
            trouble: seen.trouble.clone().unwrap_or_default(),
            polled_unix_us: seen.look.as_ref().map_or(0, |look| convert::micros(look.at)),
            builds_forks: project.builds_forks,
        }
    }

    fn project(&self, project: &ProjectRecord) -> wire::Project {
        self.shown(project, &self.service.see_project(&project.name, false))
    }

    async fn event(&self, record: EventRecord) -> wire::ProjectEvent {
        use wire::project_event::{Decision, Pending};

        let decision = match record.decision {
            EventDecision::Pending { trouble, .. } => {
                Decision::Pending(Pending { trouble: trouble.unwrap_or_default() })
            }
            EventDecision::Ignored { why } => Decision::Ignored(why),
            EventDecision::Rejected { why } => Decision::Rejected(why),
            EventDecision::Run { run } => match self.service.run(run).await {
                Ok(found) => Decision::Run(convert::summary(&found.run, Some(&found.tasks))),
                // It has left the live store.
                Err(_) => {
                    let id = run.as_bytes().to_vec().into();
                    Decision::Run(wire::RunSummary { id, ..wire::RunSummary::default() })
                }
            },
        };
        wire::ProjectEvent {
            id: record.id.as_bytes().to_vec().into(),
            received_unix_us: convert::micros(record.received_at),
            summary: summary(&record.event),
            commit: commit_of(&record.event).to_owned(),
            by: record.event.actor.login.clone(),
            decision: Some(decision),
        }
    }

    async fn events(&self, records: Vec<EventRecord>) -> Vec<wire::ProjectEvent> {
        let mut events = Vec::with_capacity(records.len());
        for record in records {
            events.push(self.event(record).await);
        }
        events
    }
}

fn name(text: &str) -> Result<ProjectName, Status> {
    text.parse().map_err(|error: crate::records::NoProjectName| invalid(error.to_string()))
}

fn no_project(name: &ProjectName) -> Status {
    Error::new(Kind::NotFound, format!("there is no project {name:?}", name = name.as_str())).into()
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[async_trait::async_trait]
impl ProjectService for Projects {
    async fn put_project(
        &self,
        request: Request<wire::PutProjectRequest>,
    ) -> Result<Response<wire::PutProjectResponse>, Status> {
        let by = person(&request)?;
        let wire::PutProjectRequest { name: text, settings, create, hook } = request.into_inner();
        let settings = settings.unwrap_or_default();
        let change = ProjectChange {
            url: settings.url,
            forge: settings.forge,
            default_branch: settings.default_branch,
            group: settings.group,
            enabled: settings.enabled,
            retention_ms: settings.retention_ms,
            poll_every_ms: settings.poll_every_ms,
            git_secret: settings.git_secret,
            forge_secret: settings.forge_secret,
            builds_forks: settings.builds_forks,
        };
        let put = self.service.put_project(&name(&text)?, change, (create, hook), &by).await;
        let put = put.map_err(Error::from)?;
        Ok(Response::new(wire::PutProjectResponse {
            project: Some(self.project(&put.project)),
            changed: put.changed,
            hook_secret: put.hook_secret.map(|secret| secret.to_string()).unwrap_or_default(),
            left_to_do: put.left_to_do,
        }))
    }

    async fn remove_project(
        &self,
        request: Request<wire::RemoveProjectRequest>,
    ) -> Result<Response<wire::RemoveProjectResponse>, Status> {
        person(&request)?;
        let name = name(&request.into_inner().name)?;
        let removed = self.service.remove_project(&name).await.map_err(Error::from)?;
        let left_to_do = removed.ok_or_else(|| no_project(&name))?;
        Ok(Response::new(wire::RemoveProjectResponse { left_to_do }))
    }

    async fn get_project(
        &self,
        request: Request<wire::GetProjectRequest>,
    ) -> Result<Response<wire::GetProjectResponse>, Status> {
        person(&request)?;
        let name = name(&request.into_inner().name)?;
        let project = self.service.project(&name).await.map_err(Error::from)?;
        self.service.see_latest().await;
        let seen = self.service.see_project(&name, true);
        let branches = seen.branches.iter().map(|run| {
            let tasks = self.service.sight_of(run.id).map(|found| found.tasks);
            convert::summary(run, tasks.as_deref())
        });
        let branches = branches.collect();
        Ok(Response::new(wire::GetProjectResponse { project: Some(self.shown(&project, &seen)), branches }))
    }

    async fn list_projects(
        &self,
        request: Request<wire::ListProjectsRequest>,
    ) -> Result<Response<wire::ListProjectsResponse>, Status> {
        person(&request)?;
        let wire::ListProjectsRequest { name, group, page_size, page_token } = request.into_inner();
        let (limit, after) = (page::size(page_size, PROJECTS)?, page::after_id(&page_token)?);
        let glob = if name.is_empty() { None } else { Some(Glob::compile(&name).map_err(invalid)?) };
        self.service.see_latest().await;
        let filter = ProjectFilter { name: glob, group: some(group) };
        let found = self.service.projects(&filter, after.as_ref(), limit);
        let next_page_token = page::token(found.next.as_ref().map(ProjectName::as_str));
        let projects = found.projects.iter().map(|project| self.project(project)).collect();
        Ok(Response::new(wire::ListProjectsResponse { projects, next_page_token }))
    }

    async fn rotate_hook(
        &self,
        request: Request<wire::RotateHookRequest>,
    ) -> Result<Response<wire::RotateHookResponse>, Status> {
        let by = person(&request)?;
        let wire::RotateHookRequest { name: text, overlap_ms } = request.into_inner();
        let overlap = Duration::from_millis(overlap_ms);
        let put = self.service.rotate_hook(&name(&text)?, overlap, &by).await.map_err(Error::from)?;
        Ok(Response::new(wire::RotateHookResponse {
            project: Some(self.project(&put.project)),
            hook_secret: put.secret.to_string(),
            left_to_do: put.left_to_do,
        }))
    }

    async fn test_hook(
        &self,
        request: Request<wire::TestHookRequest>,
    ) -> Result<Response<wire::TestHookResponse>, Status> {
        person(&request)?;
        let name = name(&request.into_inner().name)?;
        let left_to_do = self.service.test_hook(&name).await.map_err(Error::from)?;
        Ok(Response::new(wire::TestHookResponse { asked: false, left_to_do }))
    }

    async fn poll_project(
        &self,
        request: Request<wire::PollProjectRequest>,
    ) -> Result<Response<wire::PollProjectResponse>, Status> {
        person(&request)?;
        let found = self.service.look_at(&name(&request.into_inner().name)?).await.map_err(Error::from)?;
        Ok(Response::new(wire::PollProjectResponse { events: self.events(found).await }))
    }

    async fn build(
        &self,
        request: Request<wire::BuildRequest>,
    ) -> Result<Response<wire::BuildResponse>, Status> {
        let by = person(&request)?;
        let request = request.into_inner();
        if request.definition.len() > DEFINITION_BYTES_MAX {
            return Err(invalid(format!("a definition has at most {DEFINITION_BYTES_MAX} bytes")));
        }
        if request.env.len() > VARIABLES_MAX {
            return Err(invalid(format!("a run is given at most {VARIABLES_MAX} variables")));
        }
        let request = BuildRequest {
            id: convert::run_id(&request.id)?,
            project: name(&request.project)?,
            branch: some(request.branch),
            commit: some(request.commit),
            tag: some(request.tag),
            env: request.env.into_iter().collect(),
            definition: some(request.definition),
            trigger: Trigger { kind: TriggerKind::CommandLine, by, schedule: None },
        };
        let built = self.service.build(request).await.map_err(Error::from)?;
        let run = Some(convert::summary(&built.run, None));
        Ok(Response::new(wire::BuildResponse { run, existed: built.existed }))
    }

    async fn list_events(
        &self,
        request: Request<wire::ListEventsRequest>,
    ) -> Result<Response<wire::ListEventsResponse>, Status> {
        person(&request)?;
        let wire::ListEventsRequest { project, page_size, page_token } = request.into_inner();
        let (limit, after) = (page::size(page_size, EVENTS)?, page::after_id(&page_token)?);
        let name = name(&project)?;
        self.service.project(&name).await.map_err(Error::from)?;
        self.service.see_latest().await;
        let found = self.service.events(&name, after.map(Revision), limit);
        let next = found.next.map(|Revision(place)| place.to_string());
        let events = self.events(found.events).await;
        Ok(Response::new(wire::ListEventsResponse { events, next_page_token: page::token(next.as_deref()) }))
    }
}

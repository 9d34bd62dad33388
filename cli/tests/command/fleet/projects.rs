//! The projects of the fleet that a test scripts.

use ocelot_proto::wire;
use ocelot_proto::wire::project_service_server::ProjectService;
use tonic::{Request, Response, Status};

use super::project;
use super::services::{Answer, Served, none};

#[tonic::async_trait]
impl ProjectService for Served {
    async fn put_project(
        &self,
        request: Request<wire::PutProjectRequest>,
    ) -> Answer<wire::PutProjectResponse> {
        let mut script = self.asked("put_project", &request)?;
        let request = request.into_inner();
        script.project_puts.push(request.clone());
        let known = script.projects.iter().position(|known| known.name == request.name);
        if request.create && known.is_some() {
            return Err(Status::already_exists(format!("project {:?} exists already", request.name)));
        }
        let settings = request.settings.unwrap_or_default();
        let before = known.map(|place| script.projects[place].clone());
        let mut after = before.clone().unwrap_or_else(|| project(&request.name));
        settings.url.into_iter().for_each(|url| after.url = url);
        settings.forge.into_iter().for_each(|forge| after.forge = forge);
        settings.default_branch.into_iter().for_each(|branch| after.default_branch = branch);
        settings.group.into_iter().for_each(|group| after.group = group);
        settings.enabled.into_iter().for_each(|enabled| after.enabled = enabled);
        settings.poll_every_ms.into_iter().for_each(|every| after.poll_every_ms = every);
        settings.retention_ms.into_iter().for_each(|keep| after.retention_ms = keep);
        settings.git_secret.into_iter().for_each(|name| after.git_secret = name);
        settings.forge_secret.into_iter().for_each(|name| after.forge_secret = name);
        settings.builds_forks.into_iter().for_each(|builds| after.builds_forks = builds);
        after.hook_registered = request.hook;
        let changed = before.as_ref() != Some(&after);
        let hook_secret = if known.is_none() { "s3cret".to_owned() } else { String::new() };
        let left_to_do = script.left_to_do.clone();
        Ok(Response::new(wire::PutProjectResponse { project: Some(after), changed, hook_secret, left_to_do }))
    }

    async fn remove_project(
        &self,
        request: Request<wire::RemoveProjectRequest>,
    ) -> Answer<wire::RemoveProjectResponse> {
        let script = self.asked("remove_project", &request)?;
        Ok(Response::new(wire::RemoveProjectResponse { left_to_do: script.left_to_do.clone() }))
    }

    async fn get_project(
        &self,
        request: Request<wire::GetProjectRequest>,
    ) -> Answer<wire::GetProjectResponse> {
        let script = self.asked("get_project", &request)?;
        let name = request.into_inner().name;
        let found = script.projects.iter().find(|known| known.name == name).cloned();
        let project = Some(found.ok_or_else(|| none("project", &name))?);
        let branches = script.runs.iter().filter(|run| run.commit.is_some()).cloned().collect();
        Ok(Response::new(wire::GetProjectResponse { project, branches }))
    }

    async fn list_projects(
        &self,
        request: Request<wire::ListProjectsRequest>,
    ) -> Answer<wire::ListProjectsResponse> {
        let script = self.asked("list_projects", &request)?;
        let wanted = request.into_inner().name;
        let last = wanted.strip_prefix("*/").map(|last| format!("/{last}")).unwrap_or_default();
        let projects = script.projects.iter().filter(|known| known.name.ends_with(&last)).cloned().collect();
        Ok(Response::new(wire::ListProjectsResponse { projects, ..Default::default() }))
    }

    async fn rotate_hook(
        &self,
        request: Request<wire::RotateHookRequest>,
    ) -> Answer<wire::RotateHookResponse> {
        let script = self.asked("rotate_hook", &request)?;
        let name = request.into_inner().name;
        Ok(Response::new(wire::RotateHookResponse {
            project: Some(project(&name)),
            hook_secret: "newer".into(),
            left_to_do: script.left_to_do.clone(),
        }))
    }

    async fn test_hook(&self, request: Request<wire::TestHookRequest>) -> Answer<wire::TestHookResponse> {
        let script = self.asked("test_hook", &request)?;
        let left_to_do = script.left_to_do.clone();
        Ok(Response::new(wire::TestHookResponse { asked: left_to_do.is_empty(), left_to_do }))
    }

    async fn poll_project(
        &self,
        request: Request<wire::PollProjectRequest>,
    ) -> Answer<wire::PollProjectResponse> {
        let script = self.asked("poll_project", &request)?;
        Ok(Response::new(wire::PollProjectResponse {
            events: script.events.iter().take(1).cloned().collect(),
        }))
    }

    async fn build(&self, request: Request<wire::BuildRequest>) -> Answer<wire::BuildResponse> {
        self.script().builds.push(request.get_ref().clone());
        let script = self.asked("build", &request)?;
        let run = script.runs.first().cloned();
        Ok(Response::new(wire::BuildResponse { run, existed: script.builds.len() > 1 }))
    }

    async fn list_events(
        &self,
        request: Request<wire::ListEventsRequest>,
    ) -> Answer<wire::ListEventsResponse> {
        let script = self.asked("list_events", &request)?;
        let request = request.into_inner();
        let from: usize = request.page_token.parse().unwrap_or(0);
        let events: Vec<_> =
            script.events.iter().skip(from).take(request.page_size as usize).cloned().collect();
        let next = from + events.len();
        let next_page_token = if next < script.events.len() { next.to_string() } else { String::new() };
        Ok(Response::new(wire::ListEventsResponse { events, next_page_token }))
    }
}

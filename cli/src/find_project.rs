//! Finding the project that a person means: the one that is named, or the one of this checkout.

use ocelot_proto::wire;

use crate::checkout::{Checkout, Remote};
use crate::client::{Api, Client, Repeat};
use crate::error::{Error, Result, Whose};
use crate::show::plain;

/// The most that one page holds.
const PAGE: u32 = 500;

/// Returns a project with the newest run of each branch.
pub(crate) async fn described(client: &Client, name: &str) -> Result<wire::GetProjectResponse> {
    let request = wire::GetProjectRequest { name: name.to_owned() };
    let get = async |api: Api, request| api.projects().get_project(request).await;
    let doing = format!("find the project {}", plain(name));
    let found = client.call(&doing, Repeat::Safe, request, get).await;
    found.map_err(|error| error.with_hint("see what there is: ocelot project list"))
}

/// Returns every project that fits, page by page, sorted by name.
pub(crate) async fn listed(client: &Client, name: &str, group: &str) -> Result<Vec<wire::Project>> {
    let mut request = wire::ListProjectsRequest {
        name: name.to_owned(),
        group: group.to_owned(),
        page_size: PAGE,
        page_token: String::new(),
    };
    let mut projects = Vec::new();
    loop {
        let list = async |api: Api, request| api.projects().list_projects(request).await;
        let page = client.call("list projects", Repeat::Safe, request.clone(), list).await?;
        projects.extend(page.projects);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break;
        }
        request.page_token = page.next_page_token;
    }
    projects.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(projects)
}

/// Returns the name of the project that is meant.
pub(crate) async fn named(client: &Client, name: Option<&str>) -> Result<String> {
    match name {
        Some(name) => Ok(name.to_owned()),
        None => Ok(of_checkout(client, &Checkout::here()).await?.name),
    }
}

/// Finds the project of a checkout: by the address that it is pushed to, else by `owner/name`.
pub(crate) async fn of_checkout(client: &Client, checkout: &Checkout) -> Result<wire::Project> {
    let Some(origin) = &checkout.origin else {
        let what = match checkout.root {
            Some(_) => "this checkout has no remote, so no project can be told from it",
            None => "this is no git checkout, so no project can be told from it",
        };
        return Err(Error::usage(what, "name the project: OWNER/NAME; see them: ocelot project list"));
    };
    let remote = Remote::read(origin);
    let by_name = match &checkout.project {
        None => None,
        Some(name) => match described(client, name).await {
            Ok(found) => found.project,
            Err(Error::Refused { whose: Whose::Missing, .. }) => None,
            Err(error) => return Err(error),
        },
    };
    let is_it = |project: &wire::Project| match (&remote, Remote::read(&project.url)) {
        (Some(here), Some(there)) => here.is(&there),
        (None, _) | (_, None) => false,
    };
    if let Some(project) = by_name.as_ref().filter(|project| is_it(project)) {
        return Ok(project.clone());
    }
    // It may be called otherwise on this fleet.
    let by_url = listed(client, "", "").await?.into_iter().find(is_it);
    by_url.or(by_name).ok_or_else(|| {
        let shown = plain(&crate::checkout::without_credentials(origin));
        Error::usage(format!("no project of the fleet is {shown}"), "add it: ocelot project add")
    })
}

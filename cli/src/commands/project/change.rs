//! `ocelot project enable`, `disable`, `set`, `remove`.

use ocelot_proto::wire;
use serde::Serialize;

use super::add::{put, shown};
use super::{Session, settings, tell_left};
use crate::args::{ProjectName, ProjectSet};
use crate::client::{Api, Client, Repeat};
use crate::error::{Error, Result};
use crate::find_project::{described, named};
use crate::show::plain;

#[derive(Debug, Serialize)]
struct Removed<'a> {
    removed: &'a str,
    left_to_do: Vec<String>,
}

pub(super) async fn enable(name: &ProjectName, enabled: bool, session: &Session) -> Result<()> {
    let client = session.client()?;
    let name = existing(&client, name).await?;
    let doing = format!("{} {}", if enabled { "enable" } else { "disable" }, plain(&name));
    let settings = wire::ProjectSettings { enabled: Some(enabled), ..wire::ProjectSettings::default() };
    let request = wire::PutProjectRequest { name, settings: Some(settings), create: false, hook: false };
    let answer = put(&client, &doing, Repeat::Safe, request).await?;
    let project = answer.project.unwrap_or_default();
    let word = match (answer.changed, enabled) {
        (true, true) => "enabled",
        (true, false) => "disabled; what runs goes on",
        (false, true) => "was enabled already",
        (false, false) => "was disabled already",
    };
    let json = super::add::Put {
        project: crate::shape::Project::from(&project),
        changed: answer.changed,
        hook_secret: None,
        left_to_do: answer.left_to_do,
    };
    session.output.result(format_args!("{} {word}\n", plain(&project.name)), &json)
}

pub(super) async fn set(set: &ProjectSet, session: &Session) -> Result<()> {
    let settings = wire::ProjectSettings { url: set.url.clone(), ..settings(&set.settings)? };
    if settings == wire::ProjectSettings::default() && !set.hook {
        return Err(Error::usage("nothing to set was named", "see what there is: ocelot project set --help"));
    }
    let client = session.client()?;
    let name = existing(&client, &set.name).await?;
    let doing = format!("change the project {}", plain(&name));
    let request = wire::PutProjectRequest { name, settings: Some(settings), create: false, hook: set.hook };
    shown(put(&client, &doing, Repeat::Safe, request).await?, &session.output)
}

/// The project that is meant; changing one must not make one.
async fn existing(client: &Client, name: &ProjectName) -> Result<String> {
    let name = named(client, name.project.as_deref()).await?;
    let found = described(client, &name).await?.project;
    Ok(found.map_or(name, |project| project.name))
}

pub(super) async fn remove(name: &ProjectName, session: &Session) -> Result<()> {
    let Some(name) = &name.project else {
        return Err(Error::usage("which project?", "say its name: ocelot project remove OWNER/NAME"));
    };
    let request = wire::RemoveProjectRequest { name: name.clone() };
    let call = async |api: Api, request| api.projects().remove_project(request).await;
    let doing = format!("remove the project {}", plain(name));
    // Not repeated by itself: the second answer would say that there is no such project.
    let answer = session.client()?.call(&doing, Repeat::Never, request, call).await;
    let answer = answer.map_err(|error| error.with_hint("see what there is: ocelot project list"))?;
    let json = Removed { removed: name, left_to_do: answer.left_to_do.clone() };
    session.output.result(format_args!("removed {}\n", plain(name)), &json)?;
    tell_left(&answer.left_to_do, &session.output);
    Ok(())
}

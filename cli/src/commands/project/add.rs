//! `ocelot project add`: from an address, or from the checkout.

use ocelot_proto::wire;
use serde::Serialize;

use super::{Session, settings, tell_left};
use crate::args::ProjectAdd;
use crate::checkout::{Checkout, Remote, without_credentials};
use crate::client::{Api, Client, Repeat};
use crate::error::{Error, Result, Whose};
use crate::find_project::described;
use crate::shape;
use crate::show::{Output, plain};

#[derive(Debug, Serialize)]
pub(super) struct Put {
    pub(super) project: shape::Project,
    pub(super) changed: bool,
    /// The webhook's secret, this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hook_secret: Option<String>,
    pub(super) left_to_do: Vec<String>,
}

pub(super) async fn run(add: &ProjectAdd, session: &Session) -> Result<()> {
    let url = address(add)?;
    let remote = Remote::read(&url);
    let name = add.name.clone().or_else(|| remote.as_ref().and_then(Remote::project));
    let name = name.ok_or_else(|| {
        Error::usage(format!("no name can be told from {}", plain(&url)), "name it: --name OWNER/NAME")
    })?;
    let mut settings = settings(&add.settings)?;
    settings.forge = settings.forge.or_else(|| Some(remote.as_ref()?.forge()?.to_owned()));
    settings.url = Some(url);
    let client = session.client()?;
    let request = wire::PutProjectRequest {
        name: name.clone(),
        settings: Some(settings),
        create: true,
        hook: add.hook,
    };
    let doing = format!("add the project {}", plain(&name));
    let answer = match put(&client, &doing, Repeat::Never, request.clone()).await {
        Err(Error::Refused { whose: Whose::Taken, .. }) => again(&client, &doing, request).await?,
        Err(error @ Error::Unanswered { .. }) => return Err(may_be_there(error, &name)),
        answer => answer?,
    };
    let output = &session.output;
    shown(answer, output)?;
    if !output.is_json() {
        output.note(format_args!("build it now: ocelot build --follow --project {}", plain(&name)));
    }
    Ok(())
}

/// The address that was typed, or that the checkout is pushed to. A password in the latter is for the
/// person's own git, and stays here.
fn address(add: &ProjectAdd) -> Result<String> {
    if let Some(url) = &add.url {
        return Ok(url.clone());
    }
    let checkout = Checkout::here();
    match (checkout.origin, checkout.root) {
        (Some(origin), _) => Ok(without_credentials(&origin)),
        (None, Some(_)) => Err(Error::usage(
            "this checkout has no remote to take an address from",
            "say it: ocelot project add URL",
        )),
        (None, None) => {
            Err(Error::usage("this is no git checkout", "say the address: ocelot project add URL"))
        }
    }
}

/// Changes a project that is there already, if it is the same repository.
async fn again(
    client: &Client,
    doing: &str,
    request: wire::PutProjectRequest,
) -> Result<wire::PutProjectResponse> {
    let there = described(client, &request.name).await?.project.unwrap_or_default();
    let wanted = request.settings.as_ref().and_then(|settings| Remote::read(settings.url.as_deref()?));
    let same = match (wanted, Remote::read(&there.url)) {
        (Some(wanted), Some(there)) => wanted.is(&there),
        (None, _) | (_, None) => false,
    };
    if !same {
        let name = plain(&request.name);
        let what = format!("cannot {doing}: it is there, and is another repository: {}", plain(&there.url));
        let hint =
            format!("call this one otherwise: --name OWNER/NAME; or: ocelot project set {name} --url URL");
        return Err(Error::Refused { what, hint: Some(hint), whose: Whose::Taken });
    }
    put(client, doing, Repeat::Safe, wire::PutProjectRequest { create: false, ..request }).await
}

/// The secret of its webhook was in the answer that never came.
fn may_be_there(error: Error, name: &str) -> Error {
    let name = plain(name);
    let look = format!(
        "look: ocelot project describe {name}; a secret for its webhook: ocelot project hook rotate {name}"
    );
    error.maybe("added", look)
}

pub(super) async fn put(
    client: &Client,
    doing: &str,
    repeat: Repeat,
    request: wire::PutProjectRequest,
) -> Result<wire::PutProjectResponse> {
    let call = async |api: Api, request| api.projects().put_project(request).await;
    client.call(doing, repeat, request, call).await
}

/// Shows what was made, its secret this once, and what a person does with that.
pub(super) fn shown(answer: wire::PutProjectResponse, output: &Output) -> Result<()> {
    let wire::PutProjectResponse { project, changed, hook_secret, left_to_do } = answer;
    let project = project.unwrap_or_default();
    let secret = Some(hook_secret).filter(|secret| !secret.is_empty());
    let mut text = super::describe::settings(&project, output);
    if let Some(secret) = &secret {
        text.push_str(&crate::commands::field("Secret", plain(secret), output));
    }
    let json = Put {
        project: shape::Project::from(&project),
        changed,
        hook_secret: secret.clone(),
        left_to_do: left_to_do.clone(),
    };
    output.result(text, &json)?;
    if output.is_json() {
        return Ok(());
    }
    if !changed {
        output.note("it was so already; nothing changed");
    }
    super::hook::tell_where(&project, secret.is_some(), output);
    tell_left(&left_to_do, output);
    Ok(())
}

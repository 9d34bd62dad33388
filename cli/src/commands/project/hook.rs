//! `ocelot project hook`: what the forge tells of pushes with, and where a person sets it up.

use ocelot_proto::wire;
use serde::Serialize;

use super::add::Put;
use super::{Session, tell_left};
use crate::args::{Hook, HookRotate, ProjectName};
use crate::client::{Api, Repeat};
use crate::commands::token::milliseconds;
use crate::error::Result;
use crate::find_project::named;
use crate::shape;
use crate::show::{Output, plain};

#[derive(Debug, Serialize)]
struct Tested<'a> {
    project: &'a str,
    /// The forge took the request for a ping.
    asked: bool,
    left_to_do: Vec<String>,
}

pub(super) async fn run(hook: &Hook, session: &Session) -> Result<()> {
    match hook {
        Hook::Test(name) => test(name, session).await,
        Hook::Rotate(rotate) => self::rotate(rotate, session).await,
    }
}

async fn test(name: &ProjectName, session: &Session) -> Result<()> {
    let client = session.client()?;
    let name = named(&client, name.project.as_deref()).await?;
    let request = wire::TestHookRequest { name: name.clone() };
    let call = async |api: Api, request| api.projects().test_hook(request).await;
    let shown = plain(&name);
    let answer = client.call(&format!("test the webhook of {shown}"), Repeat::Safe, request, call).await;
    let answer = answer.map_err(|error| error.with_hint("see what there is: ocelot project list"))?;
    let output = &session.output;
    let text = match answer.asked {
        true => format!("the forge was asked to send a ping to {shown}\n"),
        false => format!("the forge cannot be asked to send a ping to {shown}\n"),
    };
    let json = Tested { project: &name, asked: answer.asked, left_to_do: answer.left_to_do.clone() };
    output.result(text, &json)?;
    tell_left(&answer.left_to_do, output);
    if !output.is_json() {
        output.note(format_args!("see what came: ocelot project events {shown}"));
    }
    Ok(())
}

async fn rotate(rotate: &HookRotate, session: &Session) -> Result<()> {
    let client = session.client()?;
    let name = named(&client, rotate.name.project.as_deref()).await?;
    let overlap_ms = milliseconds(rotate.overlap.as_deref())?;
    let request = wire::RotateHookRequest { name: name.clone(), overlap_ms };
    let call = async |api: Api, request| api.projects().rotate_hook(request).await;
    let doing = format!("make a new secret for the webhook of {}", plain(&name));
    // Asked again, another secret would be made.
    let answer = client.call(&doing, Repeat::Never, request, call).await;
    let answer = answer.map_err(|error| error.with_hint("see what there is: ocelot project list"))?;
    let project = answer.project.unwrap_or_default();
    let output = &session.output;
    let json = Put {
        project: shape::Project::from(&project),
        changed: true,
        hook_secret: Some(answer.hook_secret.clone()),
        left_to_do: answer.left_to_do.clone(),
    };
    output.result(format_args!("{}\n", plain(&answer.hook_secret)), &json)?;
    if !output.is_json() {
        match &rotate.overlap {
            Some(overlap) => output.note(format_args!("the old secret goes on working for {overlap}")),
            None => output.note("the old secret does not work any more"),
        }
        tell_where(&project, true, output);
    }
    tell_left(&answer.left_to_do, output);
    Ok(())
}

/// Tells where the webhook's address and secret belong, unless it is set up already.
pub(super) fn tell_where(project: &wire::Project, secret: bool, output: &Output) {
    if project.hook_url.is_empty() || project.hook_registered || !secret {
        return;
    }
    output.note(where_to(project));
}

/// What a forge is called by people.
pub(super) fn forge_name(forge: &str) -> &str {
    match forge {
        "github" => "GitHub",
        "gitlab" => "GitLab",
        "gitea" => "Gitea or Forgejo",
        "bitbucket" => "Bitbucket",
        other => other,
    }
}

/// The way through the forge's own pages, in their words.
fn where_to(project: &wire::Project) -> String {
    let name = plain(&project.name);
    let url = plain(&project.hook_url);
    let forge = forge_name(&project.forge);
    let fields = match project.forge.as_str() {
        "github" => format!(
            "in the repository at {forge}: Settings, Webhooks, Add webhook
  Payload URL   {url}
  Content type  application/json
  Secret        the one above
  Events        Let me select: Pushes, Branch or tag creation, Branch or tag deletion, Pull requests"
        ),
        "gitlab" => format!(
            "in the project at {forge}: Settings, Webhooks, Add new webhook
  URL           {url}
  Secret token  the one above
  Trigger       Push events, Tag push events, Merge request events"
        ),
        "gitea" => format!(
            "in the repository at {forge}: Settings, Webhooks, Add Webhook, Gitea or Forgejo
  Target URL    {url}
  Content type  application/json
  Secret        the one above
  Trigger On    Custom Events: Push, Create, Delete, Pull Request, Pull Request Synchronized"
        ),
        "bitbucket" => format!(
            "in the repository at {forge}: Repository settings, Webhooks, Add webhook
  URL           {url}
  Secret        the one above
  Triggers      Repository push; Pull request created, updated"
        ),
        _ => format!(
            "in a post-receive hook of the repository: POST the payload, signed with the secret above, to
  {url}"
        ),
    };
    format!(
        "\nthe secret is shown this once. So that pushes are built at once, paste it\n{fields}\n\
         then try it:  ocelot project hook test {name}"
    )
}

//! The bodies of deliveries: those that the forges' documentation shows, with this repository and
//! this push in place of theirs.

use anyhow::{Context, Result};
use ocelot_forge::Forge;
use serde_json::{Value, json};

use super::receive::Move;

macro_rules! on_file {
    ($name:literal) => {
        include_str!(concat!("../../../../../controller/forge/tests/payloads/", $name, ".json"))
    };
}

const GITHUB: &str = on_file!("github/push");
const GITHUB_PULL: &str = on_file!("github/pull_request_fork");
const GITLAB: &str = on_file!("gitlab/push");
const GITEA: &str = on_file!("gitea/push");
const BITBUCKET: &str = on_file!("bitbucket/push");

/// Returns the event's word and the body that tell of this move.
pub(super) fn of(kind: Forge, settings: &Value, moved: &Move<'_>) -> Result<(&'static str, Value)> {
    let pull = moved.reference.strip_prefix("refs/pull/").and_then(|rest| rest.split('/').next());
    Ok(match (kind, pull) {
        (Forge::GitHub, Some(number)) => ("pull_request", from_a_fork(settings, moved, number)?),
        (Forge::GitHub, None) => ("push", push(GITHUB, settings, moved)?),
        (Forge::Gitea, _) => ("push", push(GITEA, settings, moved)?),
        (Forge::GitLab, _) => ("Push Hook", gitlab(settings, moved)?),
        (Forge::Bitbucket, _) => ("repo:push", bitbucket(settings, moved)?),
    })
}

fn is_none(commit: &str) -> bool {
    commit.bytes().all(|byte| byte == b'0')
}

/// A push of GitHub, and of Gitea, which writes the same.
fn push(text: &str, settings: &Value, moved: &Move<'_>) -> Result<Value> {
    let mut body: Value = serde_json::from_str(text)?;
    let mut head = body["head_commit"].clone();
    (head["id"], head["message"]) = (moved.new.into(), moved.message.into());
    body["ref"] = moved.reference.into();
    (body["before"], body["after"]) = (moved.old.into(), moved.new.into());
    let is_deleted = is_none(moved.new);
    if body.get("created").is_some() {
        (body["created"], body["deleted"]) = (is_none(moved.old).into(), is_deleted.into());
    }
    body["commits"] = if is_deleted { json!([]) } else { json!([head]) };
    body["head_commit"] = if is_deleted { Value::Null } else { head };
    repository(&mut body["repository"], settings);
    Ok(body)
}

fn repository(repository: &mut Value, settings: &Value) {
    repository["id"] = settings["id"].clone();
    repository["full_name"] = settings["name"].clone();
    repository["clone_url"] = settings["address"].clone();
    repository["default_branch"] = "main".into();
}

/// A pull request whose head is in a stranger's repository.
fn from_a_fork(settings: &Value, moved: &Move<'_>, number: &str) -> Result<Value> {
    let mut body: Value = serde_json::from_str(GITHUB_PULL)?;
    let number: u64 = number.parse().context("a pull request has a number")?;
    body["action"] = if is_none(moved.old) { "opened" } else { "synchronize" }.into();
    body["number"] = number.into();
    let pull = &mut body["pull_request"];
    pull["number"] = number.into();
    pull["head"]["sha"] = moved.new.into();
    pull["head"]["repo"]["id"] = settings["stranger"].clone();
    repository(&mut pull["base"]["repo"], settings);
    repository(&mut body["repository"], settings);
    Ok(body)
}

fn gitlab(settings: &Value, moved: &Move<'_>) -> Result<Value> {
    let mut body: Value = serde_json::from_str(GITLAB)?;
    body["ref"] = moved.reference.into();
    (body["before"], body["after"]) = (moved.old.into(), moved.new.into());
    body["checkout_sha"] = moved.new.into();
    let commit = &mut body["commits"][0];
    (commit["id"], commit["message"]) = (moved.new.into(), moved.message.into());
    body["project_id"] = settings["id"].clone();
    let project = &mut body["project"];
    project["id"] = settings["id"].clone();
    project["path_with_namespace"] = settings["name"].clone();
    project["git_http_url"] = settings["address"].clone();
    project["default_branch"] = "main".into();
    Ok(body)
}

fn bitbucket(settings: &Value, moved: &Move<'_>) -> Result<Value> {
    let mut body: Value = serde_json::from_str(BITBUCKET)?;
    let branch = moved.reference.strip_prefix("refs/heads/").context("only branches are told of")?;
    let change = &mut body["push"]["changes"][0];
    change["new"]["name"] = branch.into();
    change["new"]["target"]["hash"] = moved.new.into();
    change["new"]["target"]["message"] = moved.message.into();
    change["commits"][0]["hash"] = moved.new.into();
    if is_none(moved.old) {
        (change["old"], change["created"]) = (Value::Null, true.into());
    } else {
        change["old"]["name"] = branch.into();
        change["old"]["target"]["hash"] = moved.old.into();
    }
    let repository = &mut body["repository"];
    repository["uuid"] = settings["id"].clone();
    repository["full_name"] = settings["name"].clone();
    Ok(body)
}

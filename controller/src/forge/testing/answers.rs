//! What a double answers, and what it finds wrong with a request.

use std::collections::BTreeSet;

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use ocelot_forge::Forge;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Home, Notice, Said, Seen, Shared, TOKEN, code};

/// Answers a call, and keeps what it told.
pub(super) fn told(shared: &Shared, parts: &Parts, raw: &[u8]) -> Response {
    let path = parts.uri.path();
    let mut seen = shared.seen();
    let body = if raw.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(raw) };
    let Ok(body) = body else {
        seen.wrong.push(format!("{} {path}: the body is no JSON", parts.method));
        return StatusCode::BAD_REQUEST.into_response();
    };
    if path == "/notify" {
        seen.notices.push(Notice { headers: parts.headers.clone(), raw: raw.to_vec(), body });
        return StatusCode::OK.into_response();
    }
    if let Some(wrong) = wrong_with(shared.kind, &parts.headers, &body) {
        seen.wrong.push(format!("{} {path}: {wrong}", parts.method));
        return StatusCode::BAD_REQUEST.into_response();
    }
    let answered = within(shared.kind, &shared.home, path)
        .and_then(|rest| route(shared, &mut seen, (&parts.method, rest), &body));
    match answered {
        Some((status, body)) => (code(status), body.to_string()).into_response(),
        None => {
            seen.wrong.push(format!("{} {path} is not there", parts.method));
            StatusCode::NOT_FOUND.into_response()
        }
    }
}

fn wrong_with(kind: Forge, headers: &HeaderMap, body: &Value) -> Option<String> {
    let (name, value) = match kind {
        Forge::GitHub | Forge::Bitbucket => ("authorization", format!("Bearer {TOKEN}")),
        Forge::GitLab => ("private-token", TOKEN.to_owned()),
        Forge::Gitea => ("authorization", format!("token {TOKEN}")),
    };
    if headers.get(name).is_none_or(|told| told != value.as_str()) {
        return Some(format!("{name} is not right"));
    }
    if !headers.contains_key("user-agent") || !headers.contains_key("accept") {
        return Some("user-agent or accept is missing".into());
    }
    let is_json = headers.get("content-type").is_some_and(|kind| kind == "application/json");
    (!body.is_null() && !is_json).then(|| "the content type is not JSON".into())
}

fn within<'a>(kind: Forge, home: &Home, path: &'a str) -> Option<&'a str> {
    let name = &home.name;
    let prefix = match kind {
        Forge::GitHub | Forge::Gitea => format!("/api/repos/{name}"),
        Forge::GitLab => format!("/api/projects/{}", name.replace('/', "%2F")),
        Forge::Bitbucket => format!("/api/repositories/{name}"),
    };
    path.strip_prefix(&prefix)
}

fn route(
    shared: &Shared,
    seen: &mut Seen,
    (method, rest): (&Method, &str),
    body: &Value,
) -> Option<(u16, Value)> {
    let Shared { kind, home, .. } = shared;
    let parts: Vec<&str> = rest.split('/').skip(1).collect();
    match (method.as_str(), &parts[..]) {
        ("GET", []) => {
            let Home { address, name, id, .. } = &**home;
            Some((
                200,
                json!({
                    "id": id, "uuid": id, "full_name": name, "path_with_namespace": name, "private": false,
                    "clone_url": address, "default_branch": "main",
                }),
            ))
        }
        ("GET", ["pulls" | "merge_requests" | "pullrequests", _]) => Some((200, seen.pull.clone())),
        ("POST", ["statuses", commit]) if *kind != Forge::Bitbucket => {
            said((*kind, home), seen, commit, body)
        }
        ("POST", ["commit", commit, "statuses", "build"]) => said((*kind, home), seen, commit, body),
        (
            "GET",
            ["commits", commit, "statuses"]
            | ["repository", "commits", commit, "statuses"]
            | ["statuses", commit],
        ) => Some((200, statuses(seen, commit).into())),
        ("GET", ["commit", commit, "statuses", "build", _]) => {
            statuses(seen, commit).into_iter().next().map(|one| (200, one))
        }
        (method, ["hooks", rest @ ..]) => hooks(*kind, seen, (method, rest), body),
        _ => None,
    }
}

/// What a forge's documentation says of the body of a status: its fields, its words, its room.
struct Form {
    context: &'static str,
    url: &'static str,
    fields: &'static [&'static str],
    states: &'static [&'static str],
    description_chars: usize,
}

fn form(kind: Forge) -> Form {
    const OF_GITHUB: &[&str] = &["state", "target_url", "description", "context"];
    let (context, url, description_chars) = ("context", "target_url", 255);
    match kind {
        Forge::GitHub => {
            let states = &["error", "failure", "pending", "success"];
            Form { context, url, fields: OF_GITHUB, states, description_chars: 140 }
        }
        Forge::Gitea => {
            let states = &["error", "failure", "pending", "success", "warning"];
            Form { context, url, fields: OF_GITHUB, states, description_chars }
        }
        Forge::GitLab => {
            let states = &["pending", "running", "success", "failed", "canceled", "skipped"];
            let fields = &["state", "ref", "name", "target_url", "description"];
            Form { context: "name", url, fields, states, description_chars }
        }
        Forge::Bitbucket => {
            let states = &["SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED"];
            let fields = &["key", "state", "name", "url", "description"];
            Form { context: "key", url: "url", fields, states, description_chars }
        }
    }
}

fn said((kind, home): (Forge, &Home), seen: &mut Seen, commit: &str, body: &Value) -> Option<(u16, Value)> {
    let form = form(kind);
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let status = Said {
        at: Instant::now(),
        commit: commit.to_owned(),
        context: text(form.context),
        state: text("state"),
        description: text("description"),
        url: text(form.url),
    };
    let told: BTreeSet<&str> = body.as_object()?.keys().map(String::as_str).collect();
    // GitLab finds the ref by itself where it is not told.
    let all = form.fields.iter().all(|field| told.contains(field) || *field == "ref");
    let known = told.iter().all(|field| form.fields.contains(field));
    let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (right, what) in [
        (all && known, "it has other fields"),
        (is_commit, "this is no whole commit"),
        (status.context.starts_with("ocelot/"), "the context is not ours"),
        (form.states.contains(&status.state.as_str()), "the forge has no such state"),
        (status.description.chars().count() <= form.description_chars, "the description is too long"),
        (!status.description.is_empty(), "the description is empty"),
        (status.url.starts_with(&home.runs), "the address is no run's"),
    ] {
        if !right {
            seen.wrong.push(format!("a status of {commit}: {what}: {body}"));
        }
    }
    let states = seen.statuses.entry((status.commit.clone(), status.context.clone())).or_default();
    states.push(status.state.clone());
    seen.said.push(status);
    Some((201, json!({})))
}

fn statuses(seen: &Seen, commit: &str) -> Vec<Value> {
    let of = seen.statuses.iter().filter(|((known, _), _)| known == commit);
    let shown = |((_, context), states): (&(String, String), &Vec<String>)| {
        let state = states.last();
        json!({ "context": context, "name": context, "key": context, "state": state, "status": state })
    };
    of.map(shown).collect()
}

fn hooks(
    kind: Forge,
    seen: &mut Seen,
    (method, rest): (&str, &[&str]),
    body: &Value,
) -> Option<(u16, Value)> {
    let (url, secret) = match kind {
        Forge::GitHub | Forge::Gitea => (body["config"]["url"].as_str(), body["config"]["secret"].as_str()),
        Forge::GitLab => (body["url"].as_str(), body["token"].as_str()),
        Forge::Bitbucket => (body["url"].as_str(), body["secret"].as_str()),
    };
    if !body.is_null() && secret.is_none_or(|secret| secret.len() < 32) {
        seen.wrong.push(format!("a webhook without a secret that is one: {body}"));
    }
    let id_of = |text: &str| text.trim_start_matches("%7B").trim_end_matches("%7D").parse::<u64>().ok();
    match (method, rest) {
        ("GET", []) => {
            let shown = |(id, url, _): &(u64, String, Value)| json!({ "id": id, "uuid": format!("{{{id}}}"), "url": url, "config": { "url": url } });
            let list: Vec<Value> = seen.hooks.iter().map(shown).collect();
            Some((200, if kind == Forge::Bitbucket { json!({ "values": list }) } else { list.into() }))
        }
        ("POST", []) => {
            let id = seen.hooks.len() as u64 + 1;
            seen.hooks.push((id, url?.to_owned(), body.clone()));
            Some((201, json!({ "id": id })))
        }
        ("PATCH" | "PUT", [id]) => {
            let id = id_of(id)?;
            let hook = seen.hooks.iter_mut().find(|(known, ..)| *known == id)?;
            *hook = (id, url?.to_owned(), body.clone());
            Some((200, json!({})))
        }
        ("DELETE", [id]) => {
            let id = id_of(id)?;
            seen.hooks.retain(|(known, ..)| *known != id);
            Some((204, Value::Null))
        }
        ("POST", [id, "pings" | "tests"] | [id, "test", "push_events"]) => {
            let id = id_of(id)?;
            seen.pings += usize::from(seen.hooks.iter().any(|(known, ..)| *known == id));
            Some((204, Value::Null))
        }
        _ => None,
    }
}

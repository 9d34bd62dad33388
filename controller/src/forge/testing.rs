//! A double of each forge's API: it checks what it is told, and keeps the last state per commit and
//! context.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use ocelot_forge::Forge;
use ocelot_proto::kit::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Apis, ForgeLine};
use crate::egress::{Egress, Rules, Settings};

pub(crate) const TOKEN: &str = "t0ken-of-the-forge";

/// What the double does instead of what it was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Status(u16),
    Limited {
        seconds: u64,
    },
    /// It does what it was asked, and the answer is lost.
    Mute,
    /// It does what it was asked when the gate is opened.
    Hold,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) faults: VecDeque<Fault>,
    /// Every state of each commit and context, the last one last.
    pub(crate) statuses: BTreeMap<(String, String), Vec<String>>,
    /// Id, address and whole body.
    pub(crate) hooks: Vec<(u64, String, Value)>,
    pub(crate) pings: usize,
    pub(crate) calls: usize,
    pub(crate) gate: Arc<Notify>,
    pub(crate) pull: Value,
    /// What was wrong with a request.
    pub(crate) wrong: Vec<String>,
    pub(crate) descriptions: Vec<String>,
    /// Bodies that were posted to `/notify`, with the headers.
    pub(crate) notices: Vec<(HeaderMap, Value)>,
}

#[derive(Debug)]
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _serving: JoinSet<()>,
}

/// The repository that the payloads on file are of: its address, its name and its id.
pub(crate) fn repository(kind: Forge) -> (&'static str, &'static str, Value) {
    match kind {
        Forge::GitHub => {
            ("https://github.com/Codertocat/Hello-World", "Codertocat/Hello-World", json!(186_853_002))
        }
        Forge::GitLab => (
            "https://gitlab.com/gitlab-org/tools/hello-world.git",
            "gitlab-org/tools/hello-world",
            json!(4_861_503),
        ),
        Forge::Gitea => ("https://codeberg.org/gogits/hello-world.git", "gogits/hello-world", json!(61)),
        Forge::Bitbucket => (
            "https://bitbucket.org/brydzewski/foo",
            "brydzewski/foo",
            json!("{bc771cbf-829e-4c4b-b71f-a0eb3ac2b860}"),
        ),
    }
}

pub(crate) fn egress() -> Egress {
    let allowed = vec!["127.0.0.1".parse().unwrap()];
    Egress::new(&Settings { rules: Rules::new(allowed), ca: None }).unwrap()
}

impl Double {
    pub(crate) async fn start(kind: Forge) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state((kind, Arc::clone(&seen)));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, seen, _serving: serving }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub(crate) fn last(&self, context: &str) -> Option<String> {
        let seen = self.seen();
        let found = seen.statuses.iter().find(|((_, known), _)| known == context);
        found.and_then(|(_, states)| states.last().cloned())
    }

    /// A line on which every forge is this one.
    pub(crate) fn line(&self, clock: Arc<dyn Clock>) -> ForgeLine {
        let api = format!("http://{}/api", self.address);
        let hosts = ["github.com", "gitlab.com", "codeberg.org", "bitbucket.org"];
        let apis: Apis = hosts.into_iter().map(|host| (host.to_owned(), api.clone())).collect();
        ForgeLine::new(Arc::new(egress().within(Duration::from_secs(2))), clock, apis)
    }
}

type Shared = (Forge, Arc<Mutex<Seen>>);

async fn answer(State((kind, seen)): State<Shared>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let path = parts.uri.path().to_owned();
    let (mute, hold) = {
        let mut seen = seen.lock().unwrap();
        seen.calls += 1;
        match seen.faults.pop_front() {
            Some(Fault::Status(status)) => return StatusCode::from_u16(status).unwrap().into_response(),
            Some(Fault::Limited { seconds }) => {
                return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())])
                    .into_response();
            }
            Some(Fault::Mute) => (true, None),
            Some(Fault::Hold) => (false, Some(Arc::clone(&seen.gate))),
            None => (false, None),
        }
    };
    if let Some(gate) = hold {
        gate.notified().await;
    }
    let response = {
        let mut seen = seen.lock().unwrap();
        if path == "/notify" {
            seen.notices.push((parts.headers.clone(), body));
            return StatusCode::OK.into_response();
        }
        if let Some(wrong) = wrong_with(kind, &parts.headers, &body) {
            seen.wrong.push(format!("{} {path}: {wrong}", parts.method));
            return StatusCode::BAD_REQUEST.into_response();
        }
        let answered =
            within(kind, &path).and_then(|rest| route(kind, &mut seen, &parts.method, rest, &body));
        match answered {
            Some((status, body)) => (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response(),
            None => {
                seen.wrong.push(format!("{} {path} is not there", parts.method));
                StatusCode::NOT_FOUND.into_response()
            }
        }
    };
    if mute {
        std::future::pending::<()>().await;
    }
    response
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

fn within(kind: Forge, path: &str) -> Option<&str> {
    let (_, name, _) = repository(kind);
    let prefix = match kind {
        Forge::GitHub | Forge::Gitea => format!("/api/repos/{name}"),
        Forge::GitLab => format!("/api/projects/{}", name.replace('/', "%2F")),
        Forge::Bitbucket => format!("/api/repositories/{name}"),
    };
    path.strip_prefix(&prefix)
}

fn route(kind: Forge, seen: &mut Seen, method: &Method, rest: &str, body: &Value) -> Option<(u16, Value)> {
    let parts: Vec<&str> = rest.split('/').skip(1).collect();
    match (method.as_str(), &parts[..]) {
        ("GET", []) => {
            let (address, name, id) = repository(kind);
            Some((
                200,
                json!({
                    "id": id, "uuid": id, "full_name": name, "path_with_namespace": name, "private": false,
                    "clone_url": address, "default_branch": "main",
                }),
            ))
        }
        ("GET", ["pulls" | "merge_requests" | "pullrequests", _]) => Some((200, seen.pull.clone())),
        ("POST", ["statuses", commit]) if kind != Forge::Bitbucket => {
            let context = body[if kind == Forge::GitLab { "name" } else { "context" }].as_str()?;
            said(seen, commit, context, body, "target_url")
        }
        ("POST", ["commit", commit, "statuses", "build"]) => {
            said(seen, commit, body["key"].as_str()?, body, "url")
        }
        (
            "GET",
            ["commits", commit, "statuses"]
            | ["repository", "commits", commit, "statuses"]
            | ["statuses", commit],
        ) => Some((200, statuses(seen, commit).into())),
        ("GET", ["commit", commit, "statuses", "build", _]) => {
            statuses(seen, commit).into_iter().next().map(|one| (200, one))
        }
        (method, ["hooks", rest @ ..]) => hooks(kind, seen, (method, rest), body),
        _ => None,
    }
}

fn said(seen: &mut Seen, commit: &str, context: &str, body: &Value, url: &str) -> Option<(u16, Value)> {
    if !body[url].as_str()?.starts_with("https://ci.example.org/runs/") {
        seen.wrong.push(format!("{url} is {}", body[url]));
    }
    seen.descriptions.push(body["description"].as_str()?.to_owned());
    let states = seen.statuses.entry((commit.to_owned(), context.to_owned())).or_default();
    states.push(body["state"].as_str()?.to_owned());
    Some((201, json!({})))
}

fn statuses(seen: &Seen, commit: &str) -> Vec<Value> {
    let of = seen.statuses.iter().filter(|((known, _), _)| known == commit);
    let shown = |((_, context), states): (&(String, String), &Vec<String>)| {
        let state = states.last().unwrap();
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
    let url = match kind {
        Forge::GitHub | Forge::Gitea => body["config"]["url"].as_str(),
        Forge::GitLab | Forge::Bitbucket => body["url"].as_str(),
    };
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

//! For tests of this crate and of those that use it: a double of each forge's API. It checks what it
//! is told, keeps everything in the order in which it came, and fails in the ways that forges fail.

mod answers;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use ocelot_forge::Forge;
use ocelot_proto::kit::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Apis, ForgeLine};
use crate::egress::{Egress, Rules, Settings};

pub const TOKEN: &str = "t0ken-of-the-forge";
/// How long a line waits for an answer that comes.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The same where none comes.
pub const IMPATIENCE: Duration = Duration::from_secs(2);

/// What the double does instead of what it was asked.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Status(u16),
    Limited {
        seconds: u64,
    },
    /// It does what it was asked, and the answer is lost.
    Mute,
    /// It does what it was asked when the gate is opened.
    Hold,
}

/// The one repository that a double has.
#[derive(Debug, Clone)]
pub struct Home {
    pub address: String,
    /// `owner/name`
    pub name: String,
    /// A number, or Bitbucket's UUID in braces.
    pub id: Value,
    /// How the address of every run begins that a status names.
    pub runs: String,
}

/// A status that the double was told.
#[derive(Debug, Clone)]
pub struct Said {
    pub at: Instant,
    pub commit: String,
    pub context: String,
    /// In the forge's own word.
    pub state: String,
    pub description: String,
    /// The page of the run.
    pub url: String,
}

/// A notification that was posted to `/notify`.
#[derive(Debug, Clone)]
pub struct Notice {
    headers: HeaderMap,
    /// As it came, for whoever verifies it.
    pub raw: Vec<u8>,
    pub body: Value,
}

impl Notice {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

#[derive(Debug, Default)]
pub struct Seen {
    /// Each strikes one call.
    pub faults: VecDeque<Fault>,
    /// Strikes every call for as long as it stands.
    pub standing: Option<Fault>,
    /// Every state of each commit and context, the last one last.
    pub statuses: BTreeMap<(String, String), Vec<String>>,
    /// All of them, in the order in which they came.
    pub said: Vec<Said>,
    /// Id, address and whole body.
    pub hooks: Vec<(u64, String, Value)>,
    pub pings: usize,
    pub calls: usize,
    /// Calls that a fault struck.
    pub struck: usize,
    pub gate: Arc<Notify>,
    /// What is answered about any pull request.
    pub pull: Value,
    /// What was wrong with a request.
    pub wrong: Vec<String>,
    pub notices: Vec<Notice>,
}

#[derive(Debug)]
pub struct Double {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _serving: JoinSet<()>,
}

/// What every call is answered with.
#[derive(Debug, Clone)]
struct Shared {
    kind: Forge,
    home: Arc<Home>,
    seen: Arc<Mutex<Seen>>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The repository that the payloads on file are of: its address, its name and its id.
pub fn repository(kind: Forge) -> (&'static str, &'static str, Value) {
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

/// A way out that leads to this machine.
pub fn egress() -> Egress {
    let allowed = vec!["127.0.0.1".parse().expect("this is an address")];
    Egress::new(&Settings { rules: Rules::new(allowed), ca: None }).expect("no authority is told")
}

impl Double {
    /// Starts a double with the repository of the payloads on file.
    pub async fn start(kind: Forge) -> Self {
        let (address, name, id) = repository(kind);
        let runs = "https://ci.example.org/runs/".to_owned();
        let home = Home { address: address.to_owned(), name: name.to_owned(), id, runs };
        Self::of(kind, home).await.expect("a loopback address has a free port")
    }

    /// Starts a double with this repository.
    pub async fn of(kind: Forge, home: Home) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let shared = Shared { kind, home: Arc::new(home), seen: Arc::clone(&seen) };
        let app = Router::new().fallback(answer).with_state(shared);
        let mut serving = JoinSet::new();
        // Serving never ends by itself.
        serving.spawn(async move { axum::serve(listener, app).await.unwrap_or_default() });
        Ok(Self { address, seen, _serving: serving })
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns where its API is.
    pub fn api(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Returns the last state of this context, whatever the commit.
    pub fn last(&self, context: &str) -> Option<String> {
        let seen = self.seen();
        let found = seen.statuses.iter().find(|((_, known), _)| known == context);
        found.and_then(|(_, states)| states.last().cloned())
    }

    /// A line on which every forge is this one.
    pub fn line(&self, clock: Arc<dyn Clock>) -> ForgeLine {
        self.line_within(PATIENCE, clock)
    }

    /// The same, with another deadline for each call.
    pub fn line_within(&self, deadline: Duration, clock: Arc<dyn Clock>) -> ForgeLine {
        let hosts = ["github.com", "gitlab.com", "codeberg.org", "bitbucket.org"];
        let apis: Apis = hosts.into_iter().map(|host| (host.to_owned(), self.api())).collect();
        ForgeLine::new(Arc::new(egress().within(deadline)), clock, apis)
    }
}

async fn answer(State(shared): State<Shared>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(raw) = body.collect().await.map(|body| body.to_bytes()) else {
        shared.seen().wrong.push(format!("{} {}: the body broke off", parts.method, parts.uri));
        return StatusCode::BAD_REQUEST.into_response();
    };
    let struck = {
        let mut seen = shared.seen();
        seen.calls += 1;
        let fault = seen.faults.pop_front().or(seen.standing);
        seen.struck += usize::from(fault.is_some());
        fault.map(|fault| (fault, Arc::clone(&seen.gate)))
    };
    let mute = match struck {
        Some((Fault::Status(status), _)) => return code(status).into_response(),
        Some((Fault::Limited { seconds }, _)) => {
            return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response();
        }
        Some((Fault::Hold, gate)) => {
            gate.notified().await;
            false
        }
        Some((Fault::Mute, _)) => true,
        None => false,
    };
    let response = answers::told(&shared, &parts, &raw);
    if mute {
        std::future::pending::<()>().await;
    }
    response
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a test names a status")
}

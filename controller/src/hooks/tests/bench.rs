//! Controllers on one embedded store, a project with a webhook, and forges that are doubles.

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use ocelot_domain::outcome::Actor;
use ocelot_domain::placement::Limits;
use ocelot_forge::Forge;
use serde_json::Value;
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::super::Hooks;
use crate::forge::ForgeLine;
use crate::forge::testing::{TOKEN, egress, repository};
use crate::records::{EventRecord, ProjectName};
use crate::server::Peer;
use crate::service::testing::{DigestSigned, ManualClock, MemoryPlans, Sequence, TestLogs};
use crate::service::{NewSecret, Parts, ProjectChange, Service};
use crate::store::embedded::{EmbeddedStore, Settings};
use crate::store::keys::SecretScope;
use crate::store::{Revision, Store};

pub(crate) struct Bench {
    _directory: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) embedded: Arc<EmbeddedStore>,
    chance: Arc<Sequence>,
}

pub(crate) struct Controller {
    pub(crate) service: Arc<Service>,
    pub(crate) hooks: Hooks,
    embedded: Arc<EmbeddedStore>,
    _following: JoinSet<()>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let settings = Settings { clock: Arc::clone(&clock) as _, ..Settings::new(directory.path()) };
        let embedded = Arc::new(EmbeddedStore::open(settings).unwrap());
        Self { _directory: directory, clock, embedded, chance: Arc::new(Sequence::new(11)) }
    }

    pub(crate) async fn controller(&self, name: &str, line: Option<ForgeLine>) -> Controller {
        let controller = self.unread(name, line);
        controller.service.view.loaded().await;
        controller
    }

    /// A controller whose view may not have been read yet.
    pub(crate) fn unread(&self, name: &str, line: Option<ForgeLine>) -> Controller {
        let (service, follower) = Service::new(Parts {
            name: name.into(),
            store: Arc::clone(&self.embedded) as _,
            clock: Arc::clone(&self.clock) as _,
            chance: Arc::clone(&self.chance) as _,
            unguessable: Arc::clone(&self.chance) as _,
            verify: Arc::new(DigestSigned),
            logs: Arc::new(TestLogs::default()),
            plans: Arc::new(MemoryPlans::default()),
            limits: Limits::default(),
        });
        service.set_url("https://ci.example.org");
        service.set_seal(crate::seal::SealKey::new([7; 32]));
        let nowhere = || ForgeLine::new(Arc::new(egress()), Arc::clone(&self.clock) as _, Default::default());
        service.set_forge_line(line.unwrap_or_else(nowhere));
        let mut following = JoinSet::new();
        following.spawn(follower.run());
        let decoy = ocelot_forge::secret::Secret::new("d".repeat(64)).unwrap();
        let hooks = Hooks::new(Arc::clone(&service), Arc::clone(&self.clock) as _, decoy);
        Controller { service, hooks, embedded: Arc::clone(&self.embedded), _following: following }
    }
}

impl Controller {
    pub(crate) async fn settle(&self) -> Revision {
        let revision = self.embedded.health().await.unwrap().revision;
        self.service.view.wait_for(revision).await;
        revision
    }

    /// Adds a project of the repository that the payloads are of; returns its webhook's secret.
    pub(crate) async fn project(&self, name: &str, kind: Forge) -> String {
        let url = Some(repository(kind).0.to_owned());
        let change = ProjectChange { url, default_branch: Some("main".into()), ..ProjectChange::default() };
        let name: ProjectName = name.parse().unwrap();
        let put = self.service.put_project(&name, change, (true, true), &Actor("ana".into())).await.unwrap();
        self.settle().await;
        put.hook_secret.expect("the secret is shown once").to_string()
    }

    /// Gives the project a token for its forge.
    pub(crate) async fn give_token(&self, name: &str) {
        let name: ProjectName = name.parse().unwrap();
        let scope = SecretScope::Project { owner: name.owner().into(), name: name.name().into() };
        let value = TOKEN.as_bytes().to_vec().into();
        let secret = NewSecret { scope, name: "forge".into(), value, allow_short: false };
        let ana = Actor("ana".into());
        self.service.set_secret(secret, &ana).await.unwrap();
        let change = ProjectChange { forge_secret: Some("forge".into()), ..ProjectChange::default() };
        self.service.put_project(&name, change, (false, false), &ana).await.unwrap();
        self.settle().await;
    }

    pub(crate) async fn post(&self, delivery: &Delivery) -> (StatusCode, HeaderMap, Value) {
        let mut request = Request::post(delivery.path.as_str());
        for (name, value) in &delivery.headers {
            request = request.header(*name, value);
        }
        let mut request = request.body(Body::from(delivery.body.clone())).unwrap();
        request.extensions_mut().insert(Peer(delivery.from.parse().unwrap()));
        let answer = self.hooks.clone().router().oneshot(request).await.unwrap();
        let (mut parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let told = parts.extensions.remove::<crate::api_error::ErrorBody>();
        let body = match told {
            Some(error) => Value::String(error.message),
            None => serde_json::from_slice(&body).unwrap_or(Value::Null),
        };
        (parts.status, parts.headers, body)
    }

    pub(crate) fn events(&self, project: &str) -> Vec<EventRecord> {
        self.service.events(&project.parse().unwrap(), None, 10_000).events
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) from: String,
}

pub(crate) fn payload(kind: Forge, name: &str) -> Vec<u8> {
    let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::fs::read(root.join(format!("forge/tests/payloads/{kind}/{name}.json"))).unwrap()
}

fn hex_mac(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A delivery as the forge sends it.
pub(crate) fn signed(kind: Forge, project: &str, event: &str, body: Vec<u8>, secret: &str) -> Delivery {
    let mac = hex_mac(secret, &body);
    let pull = event.starts_with("pull_request");
    let headers = match kind {
        Forge::GitHub => vec![
            ("x-hub-signature-256", format!("sha256={mac}")),
            ("x-github-event", if pull { "pull_request" } else { "push" }.to_owned()),
            ("x-github-delivery", "72d3162e".into()),
        ],
        Forge::Gitea => vec![
            ("x-gitea-signature", mac),
            ("x-gitea-event", if pull { "pull_request" } else { "push" }.to_owned()),
        ],
        Forge::Bitbucket => vec![
            ("x-hub-signature", format!("sha256={mac}")),
            ("x-event-key", if pull { "pullrequest:created" } else { "repo:push" }.to_owned()),
        ],
        Forge::GitLab => vec![
            ("x-gitlab-token", secret.to_owned()),
            ("x-gitlab-event", if pull { "Merge Request Hook" } else { "Push Hook" }.to_owned()),
        ],
    };
    Delivery { path: format!("/hooks/{kind}/{project}"), headers, body, from: "203.0.113.7:1000".into() }
}

/// A push of a plain git server.
pub(crate) fn plain(project: &str, body: String, secret: &str) -> Delivery {
    let headers = vec![("x-hub-signature-256", format!("sha256={}", hex_mac(secret, body.as_bytes())))];
    let body = body.into_bytes();
    Delivery { path: format!("/hooks/git/{project}"), headers, body, from: "203.0.113.7:1000".into() }
}

impl Controller {
    /// Counts events past what one page shows.
    pub(crate) fn events_count(&self, project: &str) -> usize {
        let (project, mut after, mut count) = (project.parse().unwrap(), None, 0);
        loop {
            let page = self.service.events(&project, after, 1_000);
            count += page.events.len();
            match page.next {
                Some(next) => after = Some(next),
                None => return count,
            }
        }
    }
}

//! A fleet whose project is at a forge: a double of the forge's API, and a repository whose
//! `post-receive` hook tells of each push as that forge would, to the address and under the secret
//! that the controller itself registered there.

mod payload;
mod receive;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use ocelot_controller::forge::testing::{Double, Fault, Home, Notice, Said, TOKEN};
use ocelot_core::id::RunId as Id;
use ocelot_forge::Forge;
use ocelot_proto::wire;
use ocelot_proto::wire::secret_scope::Scope;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::ground::Repositories;
use super::{Ground, Repository, RunId, Settings};
use crate::wait::wait_until;

pub use receive::{Answer, get, post_receive};
use receive::{Move, mac, send};

/// The project of every site.
pub const PROJECT: &str = "acme/shop";
/// The target of notifications that every site's controllers know.
pub const TARGET: &str = "room";
const TARGET_SECRET: &str = "a secret that the room shares with the controllers";
/// The repository of whoever opens pull requests from outside.
const STRANGERS_ID: u64 = 200_000_001;

/// A fleet, its forge, and the one project between them.
#[derive(Debug)]
pub struct Site {
    pub ground: Ground,
    pub double: Double,
    pub repository: Repository,
    kind: Forge,
    home: Home,
    /// What the hook reads, the answers that it notes, and settings of the controllers.
    aside: TempDir,
}

/// A push, as the one who pushed saw it.
#[derive(Debug)]
pub struct Pushed {
    pub began: Instant,
    /// When the command ended: the hook had its answers by then.
    pub ended: Instant,
    /// What each delivery was answered.
    pub answers: Vec<Answer>,
}

impl Pushed {
    /// Returns the run of the one delivery that the push made.
    pub fn run(&self) -> Result<RunId> {
        let [answer] = &self.answers[..] else { anyhow::bail!("not one delivery: {:?}", self.answers) };
        answer.run()
    }
}

impl Answer {
    /// Returns the run that the answer names.
    pub fn run(&self) -> Result<RunId> {
        ensure!(self.status == 202, "it was answered {self:?}");
        let id: Id = self.body["run"].as_str().context("no run is named")?.parse()?;
        Ok(*id.as_bytes())
    }
}

impl Site {
    /// Starts all of it. The first commit has no `ocelot.yml`, so that no look at it makes a run.
    pub async fn start(kind: Forge, mut settings: Settings) -> Result<Self> {
        let aside = tempfile::Builder::new().prefix("ocelot-site-").tempdir()?;
        let repositories = Repositories::serve()?;
        let address = repositories.git.url(&format!("{PROJECT}.git")).to_string();
        let id = match kind {
            Forge::Bitbucket => json!("{bc771cbf-829e-4c4b-b71f-a0eb3ac2b861}"),
            Forge::GitHub | Forge::GitLab | Forge::Gitea => json!(4_711),
        };
        let runs = "http://127.0.0.1:".to_owned();
        let home = Home { address: address.clone(), name: PROJECT.to_owned(), id, runs };
        let double = Double::of(kind, home.clone()).await?;
        let host = address.split('/').nth(2).context("an address has a host")?;
        settings.more.push(format!("--forge-api={host}={}", double.api()));
        settings.more.push(format!("--config={}", targets(&aside, &double)?.display()));
        let ground = Ground::beside(repositories, settings).await?;
        let repository = ground.repository(PROJECT, &[("README", "A shop.\n")])?;
        let site = Self { ground, double, repository, kind, home, aside };
        site.add().await.with_context(|| site.ground.fleet.last_words())?;
        Ok(site)
    }

    /// Adds the project with a token for its forge, where the controller registers its webhook.
    async fn add(&self) -> Result<()> {
        let settings = wire::ProjectSettings {
            forge: Some(self.kind.word().to_owned()),
            builds_forks: Some(true),
            ..wire::ProjectSettings::default()
        };
        self.ground.add_project(PROJECT, settings).await?;
        self.secret("forge", TOKEN).await?;
        let request = wire::PutProjectRequest {
            name: PROJECT.to_owned(),
            settings: Some(wire::ProjectSettings {
                forge_secret: Some("forge".to_owned()),
                ..wire::ProjectSettings::default()
            }),
            hook: true,
            ..wire::PutProjectRequest::default()
        };
        let put = self.ground.fleet.caller(0)?.projects().put_project(request).await?.into_inner();
        self.ground.fleet.guard("the webhook's secret", &put.hook_secret);
        ensure!(put.left_to_do.is_empty(), "left to do: {:?}", put.left_to_do);
        self.looked().await?;
        self.arm(0)
    }

    /// Has the repository looked at, so that no look of a controller's own finds a push before its hook
    /// tells of it.
    async fn looked(&self) -> Result<()> {
        let request = wire::PollProjectRequest { name: PROJECT.to_owned() };
        self.ground.fleet.caller(0)?.projects().poll_project(request).await?;
        wait_until("what is there to be decided", || async {
            let events = self.events().await?;
            let decided = events.iter().filter(|event| event.decision.is_some()).count();
            ensure!((events.len(), decided) == (1, 1), "{events:?}");
            Ok(())
        })
        .await
    }

    /// Sets a secret of the project.
    pub async fn secret(&self, name: &str, value: &str) -> Result<()> {
        let scope = wire::SecretScope { scope: Some(Scope::Project(PROJECT.to_owned())) };
        let request = wire::SetSecretRequest {
            scope: Some(scope),
            name: name.to_owned(),
            value: value.as_bytes().to_vec().into(),
            allow_short: false,
        };
        self.ground.fleet.guard(name, value);
        self.ground.fleet.caller(0)?.secrets().set_secret(request).await?;
        Ok(())
    }

    /// Puts the hook into the repository: from now on it tells this controller of each push.
    pub fn arm(&self, controller: usize) -> Result<()> {
        let settings = self.delivery(controller)?;
        fs::write(self.hook(), settings.to_string())?;
        let own = std::env::current_exe()?;
        let script =
            format!("#!/bin/sh\nexec '{}' child post-receive '{}'\n", own.display(), self.hook().display());
        let hook = self.repository.bare.join("hooks/post-receive");
        fs::create_dir_all(self.repository.bare.join("hooks"))?;
        fs::write(&hook, script)?;
        Ok(fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755))?)
    }

    /// What a delivery needs to know: the webhook as it is registered, and the repository.
    fn delivery(&self, controller: usize) -> Result<Value> {
        let seen = self.double.seen();
        let [(_, url, body)] = &seen.hooks[..] else { anyhow::bail!("not one webhook: {:?}", seen.hooks) };
        let secret = match self.kind {
            Forge::GitHub | Forge::Gitea => &body["config"]["secret"],
            Forge::GitLab => &body["token"],
            Forge::Bitbucket => &body["secret"],
        };
        let path = url.splitn(4, '/').nth(3).context("the webhook has a path")?;
        Ok(json!({
            "kind": self.kind.word(), "url": format!("{}/{path}", self.ground.fleet.url(controller)),
            "secret": secret, "name": self.home.name, "id": self.home.id, "address": self.home.address,
            "stranger": STRANGERS_ID, "answers": self.aside.path().join("answers"),
        }))
    }

    fn hook(&self) -> PathBuf {
        self.aside.path().join("hook.json")
    }

    /// Posts one delivery past git; `under` is a secret in place of the right one.
    pub fn deliver(&self, reference: &str, (old, new): (&str, &str), under: Option<&str>) -> Result<Answer> {
        let mut settings = self.delivery(0)?;
        if let Some(secret) = under {
            settings["secret"] = secret.into();
        }
        send(&settings, &Move { old, new, reference, message: "Told past git" })
    }

    /// Pushes what `what` names, and waits for the hook as git does.
    pub fn push(&self, what: &str) -> Result<Pushed> {
        let answers = self.aside.path().join("answers");
        fs::write(&answers, "")?;
        let began = Instant::now();
        self.repository.push(what)?;
        let ended = Instant::now();
        let answers = fs::read_to_string(&answers)?;
        let answers = answers.lines().map(Answer::read).collect::<Result<Vec<_>>>()?;
        Ok(Pushed { began, ended, answers })
    }

    /// Writes `ocelot.yml`, commits it and pushes it to this branch; returns the commit, too.
    pub fn push_definition(&self, definition: &str, what: &str) -> Result<(String, Pushed)> {
        self.repository.write("ocelot.yml", definition)?;
        let commit = self.repository.commit("Change the build")?;
        Ok((commit, self.push(what)?))
    }

    /// Returns what the forge was told of a commit under this context, in its order.
    pub fn said(&self, commit: &str, context: &str) -> Vec<Said> {
        let seen = self.double.seen();
        seen.said.iter().filter(|said| said.commit == commit && said.context == context).cloned().collect()
    }

    /// Waits until the forge's last word of the commit is `state`; returns when and how it was told.
    pub async fn told(&self, commit: &str, context: &str, state: &str) -> Result<Said> {
        let what = format!("{context} of {commit} to be {state}");
        let told = wait_until(&what, || async {
            let said = self.said(commit, context);
            let last = said.last().filter(|last| last.state == state).cloned();
            last.with_context(|| format!("{said:?}, {} calls", self.double.seen().calls))
        });
        told.await.with_context(|| self.ground.fleet.last_words())
    }

    /// Lets every call to the forge fail so, or none.
    pub fn weather(&self, fault: Option<Fault>) {
        self.double.seen().standing = fault;
    }

    /// Tells what happened to the project, the newest last, and what was decided.
    pub async fn events(&self) -> Result<Vec<wire::ProjectEvent>> {
        let request =
            wire::ListEventsRequest { project: PROJECT.to_owned(), ..wire::ListEventsRequest::default() };
        let answer = self.ground.fleet.caller(0)?.projects().list_events(request).await?.into_inner();
        Ok(answer.events.into_iter().rev().collect())
    }

    /// Returns all runs of the project.
    pub async fn runs(&self) -> Result<Vec<wire::RunSummary>> {
        let request =
            wire::ListRunsRequest { project: PROJECT.to_owned(), ..wire::ListRunsRequest::default() };
        Ok(self.ground.fleet.caller(0)?.runs().list_runs(request).await?.into_inner().runs)
    }

    /// Judges what the forge was told: nothing that it does not know, and of each commit and context a
    /// beginning before the end and none after it, and one end.
    pub fn judge(&self) -> Result<()> {
        let seen = self.double.seen();
        ensure!(seen.wrong.is_empty(), "the forge found wrong: {:#?}", seen.wrong);
        let mut ends: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for said in &seen.said {
            let of = (said.commit.as_str(), said.context.as_str());
            let state = said.state.as_str();
            match (matches!(state, "pending" | "INPROGRESS"), ends.get(&of)) {
                (true, None) => {}
                (true, Some(end)) => anyhow::bail!("{of:?} began after it was {end}: {:?}", seen.said),
                (false, Some(end)) => ensure!(*end == state, "{of:?} was {end} and is {state}"),
                (false, None) => drop(ends.insert(of, state)),
            }
        }
        Ok(())
    }

    /// Returns the notifications that came, each verified as its receiver verifies it.
    pub fn notices(&self) -> Result<Vec<Value>> {
        self.double.seen().notices.iter().map(verified).collect()
    }
}

fn verified(notice: &Notice) -> Result<Value> {
    let header = |name: &str| notice.header(name).with_context(|| format!("{name} is missing"));
    let (delivery, timestamp) = (header("x-ocelot-delivery")?, header("x-ocelot-timestamp")?);
    let signed = [delivery.as_bytes(), b".", timestamp.as_bytes(), b".", &notice.raw].concat();
    let right = format!("sha256={}", mac(TARGET_SECRET, &signed));
    ensure!(header("x-ocelot-signature-256")? == right, "a notification is not signed as it should be");
    Ok(notice.body.clone())
}

/// Writes the controllers' file of settings, with one target of notifications: the double.
fn targets(aside: &TempDir, double: &Double) -> Result<PathBuf> {
    let path = |name: &str| aside.path().join(name);
    fs::write(path("room-url"), format!("http://{}/notify", double.address))?;
    fs::write(path("room-secret"), TARGET_SECRET)?;
    let settings = json!({ "notify": { TARGET: {
        "kind": "generic", "url-file": path("room-url"), "secret-file": path("room-secret"),
    } } });
    // JSON is YAML, too.
    fs::write(path("controller.yml"), settings.to_string())?;
    Ok(path("controller.yml"))
}

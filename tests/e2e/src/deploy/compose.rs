//! `deploy/compose.yaml`: the very containers that it names, with their commands, their variables, their
//! volumes, their order and their health checks. What starts them is not docker compose but this file,
//! which reads as much of the format as that one uses and refuses the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::engine::docker;
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_rarely;
use serde::Deserialize;
use tempfile::TempDir;

use super::image::{base, ours};
use super::source;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("deploy::compose::the_fleet_that_it_names_comes_up_and_runs_a_job", up)]
}

#[derive(Debug, Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
    volumes: BTreeMap<String, Option<BTreeMap<String, String>>>,
    #[serde(flatten)]
    more: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some of it says how long it is to live, which no trial waits for")]
struct Service {
    image: String,
    build: Option<String>,
    #[serde(default)]
    init: bool,
    restart: Option<String>,
    stop_grace_period: Option<String>,
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    volumes: Vec<String>,
    /// Ports of this machine are not taken: another fleet may have them.
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    healthcheck: Option<Health>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    condition: Condition,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    ServiceHealthy,
    ServiceCompletedSuccessfully,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Health {
    test: Vec<String>,
    interval: String,
    timeout: String,
    retries: u32,
}

/// What was started; it goes with this value.
struct Up {
    /// Before every name of ours.
    prefix: String,
    started: BTreeSet<String>,
    compose: Compose,
}

impl Drop for Up {
    fn drop(&mut self) {
        // What cannot be removed is in the way of nobody.
        for service in &self.started {
            docker(&["rm", "--force", "--volumes", &self.named(service)]).ok();
        }
        for volume in self.compose.volumes.keys() {
            docker(&["volume", "rm", &self.named(volume)]).ok();
        }
        docker(&["network", "rm", &self.prefix]).ok();
    }
}

impl Up {
    fn begin(compose: Compose) -> Result<Self> {
        let prefix = format!("ocelot-compose-{}", std::process::id());
        docker(&["network", "create", &prefix])?;
        Ok(Self { prefix, started: BTreeSet::new(), compose })
    }

    fn named(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Starts every service once those are as far that it waits for.
    async fn start_all(&mut self, image: &dyn Fn(&str) -> Result<String>) -> Result<()> {
        let all: Vec<String> = self.compose.services.keys().cloned().collect();
        while self.started.len() < all.len() {
            let is_next = |name: &&String| {
                let known = |other: &String| self.started.contains(other);
                !known(name) && self.compose.services[*name].depends_on.keys().all(known)
            };
            let name = all.iter().find(is_next).context("services wait for each other")?.clone();
            for (other, dependency) in &self.compose.services[&name].depends_on {
                self.wait(other, dependency.condition).await?;
            }
            self.start(&name, image)?;
        }
        Ok(())
    }

    fn start(&mut self, name: &str, image: &dyn Fn(&str) -> Result<String>) -> Result<()> {
        let service = &self.compose.services[name];
        let container = self.named(name);
        let mut words: Vec<String> =
            ["run", "--detach", "--pull", "never", "--name", &container].map(str::to_owned).to_vec();
        words.extend(
            ["--network", &self.prefix, "--network-alias", name, "--hostname", name].map(str::to_owned),
        );
        if service.init {
            words.push("--init".to_owned());
        }
        words.extend(service.restart.iter().map(|policy| format!("--restart={policy}")));
        words.extend(service.environment.iter().map(|(name, value)| format!("--env={name}={value}")));
        for volume in &service.volumes {
            let (own, place) = volume.split_once(':').context("a volume has a place")?;
            ensure!(self.compose.volumes.contains_key(own), "{name} has a volume {own} that is not named");
            words.push(format!("--volume={}:{place}", self.named(own)));
        }
        if let Some(health) = &service.healthcheck {
            let (kind, test) = health.test.split_first().context("a check has a command")?;
            ensure!(kind == "CMD", "{name}: a check of the kind {kind}");
            words.push(format!("--health-cmd={}", test.join(" ")));
            words.push(format!("--health-interval={}", health.interval));
            words.push(format!("--health-timeout={}", health.timeout));
            words.push(format!("--health-retries={}", health.retries));
        }
        words.push(image(&service.image)?);
        words.extend(service.command.iter().cloned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        docker(&words).with_context(|| format!("{name} does not start"))?;
        self.started.insert(name.to_owned());
        Ok(())
    }

    async fn wait(&self, name: &str, condition: Condition) -> Result<()> {
        let container = self.named(name);
        let what = format!("{name}: {condition:?}");
        let look = || async {
            let format = match condition {
                Condition::ServiceHealthy => "{{.State.Health.Status}}",
                Condition::ServiceCompletedSuccessfully => "{{.State.Status}} {{.State.ExitCode}}",
            };
            let found = docker(&["inspect", "--format", format, &container])?;
            let wanted = match condition {
                Condition::ServiceHealthy => "healthy",
                Condition::ServiceCompletedSuccessfully => "exited 0",
            };
            ensure!(found == wanted, "{found}");
            Ok(())
        };
        wait_rarely(&what, look).await.with_context(|| self.last_words(name))
    }

    fn last_words(&self, name: &str) -> String {
        let container = self.named(name);
        let output = std::process::Command::new("docker").args(["logs", "--tail", "20", &container]).output();
        let health = docker(&["inspect", "--format", "{{json .State}}", &container]).unwrap_or_default();
        output.map_or_else(
            |error| error.to_string(),
            |output| {
                let (out, err) =
                    (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                format!("{name}: {out}{err}{health}")
            },
        )
    }

    /// Runs a command in a container, as a person would.
    fn run(&self, service: &str, words: &[&str]) -> Result<String> {
        docker(&[&["exec", &self.named(service)], words].concat())
    }
}

fn read() -> Result<Compose> {
    let text = fs::read_to_string(source("deploy/compose.yaml"))?;
    let compose: Compose = serde_yaml::from_str(&text)?;
    for name in compose.more.keys() {
        ensure!(name.starts_with("x-"), "the file has {name}, which is not read here");
    }
    Ok(compose)
}

async fn up() -> Result<()> {
    let folder = TempDir::new()?;
    let base = base(folder.path())?;
    let ours = ours(folder.path(), &base)?;
    let user = docker(&["inspect", "--format", "{{.Config.User}}", &ours.0])?;
    ensure!(user == "10001:10001", "it runs as {user:?}");
    let compose = read()?;
    let many = |begin: &str| compose.services.keys().filter(|name| name.starts_with(begin)).count();
    ensure!(
        (many("etcd-"), many("controller-"), many("executor-")) == (3, 2, 2),
        "{:?}",
        compose.services.keys()
    );
    let mut up = Up::begin(compose)?;
    let image = |named: &str| match named.split_once(":-") {
        Some(("${OCELOT_IMAGE", _)) => Ok(ours.0.clone()),
        Some(("${ETCD_IMAGE", _)) => Ok(base.0.clone()),
        _ => bail!("an image {named} that this machine cannot have"),
    };
    up.start_all(&image).await?;
    for service in up.compose.services.iter().filter(|(_, service)| service.healthcheck.is_some()) {
        up.wait(service.0, Condition::ServiceHealthy).await?;
    }
    wait_rarely("both executors to be known", || async {
        let executors = up.run("controller-1", &["ocelot", "executor", "list"])?;
        ensure!(executors.contains("executor-1") && executors.contains("executor-2"), "{executors}");
        Ok(())
    })
    .await?;
    let job = "name: hello\nruntime: process\nstages:\n  - name: hello\n    script: [\"echo the whole fleet works\"]\n";
    let write = format!("printf '%s' '{job}' > /tmp/hello.job.yml");
    up.run("controller-2", &["sh", "-c", &write])?;
    up.run("controller-2", &["ocelot", "create", "-f", "/tmp/hello.job.yml"])?;
    let log = up.run("controller-1", &["ocelot", "execute", "hello", "--follow"])?;
    ensure!(log.contains("the whole fleet works"), "{log}");
    // Every process is well in its own eyes, too.
    for (service, program) in [("controller-2", "ocelot-controller"), ("executor-1", "ocelot-executor")] {
        let what = format!("{service} to be well");
        wait_rarely(&what, || async { up.run(service, &[program, "doctor", "--running"]) }).await?;
    }
    Ok(())
}

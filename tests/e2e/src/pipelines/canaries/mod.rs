//! Secrets of every kind are set, used and printed in every way, with every program at its most
//! talkative; then everything that is left behind is looked through, and none of it is anywhere.
//!
//! Where a value may be: in memory (`/dev/shm`) while its attempt runs, in the environment of the task's
//! own processes, in the files that an operator wrote it to, and, of the very first token, in what the
//! controller printed for people at its first start.

mod builds;
mod ears;
mod processes;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_controller::auth::random_secret;
use ocelot_e2e::engine::IMAGE;
use ocelot_e2e::fleet::{Build, Ground, Newcomer, RunId, Settings, reference};
use ocelot_e2e::runner::trial;
use ocelot_e2e::search::{Search, base64, finds_each_spelling, hex};
use ocelot_e2e::wait::wait_until;
use ocelot_git::testing::Server;
use ocelot_proto::wire;
use ocelot_proto::wire::secret_scope::Scope;
use tempfile::TempDir;
use tokio::time::Instant;

use super::semantics::told;
use builds::{holding, printing};
use ears::{Ears, get};
use processes::{look_at_containers, look_at_processes};

const PROJECT: &str = "acme/shop";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pipelines::canaries::the_search_finds_each_spelling", async || finds_each_spelling()),
        trial("pipelines::canaries::no_secret_is_left_anywhere", || hold(0)),
        trial("pipelines::canaries::nor_with_etcd_and_two_controllers", || hold(1)),
    ]
}

/// The mark that all canaries of one trial hold.
fn mark() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789";
    random_secret()[..14].iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// A fleet with everything in it that knows a secret.
struct Scene {
    ground: Ground,
    /// Asks for a login before it gives the repository away.
    locked: Server,
    ears: Ears,
    mark: String,
    /// Values that the fleet made itself, by what they are.
    made: Vec<(String, String)>,
    /// What every answer said, by who was asked.
    answers: Vec<(String, Vec<u8>)>,
    /// The files that whoever runs the fleet wrote secrets to.
    _operator: TempDir,
}

impl Scene {
    fn value(&self, kind: &str) -> String {
        // Letters that URLs, shells, JSON and XML each write in a way of their own.
        format!("{kind}/{}+&\"%$ end-{}", self.mark, kind.len())
    }

    fn word(&self, kind: &str) -> String {
        format!("{kind}-{}-word", self.mark)
    }

    async fn set(members: usize) -> Result<Self> {
        let mark = mark();
        let ears = Ears::open()?;
        let operator = tempfile::Builder::new().prefix("ocelot-operator-").tempdir()?;
        let file = |name: &str, text: String| {
            let path = operator.path().join(name);
            std::fs::write(&path, text).map(|()| path.display().to_string())
        };
        let url = file("notify-url", format!("http://127.0.0.1:{}/notify/{mark}", ears.port))?;
        let secret = file("notify-secret", format!("notify-{mark}-signs"))?;
        let config = file(
            "controller.yml",
            format!("notify:\n  ops: {{kind: generic, url-file: {url}, secret-file: {secret}}}\n"),
        )?;
        let mut settings = match members {
            0 => Settings::embedded(Build::Plain),
            members => Settings::etcd(Build::Plain, 2, members),
        };
        settings.more = vec!["--log=trace".to_owned(), format!("--config={config}")];
        let mut ground = Ground::start(settings).await?;
        let locked = Server::start(ground.repositories(), Some(&format!("ada:git-{mark}-login")), None)?;
        let more = ["--log", "trace"];
        ground.add_executor(Newcomer { name: "one", slots: 2, more: &more, ..Newcomer::default() }).await?;
        let more = ["--runtime", "docker", "--log", "trace"];
        let labels = &["contained"];
        ground
            .add_executor(Newcomer { name: "two", slots: 2, more: &more, labels, ..Newcomer::default() })
            .await?;
        ground.fleet.caller(0)?.online(2).await?;
        let (made, answers) = (Vec::new(), Vec::new());
        Ok(Self { ground, locked, ears, mark, made, answers, _operator: operator })
    }

    fn hear(&mut self, who: &str, answer: &impl Debug) {
        self.answers.push((who.to_owned(), format!("{answer:?}").into_bytes()));
    }

    /// Sets secrets of every kind, and makes every token that there is.
    async fn fill(&mut self) -> Result<()> {
        let caller = self.ground.fleet.caller(0)?;
        let word = |kind: &str| self.word(kind);
        let pem = format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
            word("first-line-of-the-key"),
            word("second-line-of-the-key")
        );
        let secrets = [
            ("plain", self.value("plain")),
            ("lines", format!("{}\n{}\n", word("upper-line"), word("lower-line"))),
            ("file", self.value("file")),
            ("git-login", format!("ada:git-{}-login", self.mark)),
            ("forge-token", word("forge-token")),
            ("registry", format!("bob:{}", word("registry"))),
            ("to-docker", format!("registry.example bob {}", word("docker"))),
            ("to-ssh", pem),
            ("to-maven", format!("nexus bob {}", word("maven"))),
            ("to-npm", word("npm")),
            ("to-pypi", format!("https://pypi.example/simple bob {}", word("pypi"))),
            ("to-netrc", format!("machine git.example login bob password {}", word("netrc"))),
            ("to-kubernetes", format!("users: [{{name: bob, user: {{token: {}}}}}]", word("kubernetes"))),
        ];
        for (name, value) in secrets {
            let request = wire::SetSecretRequest {
                scope: Some(wire::SecretScope { scope: Some(Scope::Project(PROJECT.to_owned())) }),
                name: name.to_owned(),
                value: value.into_bytes().into(),
                allow_short: false,
            };
            let answer = caller.secrets().set_secret(request).await;
            self.hear("set secret", &answer);
            answer.with_context(|| name.to_owned())?;
        }
        let request = wire::CreateApiTokenRequest { name: "script".to_owned(), ..Default::default() };
        let token = caller.admin().create_api_token(request).await?.into_inner();
        self.made.push(("an API token".to_owned(), token.value));
        let registration = self.ground.fleet.registration(&[]).await?;
        let token = registration.split('@').next().unwrap_or_default().to_owned();
        self.made.push(("a registration token".to_owned(), token));
        self.made.push(("the first token".to_owned(), self.ground.fleet.token().to_owned()));
        Ok(())
    }

    /// Adds the project, which takes a login to fetch, a token to tell, and a secret to be told.
    async fn add_project(&mut self) -> Result<()> {
        self.ground.repository(PROJECT, &[("README", "A shop.\n")])?;
        let settings = wire::ProjectSettings {
            url: Some(self.locked.url(&format!("{PROJECT}.git")).to_string()),
            forge: Some("gitea".to_owned()),
            git_secret: Some("git-login".to_owned()),
            forge_secret: Some("forge-token".to_owned()),
            ..wire::ProjectSettings::default()
        };
        let request = wire::PutProjectRequest {
            name: PROJECT.to_owned(),
            settings: Some(settings),
            hook: true,
            ..wire::PutProjectRequest::default()
        };
        let caller = self.ground.fleet.caller(0)?;
        let put = caller.projects().put_project(request).await?.into_inner();
        self.made.push(("the webhook's first secret".to_owned(), put.hook_secret));
        let request = wire::RotateHookRequest { name: PROJECT.to_owned(), overlap_ms: 60_000 };
        if let Ok(turned) = caller.projects().rotate_hook(request).await {
            self.made.push(("the webhook's second secret".to_owned(), turned.into_inner().hook_secret));
        }
        // A value that the forge alone was told is not known here.
        self.made.retain(|(_, value)| value.len() >= 16);
        Ok(())
    }

    async fn run(&mut self, definition: &str, word: &str) -> Result<RunId> {
        let run = self.ground.build(PROJECT, definition).await?;
        let caller = self.ground.fleet.caller(0)?;
        let outcome = caller.outcome(run).await?;
        let log = caller.log(run, 0).await?;
        ensure!(told(&outcome).starts_with(word), "{outcome:?}: {}", String::from_utf8_lossy(&log));
        Ok(run)
    }
}

async fn hold(members: usize) -> Result<()> {
    let began = Instant::now();
    let mut scene = Scene::set(members).await?;
    scene.fill().await?;
    scene.add_project().await?;
    let contained = format!("image: {IMAGE}\nlabels: [contained]\npull: never\npull_secret: registry");
    let run = scene.run(&printing("runtime: process"), "failed, stage fail, exit 1").await?;
    scene.run(&printing(&contained), "failed, stage fail, exit 1").await?;
    let until = format!("while [ ! -e {} ]; do sleep 0.05; done", scene.ground.fleet.path("go").display());
    let held = scene.ground.build(PROJECT, &holding("runtime: process", &until)).await?;
    let until = "while [ ! -e go ]; do sleep 0.05; done";
    let inside = scene.ground.build(PROJECT, &holding(&contained, until)).await?;
    for run in [held, inside] {
        printed(&scene, run, "holding").await?;
    }
    let search = scene.search();
    let processes = look_at_processes(&scene, &search)?;
    let containers = look_at_containers(&scene, &search).await?;
    std::fs::write(scene.ground.fleet.path("go"), "")?;
    let caller = scene.ground.fleet.caller(0)?;
    ensure!(told(&caller.outcome(held).await?) == "succeeded", "the held build failed");
    caller.cancel(inside).await?;
    caller.outcome(inside).await?;
    everything_was_told(&scene).await?;
    ask_everything(&mut scene, run).await?;
    let looked = look_through(&scene, &search)?;
    planted(&mut scene, &search).await?;
    eprintln!(
        "{} values of the mark and {} of the fleet's own in {} places of {} MiB, {} answers, {processes} \
         processes and {containers} containers: none; {:.1} s",
        14,
        scene.made.len(),
        looked.0,
        looked.1 >> 20,
        scene.answers.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Waits until a run's log has this word.
async fn printed(scene: &Scene, run: RunId, word: &str) -> Result<()> {
    let caller = scene.ground.fleet.caller(0)?;
    wait_until("the build to print", || async {
        let log = caller.log(run, 0).await?;
        let text = String::from_utf8_lossy(&log).into_owned();
        ensure!(text.contains(word), "{text:?}");
        anyhow::Ok(())
    })
    .await
}

impl Scene {
    fn search(&self) -> Search {
        let mut texts = vec![("a canary".to_owned(), self.mark.clone())];
        for (what, value) in &self.made {
            // The part in front says what kind of token it is, and is shown on purpose.
            let secret = value.rsplit('_').next().unwrap_or(value);
            texts.push((what.clone(), secret.to_owned()));
        }
        Search::of(&texts)
    }
}

/// The forge and the target of notifications were told, with what opens them.
async fn everything_was_told(scene: &Scene) -> Result<()> {
    wait_until("the forge and the target to be told", || async {
        let heard = scene.ears.heard();
        let token = scene.word("forge-token");
        // It is the git server itself, which refuses: what is said of a refusal is looked through, too.
        let seen = scene.locked.seen();
        let forge = seen.iter().any(|head| head.contains("/statuses/") && head.contains(&token));
        let notice = heard.iter().any(|said| said.contains(&format!("/notify/{}", scene.mark)));
        ensure!(forge && notice, "the forge {forge}, the target {notice}, of {heard:?} and {seen:?}");
        anyhow::Ok(())
    })
    .await?;
    let login = String::from_utf8(base64(format!("ada:git-{}-login", scene.mark).as_bytes()))?;
    let seen = scene.locked.seen();
    ensure!(seen.iter().any(|head| head.contains(&login)), "nobody logged in to the git server");
    Ok(())
}

/// Asks every question that has an answer about a secret, a run, or a project.
async fn ask_everything(scene: &mut Scene, run: RunId) -> Result<()> {
    let caller = scene.ground.fleet.caller(0)?;
    let name = || PROJECT.to_owned();
    let answer = caller.secrets().list_secrets(wire::ListSecretsRequest::default()).await?;
    scene.hear("list secrets", &answer);
    let answer = caller.projects().get_project(wire::GetProjectRequest { name: name() }).await?;
    scene.hear("get project", &answer);
    let request = wire::ListEventsRequest { project: name(), ..wire::ListEventsRequest::default() };
    scene.hear("list events", &caller.projects().list_events(request).await?);
    scene.hear("poll", &caller.projects().poll_project(wire::PollProjectRequest { name: name() }).await?);
    scene.hear("test hook", &caller.projects().test_hook(wire::TestHookRequest { name: name() }).await);
    scene.hear("get run", &caller.run(run).await?);
    scene.hear("executors", &caller.executors().await?);
    let answer = caller.admin().list_api_tokens(wire::ListApiTokensRequest::default()).await?;
    scene.hear("list tokens", &answer);
    scene.hear("fleet", &caller.admin().get_fleet(wire::GetFleetRequest {}).await?);
    let request = wire::ListArtifactsRequest { run: Some(reference(run)), ..Default::default() };
    scene.hear("list artifacts", &caller.artifacts().list_artifacts(request).await?);
    let log = caller.log(run, 0).await?;
    ensure!(String::from_utf8_lossy(&log).contains("***"), "nothing of the log is masked");
    scene.answers.push(("the log".to_owned(), log));
    let (port, token) = (scene.ground.fleet.port(0), scene.ground.fleet.token().to_owned());
    for path in [
        "/metrics",
        "/api/v1/runs?project=acme/shop",
        "/api/v1/projects/acme/shop/runs/1",
        "/api/v1/runs/acme%2Fshop%231/log",
        "/api/openapi.json",
        "/hooks/gitea/acme/shop",
    ] {
        scene.answers.push((path.to_owned(), get(port, path, &token)?));
    }
    let into = scene.ground.fleet.path("fetched").display().to_string();
    let run = format!("{PROJECT}#1");
    let commands: [&[&str]; 6] = [
        &["secret", "list", "--project", PROJECT],
        &["project", "describe", PROJECT],
        &["describe", &run],
        &["getlogs", &run],
        &["runs"],
        &["artifacts", "get", &run, "all", "--into", &into],
    ];
    for command in commands {
        let output = scene.ground.fleet.run("ocelot", command)?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
        scene.answers.push((command.join(" "), said));
    }
    Ok(())
}

/// Looks through all that is on disk, and all that was answered. Returns how many places and bytes.
fn look_through(scene: &Scene, search: &Search) -> Result<(usize, u64)> {
    let fleet = &scene.ground.fleet;
    let mut found = Vec::new();
    for (who, answer) in &scene.answers {
        found.extend(search.of_bytes(answer).into_iter().map(|found| format!("{who}: {found}")));
    }
    let mut places = vec![fleet.folder().to_owned()];
    places.extend(fleet.etcd.as_ref().map(|etcd| etcd.folder().to_owned()));
    places.extend(memory_of(scene)?);
    let mut looked = 0;
    for place in &places {
        let (here, bytes) = search.of_folder(place, &|_| false)?;
        looked += bytes;
        found.extend(here.into_iter().map(|(path, found)| format!("{}: {found}", path.display())));
    }
    // The first token is printed once, for the person who starts the fleet.
    let is_first =
        |found: &String| found.contains("/controller-") && found.contains(".log: the first token as it is");
    let first = found.iter().filter(|found| is_first(found)).count();
    found.retain(|found| !is_first(found));
    ensure!(first == 1, "the first token was printed {first} times");
    ensure!(found.is_empty(), "{} are left:\n{}", found.len(), first_of(&found));
    ensure!(looked > 1 << 20, "only {looked} bytes were there to look through");
    Ok((places.len(), looked))
}

fn first_of(found: &[String]) -> String {
    found.iter().take(40).cloned().collect::<Vec<_>>().join("\n")
}

/// Returns where the executors keep secrets in memory.
fn memory_of(scene: &Scene) -> Result<Vec<PathBuf>> {
    let places = scene.ground.fleet.memory().filter(|path| path.is_dir());
    let found: Vec<_> = places.map(Path::to_owned).collect();
    ensure!(found.len() >= scene.ground.fleet.executors.len(), "only {found:?} are there");
    Ok(found)
}

/// A build that lets its secret out where nobody masks it is found out: the search would have seen the
/// same of any of our programs.
async fn planted(scene: &mut Scene, search: &Search) -> Result<()> {
    let leak = scene.ground.fleet.path("leak");
    let definition = format!(
        "runtime: process\nsecrets: [{{name: plain, env: PLAIN}}]\nstages:\n  - name: leak\n    script: |\n      \
         printf %s \"$PLAIN\" > {leak}\n      printf x%s \"$PLAIN\" | base64 > {leak}-base64\n      \
         printf %s \"$PLAIN\" | od -An -v -tx1 | tr -d ' \\n' > {leak}-hex\n",
        leak = leak.display()
    );
    scene.run(&definition, "succeeded").await?;
    let (found, _) = search
        .of_folder(scene.ground.fleet.folder(), &|path: &Path| !path.to_string_lossy().contains("/leak"))?;
    let kinds: BTreeSet<_> = found.iter().map(|(path, _)| path.file_name()).collect();
    ensure!(kinds.len() == 3, "of three leaks only {found:?} were found");
    let value = scene.value("plain");
    let spelt = [base64(value.as_bytes()), hex(&value, b"0123456789abcdef")].concat();
    ensure!(search.of_bytes(&spelt).len() == 2, "a planted answer is not found");
    Ok(())
}

//! Repositories, refs, addresses, definitions and archives that were made to break out, each brought end
//! to end through a real fleet. Each has the end that it must have, and whatever that is: nothing outside
//! a workspace is touched.

mod addresses;
mod archives;
mod definitions;
mod guard;
mod repositories;
mod settings;
mod sizes;
mod trees;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, StreamExt as _};
use libtest_mimic::Trial;
use ocelot_core::frame::{Body, Decoder, Offset};
use ocelot_e2e::engine::IMAGE;
use ocelot_e2e::fleet::{
    Build, Ground, Light, Newcomer, RunId, Settings, is_transient, new_run_id, reference,
};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use ocelot_proto::kit::invitation::Invitation;
use ocelot_proto::wire;
use tokio::time::Instant;

use super::semantics::{agree, end, told};
use guard::Guard;

/// So many cases are under way at a time.
const AT_ONCE: usize = 6;
/// The files of the machine that whoever breaks out goes for.
const MACHINE: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/sudoers",
    "/etc/crontab",
    "/etc/cron.d",
    "/etc/profile.d",
    "/etc/gitconfig",
    "/etc/ld.so.preload",
];

/// The same of whoever runs the tests.
const OWN: &[&str] = &[".ssh", ".gitconfig", ".bashrc", ".profile"];
/// What the executor itself writes beside its key and its registration.
const WRITTEN: &[&str] = &["journal", "alive.json", "images.json"];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pipelines::hostile::the_guard_sees_each_kind_of_change", async || {
            guard::sees_each_kind_of_change()
        }),
        trial("pipelines::hostile::nothing_outside_a_workspace_is_touched", || hold("process")),
        trial("pipelines::hostile::nor_is_it_by_those_in_containers", || hold("docker")),
    ]
}

/// Something that was made to break out.
#[derive(Debug)]
struct Case {
    name: String,
    /// What is asked for, beside the project.
    asked: wire::BuildRequest,
    /// The run's word, or `refused` when there is none, and words that are said of it: by the answer, by
    /// its tasks, in their logs.
    ends: Vec<&'static str>,
}

impl Case {
    fn new(name: &str, definition: &str, ends: &[&'static str]) -> Self {
        let asked = wire::BuildRequest { definition: definition.to_owned(), ..Default::default() };
        Self { name: name.to_owned(), asked, ends: ends.to_vec() }
    }

    /// The name of its project, and of its repository.
    fn project(&self) -> String {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let name: String = self.name.to_lowercase().chars().map(plain).collect();
        format!("hostile/{}", name.trim_matches('-'))
    }
}

/// The fleet with all that is watched around it.
struct Scene {
    ground: Ground,
    /// What links lead to, and what commands would write into.
    outside: PathBuf,
    data: PathBuf,
}

impl Scene {
    async fn set(runtime: &str) -> Result<Self> {
        let mut ground = Ground::start(Settings::embedded(Build::Plain)).await?;
        let outside = ground.fleet.path("outside");
        let slots = AT_ONCE as u32;
        let more = ["--runtime", runtime];
        ground.add_executor(Newcomer { name: "one", slots, more: &more, ..Newcomer::default() }).await?;
        ground.fleet.caller(0)?.online(1).await?;
        let data = ground.fleet.path("one");
        let request = wire::SetSecretRequest {
            scope: Some(wire::SecretScope {
                scope: Some(wire::secret_scope::Scope::Organization("hostile".to_owned())),
            }),
            name: "token".to_owned(),
            value: b"grasshopper-4711".to_vec().into(),
            allow_short: false,
        };
        ground.fleet.guard("a secret of hostile builds", "grasshopper-4711");
        ground.fleet.caller(0)?.secrets().set_secret(request).await?;
        Ok(Self { ground, outside, data })
    }

    /// Watches everything that no build may touch, and puts birds where all else is written all the while.
    fn guard(&self) -> Result<Guard> {
        let home = self.ground.fleet.folder();
        let mut places = Guard::put_birds(&[
            self.outside.join("inner"),
            home.join(".ssh"),
            home.join(".config/git"),
            home.join(".config/ocelot"),
        ])?;
        places.extend([".gitconfig", ".bashrc", ".profile", ".netrc"].map(|name| home.join(name)));
        // Our programs write beside these, so only the birds themselves are watched there.
        places.extend(Guard::put_birds(&[
            self.data.clone(),
            self.data.join("attempts"),
            self.data.join("mirrors"),
            home.join("controller-0"),
        ])?);
        places.extend([self.outside.clone(), self.ground.repositories().to_owned(), home.join("work")]);
        places.extend([".ssh", ".config"].map(|name| home.join(name)));
        places.extend(MACHINE.iter().map(PathBuf::from));
        let own = std::env::home_dir().context("whoever runs this has a home")?;
        places.extend(OWN.iter().map(|name| own.join(name)));
        for entry in std::fs::read_dir(&self.data)? {
            let path = entry?.path();
            let is_written = WRITTEN.iter().any(|name| path.to_string_lossy().contains(name));
            // The key of the executor, its registration, its own programs.
            if path.is_file() && !is_written {
                places.push(path);
            }
        }
        Guard::over(places)
    }

    /// Waits until nothing of any attempt is left.
    async fn swept(&self) -> Result<()> {
        let attempts = self.data.join("attempts");
        wait_until("the workspaces to go", || async {
            let left = left_in(&attempts)?;
            ensure!(left.is_empty(), "{left:?} are left");
            Ok(())
        })
        .await
    }
}

/// Returns what stands in workspaces, and directories that an attempt has used.
fn left_in(attempts: &Path) -> Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir(attempts)? {
        let path = entry?.path();
        // One that is gone since it was listed is what is wanted.
        let inside = std::fs::read_dir(path.join("workspace")).into_iter().flatten().flatten();
        left.extend(inside.map(|entry| entry.path()));
        if path.join("log").is_dir() && path.join("checked-out").exists() {
            left.push(path);
        }
    }
    Ok(left)
}

async fn hold(runtime: &str) -> Result<()> {
    let began = Instant::now();
    let mut scene = Scene::set(runtime).await?;
    let cases = cases(&mut scene, runtime).await?;
    let is_whole = runtime == "process";
    ensure!(cases.len() >= if is_whole { 40 } else { 8 }, "only {} cases are there", cases.len());
    let guard = scene.guard()?;
    let prepared = began.elapsed();
    let scene = &scene;
    let judged: Vec<_> = stream::iter(&cases)
        .map(|case| async {
            let judged = judge(scene, case).await;
            let asked = (&case.asked.branch, &case.asked.tag, &case.asked.commit);
            judged.err().map(|error| format!("{} {asked:?}: {error:#}", case.name))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    ensure!(judged.is_empty(), "{} of {} differ\n{}", judged.len(), cases.len(), judged.join("\n"));
    let doors = if is_whole { addresses::refused_at_the_door(scene).await? } else { 0 };
    let fetched = if is_whole { archives::fetched_by_people(scene).await? } else { 0 };
    scene.swept().await?;
    guard.untouched()?;
    eprintln!(
        "{} hostile cases built, {doors} refused at the door, {fetched} archives fetched by people; {} things \
         outside untouched; {:.1} s to prepare, {:.1} s in all",
        cases.len(),
        guard.len(),
        prepared.as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
    Ok(())
}

async fn cases(scene: &mut Scene, runtime: &str) -> Result<Vec<Case>> {
    let mut cases = repositories::cases(scene, runtime).await?;
    if runtime == "process" {
        cases.extend(definitions::cases(scene).await?);
        cases.extend(archives::cases(scene).await?);
    }
    Ok(cases)
}

/// Adds a liar: an executor that says and sends what it likes.
async fn add_liar(ground: &Ground) -> Result<Light> {
    let invitation: Invitation = ground.fleet.registration(&["!liar"]).await?.parse()?;
    Light::register_as(&ground.fleet.url(0), &invitation.token, "liar", 8, &["!liar"]).await
}

async fn judge(scene: &Scene, case: &Case) -> Result<()> {
    let said = match ask(&scene.ground, case).await {
        Ok(run) => ended(&scene.ground, run).await?,
        Err(status) if status.code() == tonic::Code::Internal => {
            anyhow::bail!("it is refused as our own fault: {}", status.message());
        }
        Err(status) => format!("refused, {}", status.message()),
    };
    agree("it", &case.ends, &said)
}

/// Asks for the build of a case, repeating the very same request until an answer comes.
async fn ask(ground: &Ground, case: &Case) -> Result<RunId, tonic::Status> {
    let id = new_run_id();
    let request =
        wire::BuildRequest { id: id.to_vec().into(), project: case.project(), ..case.asked.clone() };
    let internal = |error: anyhow::Error| tonic::Status::internal(format!("{error:#}"));
    let caller = ground.fleet.caller(0).map_err(internal)?;
    let answer = wait_until("an answer to build", || async {
        match caller.projects().build(request.clone()).await {
            Err(status) if is_transient(&status) => Err(status),
            other => Ok(other),
        }
    });
    answer.await.map_err(internal)?.map(|_| id)
}

/// Returns all that is said of a run, its own word first.
async fn ended(ground: &Ground, run: RunId) -> Result<String> {
    let caller = ground.fleet.caller(0)?;
    let outcome = caller.outcome(run).await?;
    let seen = caller.run(run).await?;
    let mut said = format!("{}, {}", told(&outcome), seen.run.clone().unwrap_or_default().rejected);
    for (index, task) in (0..).zip(&seen.tasks) {
        said.push_str(&format!("; {}: {}; its log: ", task.name, end(task)?));
        said.push_str(&log(ground, run, index).await?);
    }
    Ok(said)
}

/// Returns what a task's log shows. A task that no executor had has none.
async fn log(ground: &Ground, run: RunId, task: u32) -> Result<String> {
    let request = wire::ReadLogRequest { run: Some(reference(run)), task, ..wire::ReadLogRequest::default() };
    let mut frames = Vec::new();
    match ground.fleet.caller(0)?.runs().read_log(request).await {
        Err(status) if status.code() == tonic::Code::NotFound => {}
        Err(status) => return Err(status).context("read a log"),
        Ok(stream) => {
            let mut stream = stream.into_inner();
            while let Some(piece) = stream.message().await? {
                frames.extend_from_slice(&piece.frames);
            }
        }
    }
    let mut decoder = Decoder::at(Offset(0));
    decoder.push(&frames);
    let mut text = String::new();
    while let Some(frame) = decoder.next_frame()? {
        match frame.body {
            Body::Stdout(bytes) | Body::Stderr(bytes) | Body::Platform(bytes) => {
                text.push_str(&String::from_utf8_lossy(bytes));
                text.push('\n');
            }
            Body::Begin(_) | Body::End(_) | Body::AddMask(_) | Body::Mark(..) => {}
        }
    }
    Ok(text)
}

/// A definition of one task that does nothing, in one runtime.
fn plain(runtime: &str) -> String {
    with(runtime, "stages: [{name: work, script: 'true'}]\n")
}

/// A definition of one task in one runtime.
fn with(runtime: &str, rest: &str) -> String {
    match runtime {
        "docker" => format!("image: {IMAGE}\n{rest}"),
        runtime => format!("runtime: {runtime}\n{rest}"),
    }
}

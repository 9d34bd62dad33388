//! Runs attempts in containers of an engine that speaks Docker's interface (20.10 and later).
//!
//! A container is created complete and used once. It is known by its labels (ours, whose, and which
//! control directory) and by a name that follows from the control directory, so what was asked for
//! and never answered is found and removed. Every call has a deadline; one that is over means that it
//! may have happened.

mod allowed;
mod body;
mod failure;
mod image;
mod network;
mod probe;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::API_DEFAULT_VERSION;
use bollard::Docker as Engine;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, KillContainerOptions, ListContainersOptions,
    LogsOptions, RemoveContainerOptions, StartContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;
use ocelot_core::plan::{Pull, Resources, Runtime as Place};
use ocelot_proto::kit::chaos;
use ocelot_supervisor::clock;
use ocelot_supervisor::protocol::Moment;

use super::listening::Arrival;
use super::{Given, Launch, Ours, OutOfMemory, Runtime, RuntimeError, Standing, Support, Tell};
use crate::attempt::Failure;
use crate::attempt::state::Cause;
use crate::journal::Container;
use allowed::Allowance;
use body::Ground;
use failure::{Answer, answer};
use image::{Image, Pulls};
use network::Networks;

const SOCKET: &str = "unix:///var/run/docker.sock";
/// An engine under load answers late; one that needs longer is broken.
const CALL_MAX: Duration = Duration::from_secs(60);
const CONNECT_SECONDS: u64 = 120;
const VERSION_LEAST: (u32, u32) = (20, 10);
/// Before an unusual start is looked into.
const LISTEN_SOON: Duration = Duration::from_secs(1);
const LISTEN_MAX: Duration = Duration::from_secs(30);
/// How long a restarting engine may be away before a wait for a container is given up.
const AWAY_MAX: Duration = Duration::from_secs(60);
const AWAY_STEP: Duration = Duration::from_millis(250);
/// A creation whose answer was lost shows itself within this time, or was never begun.
const LATE_ROUNDS_MAX: u32 = 40;
const COMPLAINT_CHARS_MAX: usize = 1000;
/// What the shell says of a process that was killed.
const STATUS_KILLED: i64 = 137;

/// What the runtime is told of the machine and of its executor.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `unix://PATH` or `tcp://HOST:PORT`; none is the usual socket.
    pub engine: Option<String>,
    /// This executor's id: it takes only what carries it.
    pub executor: String,
    /// Absolute, and the same on the engine's host.
    pub data: PathBuf,
    /// What [`super::install`] returned.
    pub supervisor: PathBuf,
    /// Limits of a task that asks for none.
    pub defaults: Resources,
}

/// The runtime with containers.
#[derive(Debug)]
pub struct Docker {
    engine: Engine,
    settings: Settings,
    pulls: Pulls,
    networks: Networks,
    limits_disk: AtomicBool,
    /// Images of attempts that are prepared or started, by control directory.
    images: Mutex<HashMap<PathBuf, Image>>,
    /// Control directories whose creation was asked for and not answered.
    unanswered: Mutex<HashSet<PathBuf>>,
}

impl Docker {
    /// Makes the runtime; [`Runtime::check`] finds out whether there is an engine.
    pub fn new(settings: Settings) -> Result<Self, RuntimeError> {
        let host = settings.engine.as_deref().unwrap_or(SOCKET);
        let engine = if host.starts_with("unix://") {
            Engine::connect_with_unix(host, CONNECT_SECONDS, API_DEFAULT_VERSION)
        } else {
            Engine::connect_with_http(host, CONNECT_SECONDS, API_DEFAULT_VERSION)
        };
        let engine = engine.map_err(|error| failure::runtime("be reached", error))?;
        Ok(Self {
            engine,
            networks: Networks::new(settings.executor.clone()),
            settings,
            pulls: Pulls::default(),
            limits_disk: AtomicBool::new(false),
            images: Mutex::default(),
            unanswered: Mutex::default(),
        })
    }

    fn images(&self) -> MutexGuard<'_, HashMap<PathBuf, Image>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unanswered(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn image(&self, launch: &Launch) -> Result<Image, Cause> {
        let prepared = self.images().get(&launch.control).cloned();
        if let Some(image) = prepared {
            return Ok(image);
        }
        let Place::Container { image: name, .. } = &launch.environment.runtime else {
            return Err(refused("the task asks for no container"));
        };
        let missing = || Cause::Failed(Failure::Image { why: format!("image {name} is not there any more") });
        image::find(&self.engine, name).await?.ok_or_else(missing)
    }

    async fn network(&self, launch: &Launch) -> Result<String, Cause> {
        if launch.environment.services.is_empty() {
            let shared = self.networks.shared(&self.engine).await;
            return shared.map_err(|error| failure::platform("make a network", &failure::words(&error)));
        }
        Ok(body::name(&launch.control))
    }

    /// Returns what is asked of the engine, looked at once more.
    fn body(&self, launch: &Launch, image: &Image, network: &str) -> Result<ContainerCreateBody, Cause> {
        let settings = &self.settings;
        let body = body::container(
            launch,
            &Ground {
                executor: &settings.executor,
                supervisor: &settings.supervisor,
                image: &image.id,
                network,
                defaults: &settings.defaults,
                limits_disk: self.limits_disk.load(Ordering::Relaxed),
            },
        );
        let allowance = Allowance {
            data: &settings.data,
            supervisor: &settings.supervisor,
            control: &launch.control,
            workspace: &launch.workspace,
            network,
        };
        match allowed::check(&body, &allowance) {
            Ok(()) => Ok(body),
            Err(forbidden) => Err(refused(&forbidden.to_string())),
        }
    }

    async fn create(&self, launch: &Launch, body: ContainerCreateBody) -> Result<String, Cause> {
        let name = body::name(&launch.control);
        let options =
            CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
        // Set before the call and cleared by its answer, so that a dropped call counts as unanswered.
        self.unanswered().insert(launch.control.clone());
        let own_network = async {
            match launch.environment.services.is_empty() {
                true => Ok(()),
                false => self.networks.make_own(&self.engine, &launch.control).await,
            }
        };
        let (created, network) =
            tokio::join!(within(self.engine.create_container(Some(options), body)), own_network);
        if created.as_ref().err().is_none_or(|error| answer(error) != Answer::Unknown) {
            self.unanswered().remove(&launch.control);
        }
        network.map_err(|error| failure::platform("make the task's network", &failure::words(&error)))?;
        match created {
            Ok(created) => Ok(created.id),
            Err(error) if answer(&error) == Answer::Conflict => self.earlier(launch, &name).await,
            Err(error) => Err(failure::platform("create the container", &failure::words(&error))),
        }
    }

    /// Returns the container that an earlier call of the same start has made.
    async fn earlier(&self, launch: &Launch, name: &str) -> Result<String, Cause> {
        let found = within(self.engine.inspect_container(name, None::<InspectContainerOptions>)).await;
        let found =
            found.map_err(|error| failure::platform("find the container", &failure::words(&error)))?;
        let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
        let expected = body::labels(&self.settings.executor, &launch.control);
        match found.id {
            Some(id)
                if labels.is_some_and(|labels| {
                    expected.iter().all(|(key, value)| labels.get(key) == Some(value))
                }) =>
            {
                Ok(id)
            }
            Some(_) | None => {
                Err(failure::platform("create the container", &format!("another one is named {name}")))
            }
        }
    }

    /// Starts what was created; a network that was taken away is made again once.
    async fn run(&self, launch: &Launch) -> Result<Container, Cause> {
        let image = self.image(launch).await?;
        let network = self.network(launch).await?;
        let body = self.body(launch, &image, &network)?;
        let arrival = Arrival::watch(&launch.control)
            .map_err(|error| failure::platform("watch the control directory", &error.to_string()))?;
        let id = self.create(launch, body).await?;
        if clock::now() >= Moment(launch.deadline.0) {
            return Err(failure::platform("start the container", "its deadline is over"));
        }
        match within(self.engine.start_container(&id, None::<StartContainerOptions>)).await {
            Ok(()) => {}
            Err(error) if answer(&error) == Answer::NotModified => {}
            Err(error) => {
                self.networks.forget().await;
                return Err(failure::platform("start the container", &failure::words(&error)));
            }
        }
        let container = Container { id, control: launch.control.clone() };
        self.listen(&container, &arrival).await?;
        chaos::point("start.container_up");
        Ok(container)
    }

    async fn listen(&self, container: &Container, arrival: &Arrival) -> Result<(), Cause> {
        if tokio::time::timeout(LISTEN_SOON, arrival.listening()).await.is_ok() {
            return Ok(());
        }
        let ended = tokio::select! {
            biased;
            () = arrival.listening() => return Ok(()),
            ended = self.ended(container) => ended.map_or_else(|error| error.to_string(), |ended| format!("{ended:?}")),
            () = tokio::time::sleep(LISTEN_MAX) => format!("it does not listen after {LISTEN_MAX:?}"),
        };
        let complaint = self.complaint(&container.id).await;
        Err(Cause::Platform {
            why: format!("the supervisor did not start in its container: {complaint}; {ended}"),
        })
    }

    /// Returns what the supervisor itself said.
    async fn complaint(&self, id: &str) -> String {
        let options =
            LogsOptions { stdout: true, stderr: true, tail: "10".to_owned(), ..LogsOptions::default() };
        let mut said = String::new();
        let mut lines = Box::pin(self.engine.logs(id, Some(options)));
        while let Ok(Some(Ok(line))) = tokio::time::timeout(CALL_MAX, lines.next()).await {
            said.push_str(&line.to_string());
            if said.chars().count() >= COMPLAINT_CHARS_MAX {
                break;
            }
        }
        said.trim_end().chars().take(COMPLAINT_CHARS_MAX).collect()
    }

    /// Returns the ids of all containers that carry these labels, running or not.
    async fn labelled(&self, label: String) -> Result<Vec<bollard::models::ContainerSummary>, Error> {
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        within(self.engine.list_containers(Some(options))).await
    }

    async fn remove_one(&self, id: &str) -> Result<(), Error> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        match within(self.engine.remove_container(id, Some(options))).await {
            Ok(()) => Ok(()),
            Err(error) if answer(&error) == Answer::NotFound => Ok(()),
            // Another call is at it.
            Err(error) if answer(&error) == Answer::Conflict => self.until_removed(id).await,
            Err(error) => Err(error),
        }
    }

    async fn until_removed(&self, id: &str) -> Result<(), Error> {
        for _ in 0..LATE_ROUNDS_MAX {
            let found = within(self.engine.inspect_container(id, None::<InspectContainerOptions>)).await;
            match found {
                Err(error) if answer(&error) == Answer::NotFound => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => tokio::time::sleep(AWAY_STEP).await,
            }
        }
        Err(Error::RequestTimeoutError)
    }

    async fn remove_all(&self, control: &Path) -> Result<(), Error> {
        let late = self.unanswered().contains(control);
        for round in 0..LATE_ROUNDS_MAX {
            let found = self.labelled(format!("{}={}", body::LABEL_CONTROL, control.display())).await?;
            for id in found.iter().filter_map(|container| container.id.as_deref()) {
                self.remove_one(id).await?;
            }
            // A creation that nobody heard the end of may come true after the first look.
            if !late || !found.is_empty() || round + 1 == LATE_ROUNDS_MAX {
                break;
            }
            tokio::time::sleep(AWAY_STEP).await;
        }
        self.networks.remove_own(&self.engine, control).await?;
        self.unanswered().remove(control);
        self.images().remove(control);
        Ok(())
    }

    /// Waits once. An answer of any kind means that it is worth looking.
    async fn wait(&self, id: &str) -> Result<(), Error> {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut waited = Box::pin(self.engine.wait_container(id, Some(options)));
        match waited.next().await {
            Some(Ok(_)) | Some(Err(Error::DockerContainerWaitError { .. })) | None => Ok(()),
            Some(Err(error)) if answer(&error) == Answer::NotFound => Ok(()),
            Some(Err(error)) => Err(error),
        }
    }

    async fn look(&self, id: &str) -> Result<Standing, Error> {
        match within(self.engine.inspect_container(id, None::<InspectContainerOptions>)).await {
            Ok(found) => Ok(standing(found)),
            Err(error) if answer(&error) == Answer::NotFound => Ok(Standing::Absent),
            Err(error) => Err(error),
        }
    }

    async fn probe(&self) -> Result<(), RuntimeError> {
        let doing = "run a probe container";
        let failed =
            |why: String| RuntimeError { doing: format!("the engine could not {doing}"), source: why.into() };
        let data = self.settings.data.clone();
        let mut launch = probe::launch(&data).map_err(|error| failed(error.to_string()))?;
        self.remove(&launch.control).await?;
        // Only trying tells: the drivers that can limit files need file systems that are set up for it.
        self.limits_disk.store(true, Ordering::Relaxed);
        let mut ran = self.probe_with(&launch).await;
        if ran.is_err() {
            self.remove(&launch.control).await?;
            self.limits_disk.store(false, Ordering::Relaxed);
            launch = probe::launch(&data).map_err(|error| failed(error.to_string()))?;
            ran = self.probe_with(&launch).await;
        }
        let removed = self.remove(&launch.control).await;
        let cleaned = probe::clean(&data);
        ran.map_err(|cause| failed(words(&cause)))?;
        removed?;
        cleaned.map_err(|error| failed(error.to_string()))
    }

    async fn probe_with(&self, launch: &Launch) -> Result<(), Cause> {
        if image::find(&self.engine, probe::IMAGE).await?.is_none() {
            let imported = within(probe::import(&self.engine)).await;
            imported.map_err(|error| failure::platform("import an image", &failure::words(&error)))?;
        }
        let container = self.run(launch).await?;
        let control = launch.control.clone();
        let spoken = tokio::task::spawn_blocking(move || probe::speak(&control)).await;
        spoken
            .map_err(io::Error::other)
            .and_then(|spoken| spoken)
            .map_err(|error| failure::platform("share this machine's files", &error.to_string()))?;
        let ended = self.ended(&container).await;
        match ended.map_err(|error| failure::platform("tell of an end", &error.to_string()))? {
            Standing::Ended { status: 0, .. } => Ok(()),
            other => Err(failure::platform("end a container", &format!("{other:?}"))),
        }
    }
}

#[async_trait]
impl Runtime for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn check(&self) -> Result<Support, RuntimeError> {
        let said = within(self.engine.version()).await;
        let said = said.map_err(|error| failure::runtime("be reached", error))?;
        let version = said.version.unwrap_or_default();
        let podman = said.components.into_iter().flatten().any(|part| part.name.contains("Podman"));
        if !podman && is_too_old(&version) {
            let (major, minor) = VERSION_LEAST;
            let source = format!("it is version {version}, and {major}.{minor} is the oldest that works");
            return Err(RuntimeError { doing: "the engine is too old".to_owned(), source: source.into() });
        }
        self.networks.forget().await;
        self.probe().await?;
        Ok(Support { version, whole_kill: true })
    }

    async fn prepare(&self, launch: &Launch, tell: &dyn Tell) -> Result<(), Cause> {
        let (name, pull) = match &launch.environment.runtime {
            Place::Container { engine: true, .. } => {
                return Err(refused("this executor offers no private image-building engine"));
            }
            Place::Container { image, pull, pull_secret: _, engine: false } => (image, *pull),
            Place::Process => return Err(refused("the task asks for no container")),
        };
        if launch.resources.gpus.is_some_and(|gpus| gpus > 0) {
            return Err(refused("this executor gives no GPU to containers"));
        }
        let pull: Pull = pull;
        let image = self.pulls.get(&self.engine, name, pull, launch.login.as_ref(), tell).await?;
        if launch.resources.disk_bytes.is_some() && !self.limits_disk.load(Ordering::Relaxed) {
            tell.line("the disk limit is not enforced: the engine's storage driver cannot limit containers");
        }
        self.images().insert(launch.control.clone(), image);
        Ok(())
    }

    async fn start(&self, launch: &Launch) -> Result<Container, Cause> {
        if clock::now() >= Moment(launch.deadline.0) {
            return Err(failure::platform("start the container", "its deadline is over"));
        }
        // Whoever the image's user is, the workspace is its own to fill; what is above it is private.
        std::fs::set_permissions(&launch.workspace, std::fs::Permissions::from_mode(0o777))
            .map_err(|error| failure::platform("open the workspace", &error.to_string()))?;
        match self.run(launch).await {
            Ok(container) => Ok(container),
            Err(cause) => {
                if let Err(error) = self.remove(&launch.control).await {
                    tracing::warn!(%error, "a container that did not start may be left");
                }
                Err(cause)
            }
        }
    }

    fn workspace(&self, _: &Launch) -> PathBuf {
        PathBuf::from(body::WORKSPACE)
    }

    async fn given(&self, container: &Container) -> Result<Given, RuntimeError> {
        let prepared = self.images().get(&container.control).cloned();
        if let Some(image) = prepared {
            return Ok(image.given);
        }
        let doing = "describe the container's image";
        let found =
            within(self.engine.inspect_container(&container.id, None::<InspectContainerOptions>)).await;
        let found = found.map_err(|error| failure::runtime(doing, error))?;
        let missing =
            |why: &str| RuntimeError { doing: format!("the engine could not {doing}"), source: why.into() };
        let id = found.image.ok_or_else(|| missing("it does not say which one"))?;
        match image::find(&self.engine, &id).await {
            Ok(Some(image)) => {
                self.images().insert(container.control.clone(), image.clone());
                Ok(image.given)
            }
            Ok(None) => Err(missing("it is gone")),
            Err(cause) => Err(missing(&words(&cause))),
        }
    }

    async fn inspect(&self, container: &Container) -> Result<Standing, RuntimeError> {
        self.look(&container.id).await.map_err(|error| failure::runtime("describe the container", error))
    }

    async fn ended(&self, container: &Container) -> Result<Standing, RuntimeError> {
        let mut away = Duration::ZERO;
        loop {
            let seen = match self.wait(&container.id).await {
                Ok(()) => self.look(&container.id).await,
                Err(error) => Err(error),
            };
            match seen {
                Ok(Standing::Running) => away = Duration::ZERO,
                Ok(ended) => return Ok(ended),
                Err(error) if away >= AWAY_MAX => {
                    return Err(failure::runtime("tell when the container ends", error));
                }
                Err(_) => away += AWAY_STEP,
            }
            tokio::time::sleep(AWAY_STEP).await;
        }
    }

    async fn kill(&self, container: &Container) -> Result<(), RuntimeError> {
        let options = KillContainerOptions { signal: "KILL".to_owned() };
        match within(self.engine.kill_container(&container.id, Some(options))).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(answer(&error), Answer::NotFound | Answer::Conflict) => Ok(()),
            Err(error) => Err(failure::runtime("kill the container", error)),
        }
    }

    async fn remove(&self, control: &Path) -> Result<(), RuntimeError> {
        self.remove_all(control).await.map_err(|error| failure::runtime("remove the container", error))
    }

    async fn list(&self) -> Result<Vec<Ours>, RuntimeError> {
        let found = self.labelled(format!("{}={}", body::LABEL_EXECUTOR, self.settings.executor)).await;
        let found = found.map_err(|error| failure::runtime("list containers", error))?;
        let ours = |container: bollard::models::ContainerSummary| {
            let control = container.labels?.remove(body::LABEL_CONTROL)?;
            let running = container.state == Some(bollard::models::ContainerSummaryStateEnum::RUNNING);
            Some(Ours { container: Container { id: container.id?, control: control.into() }, running })
        };
        Ok(found.into_iter().filter_map(ours).collect())
    }
}

/// Gives a call of the engine its deadline.
async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(CALL_MAX, call).await.unwrap_or(Err(Error::RequestTimeoutError))
}

fn standing(found: ContainerInspectResponse) -> Standing {
    let state = found.state.unwrap_or_default();
    // Without an answer it counts as running: what runs is never taken for dead.
    if state.running.unwrap_or(state.exit_code.is_none()) {
        return Standing::Running;
    }
    let begun = state.status != Some(ContainerStateStatusEnum::CREATED);
    let status = state.exit_code.filter(|_| begun).unwrap_or(super::UNKNOWN_STATUS);
    let limit = found.host_config.and_then(|host| host.memory).filter(|limit| *limit > 0);
    let limit_bytes = limit.and_then(|limit| u64::try_from(limit).ok());
    // The engine's mark is of any process in there; only a killed supervisor ended for it.
    let killed = state.oom_killed == Some(true) && status == STATUS_KILLED;
    Standing::Ended { status, out_of_memory: killed.then_some(OutOfMemory { limit_bytes }) }
}

fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found < VERSION_LEAST
}

fn refused(why: &str) -> Cause {
    Cause::Failed(Failure::Policy { why: why.to_owned() })
}

fn words(cause: &Cause) -> String {
    match cause {
        Cause::Platform { why } => why.clone(),
        Cause::Failed(failure) => format!("{failure:?}"),
    }
}

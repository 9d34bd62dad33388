//! Runs attempts in containers of an engine that speaks Docker's interface (20.10 and later), or Podman's
//! likeness of it (4.3 and later).
//!
//! A container is created complete and used once. It is known by its labels (ours, whose, and which
//! control directory) and by a name that follows from the control directory, so what was asked for
//! and never answered is found and removed. Every call has a deadline; one that is over means that it
//! may have happened.

mod ahead;
mod allowed;
mod body;
mod containers;
mod engine;
mod failure;
mod image;
mod network;
mod owner;
mod probe;
mod pulled;
mod ready;
mod service;
mod small;
mod socket;
mod spare;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::API_DEFAULT_VERSION;
use bollard::Docker as Engine;
use bollard::errors::Error;
use bollard::query_parameters::{InspectContainerOptions, KillContainerOptions};
use ocelot_core::plan::{Pull, Resources, Runtime as Place};
use ocelot_supervisor::clock;
use ocelot_supervisor::protocol::Moment;

use super::{
    Exec, Given, Idle, Launch, Ours, OwnImage, Runtime, RuntimeError, ServiceLaunch, Standing, Support, Tell,
    unused,
};
use crate::attempt::Failure;
use crate::attempt::state::Cause;
use crate::journal::Container;
pub use engine::Examined;
pub use small::{remove_shared_network, small_image};
pub use socket::usual_socket;

use ahead::Ahead;
use failure::{Answer, answer};
use image::{Image, Pulls};
use network::Networks;
use ready::Waiting;

/// An engine under load answers late; one that needs longer is broken.
const CALL_MAX: Duration = Duration::from_secs(60);
const CONNECT_SECONDS: u64 = 120;
/// How long a restarting engine may be away before a wait for a container is given up.
const AWAY_MAX: Duration = Duration::from_secs(60);
const AWAY_STEP: Duration = Duration::from_millis(250);

/// What the runtime is told of the machine and of its executor.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `unix://PATH` or `tcp://HOST:PORT`; none is the usual socket.
    pub engine: Option<String>,
    /// This executor's id: it takes only what carries it.
    pub executor: String,
    /// Absolute, and the same on the engine's host.
    pub data: PathBuf,
    /// Where the files of secrets are; the same, too, on the engine's host.
    pub memory: PathBuf,
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
    ahead: Ahead,
    networks: Networks,
    limits_disk: AtomicBool,
    /// Whether it limits memory, processors and processes.
    limits: AtomicBool,
    /// Where the engine keeps images and containers, by its own word.
    storage: Mutex<Option<PathBuf>>,
    /// What executors that are gone had left was looked for.
    swept: AtomicBool,
    /// Images of attempts that are prepared or started, by control directory.
    images: Mutex<HashMap<PathBuf, Image>>,
    /// Control directories whose creation was asked for and not answered.
    unanswered: Mutex<HashSet<PathBuf>>,
    /// What was made ready and not taken over, by control directory.
    waiting: Mutex<HashMap<PathBuf, Waiting>>,
}

impl Docker {
    /// Makes the runtime if there is a socket; [`Runtime::check`] finds out what is behind it.
    pub fn connect(settings: Settings) -> Result<Self, RuntimeError> {
        let host = settings.engine.clone();
        let host = host.unwrap_or_else(|| format!("unix://{}", usual_socket(None).display()));
        let engine = if host.starts_with("unix://") {
            Engine::connect_with_unix(&host, CONNECT_SECONDS, API_DEFAULT_VERSION)
        } else {
            Engine::connect_with_http(&host, CONNECT_SECONDS, API_DEFAULT_VERSION)
        };
        let engine = engine.map_err(|error| failure::runtime("be reached", error))?;
        Ok(Self {
            engine,
            networks: Networks::new(settings.executor.clone(), settings.data.clone()),
            pulls: Pulls::new(&settings.data),
            ahead: Ahead::default(),
            settings,
            storage: Mutex::default(),
            limits_disk: AtomicBool::new(false),
            limits: AtomicBool::new(true),
            swept: AtomicBool::new(false),
            images: Mutex::default(),
            unanswered: Mutex::default(),
            waiting: Mutex::default(),
        })
    }

    fn images(&self) -> MutexGuard<'_, HashMap<PathBuf, Image>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unanswered(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<PathBuf, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Runtime for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn check(&self) -> Result<Support, RuntimeError> {
        let version = self.own().await?.version;
        self.networks.forget().await;
        self.probe().await?;
        self.note_storage().await;
        if !self.swept.swap(true, Ordering::Relaxed) {
            match self.networks.sweep(&self.engine).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "networks of executors that are gone are removed"),
                Err(error) => tracing::debug!(%error, "networks could not be looked through"),
            }
        }
        Ok(Support { version, whole_kill: true })
    }

    async fn look_ahead(&self, launch: &Launch) {
        if let Place::Container { image, pull, .. } = &launch.environment.runtime
            && *pull != Pull::Always
        {
            self.ahead.look(&launch.control, &self.engine, image).await;
        }
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
        if !self.limits.load(Ordering::Relaxed) && asks_for_limits(&launch.resources) {
            tell.line("the limits of memory, processors and processes are not enforced: the engine may not");
        }
        let pull: Pull = pull;
        let image = match self.ahead.take(&launch.control, &self.engine, name).await {
            Some(seen) => self.pulls.used(seen),
            None => self.pulls.get(&self.engine, name, pull, launch.login.as_ref(), tell).await?,
        };
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
        ready::open(&launch.workspace)?;
        if let Some(container) = self.take_over(launch).await? {
            return Ok(container);
        }
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

    async fn make_ready_like(&self, like: &Launch) -> Result<bool, Cause> {
        self.wait_like(like).await?;
        Ok(true)
    }

    async fn is_current(&self, like: &Launch) -> bool {
        self.is_still_right(like).await
    }

    fn owner(&self, launch: &Launch) -> Option<(u32, u32)> {
        self.owner_by_number(launch)
    }

    async fn owner_in(&self, launch: &Launch, container: &Container) -> Result<(u32, u32), Cause> {
        self.owner_by_name(launch, container).await
    }

    async fn prepare_service(&self, service: &ServiceLaunch, tell: &dyn Tell) -> Result<(), Cause> {
        self.pull_service(service, tell).await
    }

    async fn start_service(&self, service: &ServiceLaunch) -> Result<Container, Cause> {
        self.run_service(service).await
    }

    fn service(&self, service: &ServiceLaunch) -> Container {
        Container { id: body::name(&service.control), control: service.control.clone() }
    }

    async fn address(&self, container: &Container) -> Result<IpAddr, RuntimeError> {
        self.address_of(&container.id).await
    }

    async fn exec(&self, container: &Container, exec: &Exec) -> Result<i64, RuntimeError> {
        self.exec_in(&container.id, exec).await
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
            let mut labels = container.labels?;
            let control = labels.remove(body::LABEL_CONTROL)?;
            let running = container.state == Some(bollard::models::ContainerSummaryStateEnum::RUNNING);
            let container = Container { id: container.id?, control: control.into() };
            let waiting = unused::is_marked(&container.control);
            let ours = Ours { container, running, waiting };
            Some((labels.contains_key(body::LABEL_SERVICE), ours))
        };
        let (services, mut ours): (Vec<_>, Vec<_>) =
            found.into_iter().filter_map(ours).partition(|(is_service, _)| *is_service);
        // A service stands for its task only where nothing else of the task is left.
        for service in services {
            if ours.iter().all(|(_, known)| known.container.control != service.1.container.control) {
                ours.push(service);
            }
        }
        Ok(ours.into_iter().map(|(_, ours)| ours).collect())
    }

    fn storage(&self) -> Option<PathBuf> {
        self.storage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn idle(&self) -> Result<Vec<Idle>, RuntimeError> {
        self.idle_now().await.map_err(|error| failure::runtime("list what does not run", error))
    }

    async fn own_images(&self) -> Result<Vec<OwnImage>, RuntimeError> {
        self.own_images_now().await.map_err(|error| failure::runtime("list its images", error))
    }

    async fn remove_image(&self, id: &str) -> Result<bool, RuntimeError> {
        self.remove_own_image(id).await.map_err(|error| failure::runtime("remove an image", error))
    }
}

/// Gives a call of the engine its deadline.
async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(CALL_MAX, call).await.unwrap_or(Err(Error::RequestTimeoutError))
}

fn asks_for_limits(resources: &Resources) -> bool {
    resources.memory_bytes.is_some() || resources.cpu_millis.is_some() || resources.pids.is_some()
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

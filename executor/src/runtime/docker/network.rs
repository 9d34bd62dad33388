//! Which network a task is in.
//!
//! The default is one bridge of this executor's own in which the engine drops what containers send
//! each other: every task reaches the world and no other task, and none waits for a network to be
//! made (which costs more than a third of a cold start). A task with services gets a bridge of its
//! own, because there containers must reach each other; so does every task where the engine (Podman)
//! does not keep those apart that are in one network. Host networking and the engine's default bridge,
//! where all containers of the machine meet, are never used.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptions};
use tokio::sync::{Mutex, OnceCell};

use super::body::{self, LABEL_CONTROL, LABEL_EXECUTOR, LABEL_HOME, LABEL_OURS};
use super::failure::{Answer, answer};
use super::within;

const NETWORK: &str = "network";
const NO_NEIGHBOURS: &str = "com.docker.network.bridge.enable_icc";
const NO_NEIGHBOURS_VALUE: &str = "false";

/// The network for tasks that are alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shared {
    /// One for all of them, by its id.
    All(String),
    /// None: in one network they would reach each other.
    Apart,
}

/// The networks of one executor.
#[derive(Debug)]
pub(super) struct Networks {
    executor: String,
    /// The executor's own directory.
    home: PathBuf,
    /// The shared one, once it is known.
    shared: Mutex<Option<Shared>>,
    /// Whether those of attempts are made: a task and its services ask at one time, and an older engine
    /// would make two of one name.
    own: std::sync::Mutex<HashMap<PathBuf, Arc<OnceCell<()>>>>,
    /// Whether the engine refuses a container whose network is not there yet.
    come_first: AtomicBool,
}

impl Networks {
    pub(super) fn new(executor: String, home: PathBuf) -> Self {
        Self {
            executor,
            home,
            shared: Mutex::default(),
            own: std::sync::Mutex::default(),
            come_first: AtomicBool::new(false),
        }
    }

    /// Whether a network must be there before the container that is to be in it. Else both are asked for at
    /// one time.
    pub(super) fn come_first(&self) -> bool {
        self.come_first.load(Ordering::Relaxed)
    }

    /// Notes that they must.
    pub(super) fn let_come_first(&self) {
        self.come_first.store(true, Ordering::Relaxed);
    }

    /// Removes networks of executors that are gone for good. One that containers use the engine keeps,
    /// and one whose executor lives elsewhere after all is made again on need, so a wrong guess costs
    /// a start some time and nothing else.
    pub(super) async fn sweep(&self, engine: &Docker) -> Result<usize, Error> {
        let filters = HashMap::from([("label".to_owned(), vec![LABEL_OURS.to_owned()])]);
        let options = ListNetworksOptions { filters: Some(filters) };
        let mut removed = 0;
        for network in within(engine.list_networks(Some(options))).await? {
            let (Some(id), Some(labels)) = (network.id, network.labels) else { continue };
            if !is_left(&labels, &self.executor, Path::exists) {
                continue;
            }
            match within(engine.remove_network(&id)).await {
                Ok(()) => removed += 1,
                Err(error) => tracing::debug!(%error, "a network of another executor is kept"),
            }
        }
        Ok(removed)
    }

    /// Returns the network for tasks that are alone, and makes it if it is not there.
    pub(super) async fn shared(&self, engine: &Docker) -> Result<Shared, Error> {
        let mut known = self.shared.lock().await;
        if let Some(shared) = &*known {
            return Ok(shared.clone());
        }
        let filter = [format!("{LABEL_OURS}={NETWORK}"), format!("{LABEL_EXECUTOR}={}", self.executor)];
        let found = find(engine, filter.to_vec()).await?;
        let id = match found.into_iter().next() {
            Some(id) => id,
            None => self.make_shared(engine).await?,
        };
        let options = within(engine.inspect_network(&id, None::<InspectNetworkOptions>)).await?.options;
        let shared = if keeps_apart(options.as_ref()) {
            Shared::All(id)
        } else {
            gone(within(engine.remove_network(&id)).await)?;
            Shared::Apart
        };
        *known = Some(shared.clone());
        Ok(shared)
    }

    async fn make_shared(&self, engine: &Docker) -> Result<String, Error> {
        let home = self.home.to_string_lossy();
        let labels = [(LABEL_OURS, NETWORK), (LABEL_EXECUTOR, &self.executor), (LABEL_HOME, home.as_ref())];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = HashMap::from([(NO_NEIGHBOURS.to_owned(), NO_NEIGHBOURS_VALUE.to_owned())]);
        make(engine, body::name(Path::new(&self.executor)), labels.into(), options).await
    }

    /// Removes the shared one, if there is one.
    pub(super) async fn remove_shared(&self, engine: &Docker) -> Result<(), Error> {
        match self.shared.lock().await.take() {
            Some(Shared::All(id)) => gone(within(engine.remove_network(&id)).await),
            Some(Shared::Apart) | None => Ok(()),
        }
    }

    /// Forgets the shared one: somebody removed it.
    pub(super) async fn forget(&self) {
        *self.shared.lock().await = None;
    }

    /// Makes the network of one attempt, with its container's name.
    pub(super) async fn make_own(&self, engine: &Docker, control: &Path) -> Result<(), Error> {
        let made = Arc::clone(self.own().entry(control.to_owned()).or_default());
        made.get_or_try_init(|| self.make_own_now(engine, control)).await.copied()
    }

    fn own(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<OnceCell<()>>>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn make_own_now(&self, engine: &Docker, control: &Path) -> Result<(), Error> {
        let made = make(engine, body::name(control), body::labels(&self.executor, control), HashMap::new());
        match made.await {
            Ok(_) => Ok(()),
            Err(error) if answer(&error) == Answer::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the network of one attempt, if there is one.
    pub(super) async fn remove_own(&self, engine: &Docker, control: &Path) -> Result<(), Error> {
        for id in find(engine, vec![format!("{LABEL_CONTROL}={}", control.display())]).await? {
            gone(within(engine.remove_network(&id)).await)?;
        }
        self.own().remove(control);
        Ok(())
    }
}

/// What is gone already needs no removal.
fn gone(removed: Result<(), Error>) -> Result<(), Error> {
    match removed {
        Err(error) if answer(&error) != Answer::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Returns whether a network is one whose containers do not reach each other: an engine that cannot make
/// such a one leaves the option out, with a warning at most.
fn keeps_apart(options: Option<&HashMap<String, String>>) -> bool {
    options.and_then(|options| options.get(NO_NEIGHBOURS)).is_some_and(|value| value == NO_NEIGHBOURS_VALUE)
}

/// Returns whether a network belongs to an executor, other than this one, of which nothing is there.
pub(super) fn is_left(labels: &HashMap<String, String>, own: &str, exists: impl Fn(&Path) -> bool) -> bool {
    let executor = labels.get(LABEL_EXECUTOR).filter(|executor| *executor != own);
    let place = labels.get(LABEL_HOME).or_else(|| labels.get(LABEL_CONTROL));
    // Of one that does not say where it lives nothing is known.
    executor.is_some() && place.is_some_and(|place| !exists(Path::new(place)))
}

async fn find(engine: &Docker, labels: Vec<String>) -> Result<Vec<String>, Error> {
    let filters = HashMap::from([("label".to_owned(), labels)]);
    let options = ListNetworksOptions { filters: Some(filters) };
    let found = within(engine.list_networks(Some(options))).await?;
    Ok(found.into_iter().filter_map(|network| network.id).collect())
}

async fn make(
    engine: &Docker,
    name: String,
    labels: HashMap<String, String>,
    options: HashMap<String, String>,
) -> Result<String, Error> {
    let request = NetworkCreateRequest {
        name,
        driver: Some("bridge".to_owned()),
        labels: Some(labels),
        options: Some(options),
        ..NetworkCreateRequest::default()
    };
    Ok(within(engine.create_network(request)).await?.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_share_a_network_only_where_the_engine_says_that_it_keeps_them_apart() {
        let options = |value: &str| HashMap::from([(NO_NEIGHBOURS.to_owned(), value.to_owned())]);
        assert!(keeps_apart(Some(&options("false"))));
        assert!(!keeps_apart(Some(&options("true"))));
        // As Podman answers.
        assert!(!keeps_apart(Some(&HashMap::new())));
        assert!(!keeps_apart(None));
    }
}

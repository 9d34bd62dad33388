//! What could be taken away from the engine: containers that do not run, networks without a task, and
//! the images that this executor pulled. Who decides is elsewhere; what the engine itself finds in use
//! it keeps.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::PoisonError;

use bollard::errors::Error;
use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::{
    ListContainersOptions, ListImagesOptions, ListNetworksOptions, RemoveImageOptions,
};

use super::body::{LABEL_CONTROL, LABEL_EXECUTOR, LABEL_OURS, LABEL_OURS_VALUE};
use super::failure::{Answer, answer};
use super::{Docker, within};
use crate::runtime::{Idle, OwnImage};

impl Docker {
    /// Asks where the engine keeps its things. One that does not say is only not looked at.
    pub(super) async fn note_storage(&self) {
        let told = match within(self.engine.info()).await {
            Ok(info) => info.docker_root_dir.map(PathBuf::from),
            Err(error) => {
                tracing::debug!(%error, "the engine does not say where it keeps its things");
                None
            }
        };
        *self.storage.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    pub(super) async fn idle_now(&self) -> Result<Vec<Idle>, Error> {
        let label = format!("{LABEL_EXECUTOR}={}", self.settings.executor);
        // Networks first: a task that begins meanwhile shows its container, and is not idle then.
        let filter = vec![label.clone(), format!("{LABEL_OURS}={LABEL_OURS_VALUE}")];
        let filters = HashMap::from([("label".to_owned(), filter)]);
        let options = ListNetworksOptions { filters: Some(filters) };
        let networks = within(self.engine.list_networks(Some(options))).await?;
        let containers = self.labelled(label).await?;
        let control =
            |labels: Option<HashMap<String, String>>| labels?.remove(LABEL_CONTROL).map(PathBuf::from);
        let mut running = HashSet::new();
        let mut idle: BTreeMap<PathBuf, Idle> = BTreeMap::new();
        for container in containers {
            let is_stopped = matches!(
                container.state,
                Some(
                    ContainerSummaryStateEnum::EXITED
                        | ContainerSummaryStateEnum::DEAD
                        | ContainerSummaryStateEnum::CREATED
                )
            );
            let Some(control) = control(container.labels) else { continue };
            if !is_stopped {
                running.insert(control);
                continue;
            }
            entry(&mut idle, control).containers += 1;
        }
        for network in networks {
            if let Some(control) = control(network.labels) {
                entry(&mut idle, control).networks += 1;
            }
        }
        Ok(idle.into_values().filter(|idle| !running.contains(&idle.control)).collect())
    }

    pub(super) async fn own_images_now(&self) -> Result<Vec<OwnImage>, Error> {
        let known = self.pulls.pulled.all();
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let images = within(self.engine.list_images(None::<ListImagesOptions>)).await?;
        let options = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        let containers = within(self.engine.list_containers(Some(options))).await?;
        let mut used: HashSet<String> = containers.into_iter().filter_map(|found| found.image_id).collect();
        used.extend(self.images().values().map(|image| image.id.clone()));
        let sizes: HashMap<String, i64> = images.into_iter().map(|image| (image.id, image.size)).collect();
        let mut own = Vec::new();
        for (id, pulled) in known {
            let Some(size) = sizes.get(&id) else {
                // Somebody else took it away. Should it come again, then not by us.
                self.pulls.pulled.forget(&id);
                continue;
            };
            own.push(OwnImage {
                in_use: used.contains(&id),
                id,
                name: pulled.name,
                bytes: u64::try_from(*size).unwrap_or_default(),
                last_used: pulled.last_used,
            });
        }
        self.pulls.pulled.save().await;
        Ok(own)
    }

    pub(super) async fn remove_own_image(&self, id: &str) -> Result<bool, Error> {
        // A task may have been given it since it was listed.
        if self.images().values().any(|image| image.id == id) {
            return Ok(false);
        }
        // Never by force: who gave it another name, or made an image from it, needs it.
        let options = RemoveImageOptions { force: false, noprune: false, ..RemoveImageOptions::default() };
        match within(self.engine.remove_image(id, Some(options), None)).await {
            Ok(_) => {}
            Err(error) if answer(&error) == Answer::NotFound => {}
            Err(error) if answer(&error) == Answer::Conflict => return Ok(false),
            Err(error) => return Err(error),
        }
        self.pulls.pulled.forget(id);
        self.pulls.pulled.save().await;
        Ok(true)
    }
}

fn entry(idle: &mut BTreeMap<PathBuf, Idle>, control: PathBuf) -> &mut Idle {
    let new = Idle { control: control.clone(), containers: 0, networks: 0 };
    idle.entry(control).or_insert(new)
}

//! What a fleet of one moment asks of an engine: a small image that it has already, so that containers
//! can be shown without a download, and the removal of what its executor shared.

use std::path::Path;
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::Docker as Engine;
use bollard::query_parameters::ListImagesOptions;

use super::{body, failure};
use crate::runtime::RuntimeError;

/// The last part of their names; each has a shell.
const SMALL: [&str; 4] = ["busybox", "alpine", "debian", "ubuntu"];
const PATIENCE_SECONDS: u64 = 5;

/// Returns a small image with a shell that the machine's engine has; an error if none answers.
pub async fn small_image(socket: &Path) -> Result<Option<String>, RuntimeError> {
    let engine = connect(socket)?;
    let listed = engine.list_images(None::<ListImagesOptions>);
    let listed = tokio::time::timeout(Duration::from_secs(PATIENCE_SECONDS), listed).await;
    let images = match listed {
        Ok(images) => images.map_err(|error| failure::runtime("list its images", error))?,
        Err(_) => return Ok(None),
    };
    let tags: Vec<String> = images.into_iter().flat_map(|image| image.repo_tags).collect();
    let is_small = |tag: &&String, name: &str| {
        tag.rsplit('/').next().and_then(|tag| tag.split(':').next()) == Some(name)
    };
    Ok(SMALL.iter().find_map(|name| tags.iter().find(|tag| is_small(tag, name)).cloned()))
}

/// Takes away the network that the containers of an executor shared, once it is gone for good.
pub async fn remove_shared_network(socket: &Path, executor: &str) -> Result<(), RuntimeError> {
    let removed = connect(socket)?.remove_network(&body::name(Path::new(executor))).await;
    removed.map_err(|error| failure::runtime("remove a network", error))
}

fn connect(socket: &Path) -> Result<Engine, RuntimeError> {
    let engine = Engine::connect_with_unix(&socket.to_string_lossy(), PATIENCE_SECONDS, API_DEFAULT_VERSION);
    engine.map_err(|error| failure::runtime("be reached", error))
}

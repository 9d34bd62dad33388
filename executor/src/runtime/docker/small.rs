//! A small image that an engine has already: something to show containers with, and no download.

use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::Docker as Engine;
use bollard::query_parameters::ListImagesOptions;

use super::failure;
use crate::runtime::RuntimeError;

/// The last part of their names; each has a shell.
const SMALL: [&str; 4] = ["busybox", "alpine", "debian", "ubuntu"];
const PATIENCE_SECONDS: u64 = 5;

/// Returns a small image with a shell that the machine's engine has; an error if none answers.
pub async fn small_image() -> Result<Option<String>, RuntimeError> {
    let engine = Engine::connect_with_unix(super::SOCKET, PATIENCE_SECONDS, API_DEFAULT_VERSION);
    let engine = engine.map_err(|error| failure::runtime("be reached", error))?;
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

//! Images: what is there, and getting what is not.
//!
//! One pull of an image at a time. Who wanted it while another's pull was under way takes that one's
//! result, if both may: a login is part of what was asked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::{CreateImageOptions, ListImagesOptions};
use futures_util::StreamExt;
use ocelot_core::plan::Pull;

use super::failure::{self, Answer};
use super::pulled::Pulled;
use super::within;
use crate::attempt::Failure;
use crate::attempt::state::Cause;
use crate::runtime::{Given, Login, Tell};

/// A pull that says nothing for this long has hung.
const SILENCE_MAX: Duration = Duration::from_secs(120);
const PULL_LINES_MAX: usize = 100;
/// A line of progress is worth a tenth.
const PROGRESS_STEPS: i64 = 10;
/// Pulls that are remembered; a forgotten one is only asked for again.
const PULLS_MAX: usize = 256;

/// An image that the engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub id: String,
    pub given: Given,
}

/// Pulls under way, and what came of those that are over.
#[derive(Debug)]
pub(super) struct Pulls {
    known: Mutex<HashMap<Asked, Arc<Turn>>>,
    pub(super) pulled: Pulled,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    image: String,
    login: Option<(String, String)>,
}

/// How often it was pulled; held while it is.
type Turn = tokio::sync::Mutex<u64>;

impl Pulls {
    /// Remembers in this directory what was pulled.
    pub(super) fn new(data: &Path) -> Self {
        Self { known: Mutex::default(), pulled: Pulled::open(data) }
    }

    /// Returns the image as the policy asks.
    pub(super) async fn get(
        &self,
        engine: &Docker,
        image: &str,
        pull: Pull,
        login: Option<&Login>,
        tell: &dyn Tell,
    ) -> Result<Image, Cause> {
        let got = self.get_now(engine, image, pull, login, tell).await?;
        Ok(self.used(got))
    }

    /// Notes that the image is used just now.
    pub(super) fn used(&self, image: Image) -> Image {
        self.pulled.use_now(&image.id);
        image
    }

    async fn get_now(
        &self,
        engine: &Docker,
        image: &str,
        pull: Pull,
        login: Option<&Login>,
        tell: &dyn Tell,
    ) -> Result<Image, Cause> {
        if pull != Pull::Always
            && let Some(found) = find(engine, image).await?
        {
            return Ok(found);
        }
        if pull == Pull::Never {
            let why = format!("image {image} is not on this executor, and its job says `pull: never`");
            return Err(Cause::Failed(Failure::Image { why }));
        }
        let turn = self.turn(image, login);
        let before = turn.try_lock().map(|count| *count);
        let mut count = match before {
            Ok(_) => turn.lock().await,
            Err(_) => {
                tell.line(&format!("waiting for another task's pull of {image}"));
                let count = turn.lock().await;
                // It ended well after this one asked, or it left the work to this one.
                if *count > 0
                    && let Some(found) = find(engine, image).await?
                {
                    return Ok(found);
                }
                count
            }
        };
        tell.line(&format!("pulling {image}"));
        let before = ids(engine).await?;
        run(engine, image, login, tell).await?;
        *count += 1;
        let gone = || Cause::Platform { why: format!("image {image} was pulled, but the engine has it not") };
        let found = find(engine, image).await?.ok_or_else(gone)?;
        // What was there under whatever name is not ours to take away.
        if !before.contains(&found.id) {
            self.pulled.note(&found.id, image).await;
        }
        Ok(found)
    }

    fn turn(&self, image: &str, login: Option<&Login>) -> Arc<Turn> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PULLS_MAX {
            known.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        let login = login.map(|login| (login.user.clone(), login.password.clone()));
        Arc::clone(known.entry(Asked { image: image.to_owned(), login }).or_default())
    }
}

/// Returns the image if the engine has it.
pub(super) async fn find(engine: &Docker, image: &str) -> Result<Option<Image>, Cause> {
    match within(engine.inspect_image(image)).await {
        Ok(found) => of(found)
            .map(Some)
            .ok_or_else(|| failure::platform("describe the image", "its answer names no id")),
        Err(error) => match failure::answer(&error) {
            Answer::NotFound => Ok(None),
            // The engine looks at the name before it looks for the image.
            Answer::Refused => Err(failure::of_pull(image, &error)),
            Answer::Conflict | Answer::NotModified | Answer::Unknown => {
                Err(failure::platform("describe the image", &failure::words(&error)))
            }
        },
    }
}

/// Returns the ids of all images that the engine has.
async fn ids(engine: &Docker) -> Result<HashSet<String>, Cause> {
    let listed = within(engine.list_images(None::<ListImagesOptions>)).await;
    let listed = listed.map_err(|error| failure::platform("list its images", &failure::words(&error)))?;
    Ok(listed.into_iter().map(|image| image.id).collect())
}

fn of(found: ImageInspect) -> Option<Image> {
    let config = found.config.unwrap_or_default();
    let variables = config.env.unwrap_or_default();
    let split = |variable: &String| {
        let (name, value) = variable.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    let env: BTreeMap<_, _> = variables.iter().filter_map(split).collect();
    let user = config.user.filter(|user| !user.is_empty());
    let given = Given {
        env,
        user,
        entry: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        directory: config.working_dir.unwrap_or_default(),
    };
    Some(Image { id: found.id?, given })
}

async fn run(engine: &Docker, image: &str, login: Option<&Login>, tell: &dyn Tell) -> Result<(), Cause> {
    let name = Name::of(image);
    let options = CreateImageOptions {
        from_image: Some(name.repository.to_owned()),
        tag: Some(name.version.to_owned()),
        ..CreateImageOptions::default()
    };
    let credentials = login.map(|login| DockerCredentials {
        username: Some(login.user.clone()),
        password: Some(login.password.clone()),
        serveraddress: Some(name.registry.to_owned()),
        ..DockerCredentials::default()
    });
    let mut steps = Box::pin(engine.create_image(Some(options), None, credentials));
    let mut progress = Progress::default();
    loop {
        let step = tokio::time::timeout(SILENCE_MAX, steps.next());
        match step.await.unwrap_or(Some(Err(Error::RequestTimeoutError))) {
            Some(Ok(step)) => progress.hear(&step).into_iter().for_each(|line| tell.line(&line)),
            Some(Err(error)) => return Err(failure::of_pull(image, &error)),
            None => return Ok(()),
        }
    }
}

/// Returns when the image is pulled if nobody says: a tag that moves is looked at anew.
pub(super) fn usual_pull(image: &str) -> Pull {
    let is_latest = !image.contains('@') && Name::of(image).version == "latest";
    if is_latest { Pull::Always } else { Pull::Missing }
}

/// What a reference to an image is made of.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    registry: &'a str,
    repository: &'a str,
    /// A tag or a digest. Without one the engine would pull every tag that there is.
    version: &'a str,
}

impl<'a> Name<'a> {
    fn of(image: &'a str) -> Self {
        let (repository, version) = match image.split_once('@') {
            Some(parts) => parts,
            None => match image.rsplit_once(':') {
                // A colon before a slash belongs to the registry's port.
                Some((repository, tag)) if !tag.contains('/') => (repository, tag),
                Some(_) | None => (image, "latest"),
            },
        };
        let first = repository.split_once('/').map(|(first, _)| first);
        let host = first.filter(|first| first.contains(['.', ':']) || *first == "localhost");
        Self { registry: host.unwrap_or("https://index.docker.io/v1/"), repository, version }
    }
}

/// Turns what the engine tells, many times a second for each layer, into a few lines.
#[derive(Debug, Default)]
struct Progress {
    told: HashSet<String>,
    layers: HashMap<String, (i64, i64)>,
    steps: i64,
}

impl Progress {
    fn hear(&mut self, step: &CreateImageInfo) -> Option<String> {
        let status = step.status.as_deref()?;
        let detail = step.progress_detail.as_ref();
        let line = match (status, detail.and_then(|detail| detail.current.zip(detail.total))) {
            ("Downloading", Some(progress)) => {
                self.layers.insert(step.id.clone()?, progress);
                self.downloaded()?
            }
            ("Downloading" | "Extracting" | "Waiting" | "Verifying Checksum" | "Download complete", _)
            | ("Pulling fs layer" | "Pull complete" | "Already exists", _) => return None,
            (other, _) => other.to_owned(),
        };
        let new = self.told.len() < PULL_LINES_MAX && self.told.insert(line.clone());
        new.then_some(line)
    }

    fn downloaded(&mut self) -> Option<String> {
        let sums = self.layers.values().fold((0_i64, 0_i64), |(done, all), (current, total)| {
            (done.saturating_add(*current), all.saturating_add(*total))
        });
        let (done, all) = sums;
        let steps = done.saturating_mul(PROGRESS_STEPS).checked_div(all)?;
        if steps <= self.steps {
            return None;
        }
        self.steps = steps;
        let mib = |bytes: i64| bytes / (1024 * 1024);
        Some(format!("downloaded {} of {} MiB", mib(done), mib(all)))
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn a_name_without_a_tag_means_the_latest() {
        let name = |image| {
            let Name { registry, repository, version } = Name::of(image);
            format!("{registry} {repository} {version}")
        };
        assert_eq!(name("busybox"), "https://index.docker.io/v1/ busybox latest");
        assert_eq!(name("a/b:1"), "https://index.docker.io/v1/ a/b 1");
        assert_eq!(name("localhost:5000/a"), "localhost:5000 localhost:5000/a latest");
        assert_eq!(name("r.example/a/b@sha256:12"), "r.example r.example/a/b sha256:12");
    }

    #[test]
    fn the_progress_of_a_pull_is_a_few_lines() {
        let mut progress = Progress::default();
        let mut lines = Vec::new();
        for current in 0..=1000_i64 {
            let detail = ProgressDetail { current: Some(current << 20), total: Some(1000 << 20) };
            lines.extend(progress.hear(&CreateImageInfo {
                id: Some("layer".to_owned()),
                status: Some("Downloading".to_owned()),
                progress_detail: Some(detail),
                ..CreateImageInfo::default()
            }));
        }
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[4], "downloaded 500 of 1000 MiB");
        let end = CreateImageInfo { status: Some("Status: new".to_owned()), ..CreateImageInfo::default() };
        assert_eq!(progress.hear(&end), Some("Status: new".to_owned()));
        assert_eq!(progress.hear(&end), None);
    }

    #[test]
    fn what_the_engine_leaves_out_is_not_needed() {
        let found = ImageInspect { id: Some("sha256:1".to_owned()), ..ImageInspect::default() };
        assert_eq!(of(found), Some(Image { id: "sha256:1".to_owned(), given: Given::default() }));
        assert_eq!(of(ImageInspect::default()), None);
    }
}

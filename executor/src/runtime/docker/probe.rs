//! Proves at the start that an engine can do what tasks need, by doing it once.
//!
//! The probe is a container like any other, of an image with nothing in it. Its supervisor compares
//! a random file that it reads through its mount with what this process says over its socket. So
//! paths, sockets, clocks and rights are proven to cross, or the error says which did not.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::Docker as Engine;
use bollard::errors::Error;
use bollard::query_parameters::{CreateImageOptions, InspectContainerOptions};
use futures_util::StreamExt;
use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
use ocelot_core::plan::{Environment, Pull, Resources, Runtime as Place};
use ocelot_supervisor::client::Client;
use ocelot_supervisor::protocol::Request;
use ocelot_supervisor::{clock, control};

use super::{Docker, failure, image, within, words};
use crate::attempt::AttemptId;
use crate::attempt::state::{BootTime, Cause};
use crate::journal::Container;
use crate::runtime::{Launch, Runtime, RuntimeError, Standing};

/// Of its own name, since Podman heeds no tag when it imports.
const REPOSITORY: &str = "ocelot-probe-1";
const TAG: &str = "latest";
const IMAGE: &str = "ocelot-probe-1:latest";
const DEADLINE_MS: u64 = 120_000;
const DISK_BYTES: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(30);
/// What two readings of one clock may differ by, beside the time between them.
const CLOCK_MS_MAX: u64 = 1000;

impl Docker {
    /// Runs the probe and takes it away.
    pub(super) async fn probe(&self) -> Result<(), RuntimeError> {
        let doing = "run a probe container";
        let failed =
            |why: String| RuntimeError { doing: format!("the engine could not {doing}"), source: why.into() };
        let data = self.settings.data.clone();
        let mut launch = fresh(&data).map_err(|error| failed(error.to_string()))?;
        self.remove(&launch.control).await?;
        // Only trying tells: the drivers that can limit files need file systems that are set up for it.
        self.limits_disk.store(true, Ordering::Relaxed);
        let mut ran = self.probe_with(&launch).await;
        if ran.is_err() {
            self.remove(&launch.control).await?;
            self.limits_disk.store(false, Ordering::Relaxed);
            launch = fresh(&data).map_err(|error| failed(error.to_string()))?;
            ran = self.probe_with(&launch).await;
        }
        let removed = self.remove(&launch.control).await;
        let cleaned = clean(&data);
        ran.map_err(|cause| failed(words(&cause)))?;
        removed?;
        cleaned.map_err(|error| failed(error.to_string()))
    }

    /// Notes whether the engine limits what a container takes. One that may not (Podman without root on a
    /// machine with the first version of control groups) starts the container all the same, and only its
    /// description says that nothing is limited.
    async fn note_limits(&self, container: &Container) -> Result<(), Cause> {
        let found = within(self.engine.inspect_container(&container.id, None::<InspectContainerOptions>));
        let found = found
            .await
            .map_err(|error| failure::platform("describe a container", &failure::words(&error)))?;
        let pids = found.host_config.and_then(|host| host.pids_limit);
        self.limits.store(pids.is_some_and(|pids| pids > 0), Ordering::Relaxed);
        Ok(())
    }

    async fn probe_with(&self, launch: &Launch) -> Result<(), Cause> {
        if image::find(&self.engine, IMAGE).await?.is_none() {
            let imported = within(import(&self.engine)).await;
            imported.map_err(|error| failure::platform("import an image", &failure::words(&error)))?;
        }
        let container = self.run(launch).await?;
        self.note_limits(&container).await?;
        let control = launch.control.clone();
        let spoken = tokio::task::spawn_blocking(move || speak(&control)).await;
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

/// Returns the launch of the probe, with fresh directories.
pub(super) fn fresh(data: &Path) -> io::Result<Launch> {
    let folder = folder(data);
    clear(&folder)?;
    for name in ["control", "workspace"] {
        fs::create_dir_all(folder.join(name))?;
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o700))?;
    }
    Ok(Launch {
        attempt: AttemptId {
            task: TaskId { run: RunId::from_bytes([0; 16]), index: 0 },
            number: Attempt::FIRST,
            epoch: Epoch(0),
        },
        environment: Environment {
            runtime: Place::Container {
                image: IMAGE.to_owned(),
                pull: Pull::Never,
                pull_secret: None,
                engine: false,
            },
            checkout: None,
            directory: String::new(),
            user: None,
            env: Default::default(),
            secrets: Vec::new(),
            services: Vec::new(),
            caches: Vec::new(),
            artifacts: Vec::new(),
        },
        resources: Resources { disk_bytes: Some(DISK_BYTES), ..Resources::default() },
        control: folder.join("control"),
        workspace: folder.join("workspace"),
        mounts: Vec::new(),
        login: None,
        deadline: BootTime(clock::now().after(DEADLINE_MS).0),
    })
}

fn folder(data: &Path) -> PathBuf {
    data.join("probe")
}

/// Takes the directories away.
fn clean(data: &Path) -> io::Result<()> {
    clear(&folder(data))
}

fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Speaks to the probe's supervisor. Blocks.
fn speak(directory: &Path) -> io::Result<()> {
    let mut random = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let identity = format!("probe {:032x}", u128::from_le_bytes(random));
    fs::write(directory.join(control::IDENTITY), &identity)?;
    let before = clock::now();
    let (mut client, state) = Client::connect(directory, PATIENCE).map_err(io::Error::other)?;
    let after = clock::now().after(CLOCK_MS_MAX);
    if state.now.after(CLOCK_MS_MAX) < before || state.now > after {
        return Err(io::Error::other("containers have another clock than this machine"));
    }
    let deadline = clock::now().after(DEADLINE_MS);
    client.ask(&Request::Assign { identity, deadline }).map_err(|error| {
        io::Error::other(format!("a container does not see the files of this machine's path: {error}"))
    })?;
    client.ask(&Request::Finish { grace_ms: 0 }).map_err(io::Error::other)
}

/// Makes the image of the probe: one empty folder.
async fn import(engine: &Engine) -> Result<(), Error> {
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(REPOSITORY.to_owned()),
        tag: Some(TAG.to_owned()),
        ..CreateImageOptions::default()
    };
    let body = bollard::body_full(archive().into());
    let mut steps = Box::pin(engine.create_image(Some(options), Some(body), None));
    while let Some(step) = steps.next().await {
        step?;
    }
    Ok(())
}

/// Returns an archive with the folder `tmp` and nothing else.
fn archive() -> Vec<u8> {
    let mut archive = vec![0; 3 * 512];
    let mut put = |at: usize, text: &str| archive[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "tmp/");
    put(100, "0001777\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, "00000000000\0");
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "5");
    put(257, "ustar\x0000");
    let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive
}

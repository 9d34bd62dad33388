//! What is asked of the engine for one attempt: a pure function of the launch.
//!
//! The container is complete when it is created. Its entry point is our supervisor, its user is root
//! so that the supervisor keeps its control directory to itself, and its rights are those of
//! [`CAPABILITIES`] and nothing else; stages run as the image's user.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum,
    HostConfigLogConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountType,
    NetworkingConfig, ResourcesUlimits,
};
use ocelot_core::plan::Resources;
use sha2::{Digest, Sha256};

use crate::attempt::state::BootTime;
use crate::runtime::{Launch, Mount as File, ServiceLaunch};

/// Where the task's own processes find their workspace.
pub(super) const WORKSPACE: &str = "/workspace";
/// Ours, inside a container. Nothing of the task is mounted below it.
pub(super) const OWN: &str = "/.ocelot";
pub(super) const SUPERVISOR: &str = "/.ocelot/supervisor";
pub(super) const CONTROL: &str = "/.ocelot/control";
/// What is left of root's rights: enough for package managers and for changing users.
pub(super) const CAPABILITIES: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"];
pub(super) const NO_NEW_PRIVILEGES: &str = "no-new-privileges";
/// Who may not bind the low ports by right may bind them by this, inside a network of its own. Docker
/// sets it by itself and Podman does not, and then no web server of an image comes up.
pub(super) const SYSCTLS: [(&str, &str); 1] = [("net.ipv4.ip_unprivileged_port_start", "0")];
/// A task that says nothing gets this many processes: a fork bomb must not take the machine.
const PIDS_DEFAULT: u32 = 4096;
/// What the engine keeps of the supervisor's own complaints; stages write elsewhere.
const LOG_BYTES: &str = "64k";

pub(super) const LABEL_OURS: &str = "ocelot";
pub(super) const LABEL_OURS_VALUE: &str = "task";
pub(super) const LABEL_EXECUTOR: &str = "ocelot.executor";
pub(super) const LABEL_CONTROL: &str = "ocelot.control";
/// The service's name; the task's own container has none.
pub(super) const LABEL_SERVICE: &str = "ocelot.service";
/// The executor's own directory: without it there is no such executor any more.
pub(super) const LABEL_HOME: &str = "ocelot.home";

/// What a container is for: a task, or a service beside one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The control directory of the task, which everything of it is found and removed by.
    pub task: &'a Path,
    /// The container's own.
    pub control: &'a Path,
    /// Tasks have one, services have none.
    pub workspace: Option<&'a Path>,
    /// Its name for the others in the task's network; none for the task itself.
    pub service: Option<&'a str>,
    pub files: &'a [File],
    pub resources: &'a Resources,
    pub deadline: BootTime,
    /// The network is the task's own, and not the one that tasks share.
    pub own_network: bool,
}

impl<'a> Asked<'a> {
    pub(super) fn task(launch: &'a Launch) -> Self {
        Self {
            task: &launch.control,
            control: &launch.control,
            workspace: Some(&launch.workspace),
            service: None,
            files: &launch.mounts,
            resources: &launch.resources,
            deadline: launch.deadline,
            own_network: !launch.environment.services.is_empty(),
        }
    }

    pub(super) fn service(launch: &'a ServiceLaunch) -> Self {
        Self {
            task: &launch.task,
            control: &launch.control,
            workspace: None,
            service: Some(&launch.service.name),
            files: &launch.mounts,
            resources: &launch.service.resources,
            deadline: launch.deadline,
            own_network: true,
        }
    }

    pub(super) fn directory(&self) -> &'static str {
        if self.workspace.is_some() { WORKSPACE } else { "/" }
    }

    pub(super) fn labels(&self, executor: &str) -> HashMap<String, String> {
        let mut labels = labels(executor, self.task);
        labels.extend(self.service.map(|name| (LABEL_SERVICE.to_owned(), name.to_owned())));
        labels
    }
}

/// What the launch does not say.
#[derive(Debug, Clone)]
pub(super) struct Ground<'a> {
    pub executor: &'a str,
    /// On this machine.
    pub supervisor: &'a Path,
    /// By its id, so that it is the one that was looked at.
    pub image: &'a str,
    pub network: &'a str,
    pub defaults: &'a Resources,
    /// The engine's driver can limit a container's own files.
    pub limits_disk: bool,
}

/// Returns the name that everything of this control directory has in the engine. A second creation
/// conflicts with the first, however the first one's answer was lost.
pub(super) fn name(control: &Path) -> String {
    let digest = Sha256::digest(control.as_os_str().as_encoded_bytes());
    let digits: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("ocelot-{digits}")
}

/// Returns the labels of everything of a control directory.
pub(super) fn labels(executor: &str, control: &Path) -> HashMap<String, String> {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    HashMap::from([
        label(LABEL_OURS, LABEL_OURS_VALUE),
        label(LABEL_EXECUTOR, executor),
        label(LABEL_CONTROL, &control.to_string_lossy()),
    ])
}

/// Returns the container as it is asked for.
pub(super) fn container(asked: &Asked<'_>, ground: &Ground<'_>) -> ContainerCreateBody {
    let entry = [SUPERVISOR, CONTROL, "--deadline-ms", &asked.deadline.0.to_string()];
    let endpoint = |name: &str| {
        let aliases =
            EndpointSettings { aliases: Some(vec![name.to_owned()]), ..EndpointSettings::default() };
        let endpoints = HashMap::from([(ground.network.to_owned(), aliases)]);
        NetworkingConfig { endpoints_config: Some(endpoints) }
    };
    ContainerCreateBody {
        image: Some(ground.image.to_owned()),
        entrypoint: Some(entry.map(str::to_owned).to_vec()),
        cmd: Some(Vec::new()),
        // The image's variables are given to stages by their orders; the supervisor needs none.
        user: Some("0:0".to_owned()),
        working_dir: Some(asked.directory().to_owned()),
        // The image's own would run its command as root, again and again.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(asked.labels(ground.executor)),
        host_config: Some(host(asked, ground)),
        networking_config: asked.service.map(endpoint),
        ..ContainerCreateBody::default()
    }
}

fn host(asked: &Asked<'_>, ground: &Ground<'_>) -> HostConfig {
    let limits = asked.resources;
    let defaults = ground.defaults;
    let memory = limits.memory_bytes.or(defaults.memory_bytes).and_then(|bytes| i64::try_from(bytes).ok());
    let cpu = limits.cpu_millis.or(defaults.cpu_millis).map(|millis| i64::from(millis) * 1_000_000);
    let disk = limits.disk_bytes.or(defaults.disk_bytes).filter(|_| ground.limits_disk);
    let log = HashMap::from([
        ("max-size".to_owned(), LOG_BYTES.to_owned()),
        ("max-file".to_owned(), "1".to_owned()),
    ]);
    HostConfig {
        mounts: Some(mounts(asked, ground.supervisor)),
        network_mode: Some(ground.network.to_owned()),
        nano_cpus: cpu,
        memory,
        // The same number: no swap beyond it.
        memory_swap: memory,
        pids_limit: Some(i64::from(limits.pids.or(defaults.pids).unwrap_or(PIDS_DEFAULT))),
        storage_opt: disk.map(|bytes| HashMap::from([("size".to_owned(), bytes.to_string())])),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(vec![NO_NEW_PRIVILEGES.to_owned()]),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        privileged: Some(false),
        sysctls: Some(SYSCTLS.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        init: Some(false),
        ulimits: Some(vec![ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) }]),
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(log) }),
        ..HostConfig::default()
    }
}

fn mounts(asked: &Asked<'_>, supervisor: &Path) -> Vec<Mount> {
    let mut mounts = vec![bind(supervisor, SUPERVISOR, true), bind(asked.control, CONTROL, false)];
    mounts.extend(asked.workspace.map(|workspace| bind(workspace, WORKSPACE, false)));
    let files = asked.files.iter();
    mounts.extend(files.map(|mount| bind(&mount.source, &mount.target.to_string_lossy(), true)));
    mounts
}

fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        target: Some(target.to_owned()),
        source: Some(source.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

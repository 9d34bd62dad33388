//! The container as it is asked for, and what is refused.

use std::ffi::OsStr;
use std::fs;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, HostConfig, HostConfigCgroupnsModeEnum, Mount,
    MountType,
};
use ocelot_core::plan::Resources;

use super::allowed::{Allowance, Forbidden, check};
use super::body::{Asked, Ground, container};
use super::*;
use crate::runtime::Mount as File;

const NETWORK: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// Every field that the interface has, set to something that its default is not.
const SMUGGLED: &str = r#"{
        "Binds": ["/:/host"], "Devices": [{"PathOnHost": "/dev/sda"}], "DeviceCgroupRules": ["a *:* rwm"],
        "DeviceRequests": [{"Count": -1}], "VolumesFrom": ["other"], "PidMode": "host", "UTSMode": "host",
        "UsernsMode": "host", "Cgroup": "container:x", "CgroupParent": "/", "Runtime": "other",
        "Sysctls": {"kernel.core_pattern": "|/x"}, "GroupAdd": ["0"], "Links": ["x"], "Tmpfs": {"/x": ""},
        "OomKillDisable": true, "OomScoreAdj": -1000, "AutoRemove": true, "PublishAllPorts": true,
        "PortBindings": {"1/tcp": [{"HostPort": "1"}]}, "ExtraHosts": ["a:1.2.3.4"], "Dns": ["1.2.3.4"],
        "DnsOptions": ["x"], "DnsSearch": ["x"], "RestartPolicy": {"Name": "always"}, "ShmSize": 1,
        "ReadonlyRootfs": true, "VolumeDriver": "x", "ContainerIDFile": "/x", "CpuShares": 2,
        "CpusetCpus": "0", "BlkioWeight": 1, "Annotations": {"a": "b"}, "MaskedPaths": [],
        "ReadonlyPaths": [], "MemorySwappiness": 1, "MemoryReservation": 1, "ConsoleSize": [1, 1],
        "Isolation": "process", "KernelMemoryTCP": 1,
        "Privileged": true, "IpcMode": "host", "CgroupnsMode": "host", "Init": true, "CapAdd": ["SYS_ADMIN"],
        "CapDrop": [], "SecurityOpt": ["seccomp=unconfined"], "NetworkMode": "host", "PidsLimit": -1,
        "Memory": 0, "Ulimits": [{"Name": "core", "Soft": 1, "Hard": 1}], "LogConfig": {"Type": "syslog"},
        "StorageOpt": {"size": "1", "other": "1"}, "Mounts": []
    }"#;

/// A launch with real directories, and what it is compared with.
struct Bench {
    data: tempfile::TempDir,
    launch: Launch,
}

impl Bench {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let launch = probe::fresh(data.path()).unwrap();
        fs::write(data.path().join("supervisor"), "").unwrap();
        Self { data, launch }
    }

    fn memory(&self) -> PathBuf {
        self.data.path().join("memory")
    }

    /// Makes a file of a secret of the attempt that is called so.
    fn secret(&self, attempt: &OsStr) -> PathBuf {
        let folder = self.memory().join(attempt).join("files");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("secret"), "").unwrap();
        folder.join("secret")
    }

    fn supervisor(&self) -> PathBuf {
        self.data.path().join("supervisor")
    }

    fn body(&self) -> ContainerCreateBody {
        let ground = Ground {
            executor: "executor",
            supervisor: &self.supervisor(),
            image: "sha256:2222",
            network: NETWORK,
            defaults: &Resources {
                cpu_millis: Some(1500),
                memory_bytes: Some(1 << 28),
                ..Resources::default()
            },
            limits_disk: true,
        };
        container(&Asked::task(&self.launch), &ground)
    }

    fn check(&self, body: &ContainerCreateBody) -> Result<(), Forbidden> {
        let allowance = Allowance {
            data: self.data.path(),
            memory: &self.memory(),
            supervisor: &self.supervisor(),
            asked: Asked::task(&self.launch),
            network: NETWORK,
        };
        check(body, &allowance)
    }
}

#[test]
fn a_container_is_asked_for_complete_and_with_few_rights() {
    let bench = Bench::new();
    let body = bench.body();
    bench.check(&body).unwrap();
    let text = serde_json::to_string_pretty(&serde_json::to_value(&body).unwrap()).unwrap();
    let deadline = bench.launch.deadline.0.to_string();
    let shown = text.replace(&*bench.data.path().to_string_lossy(), "DATA").replace(&deadline, "DEADLINE");
    insta::assert_snapshot!(shown);
}

#[test]
fn no_field_of_the_host_passes_that_is_not_on_the_list() {
    let bench = Bench::new();
    let smuggled: serde_json::Value = serde_json::from_str(SMUGGLED).unwrap();
    let mut passed = Vec::new();
    let mut unknown = Vec::new();
    for (field, value) in smuggled.as_object().unwrap() {
        let mut body = serde_json::to_value(bench.body()).unwrap();
        body["HostConfig"][field] = value.clone();
        let body: ContainerCreateBody = serde_json::from_value(body).unwrap();
        let sent = serde_json::to_value(&body).unwrap();
        match sent["HostConfig"].get(field) == Some(value) {
            true if bench.check(&body).is_ok() => passed.push(field),
            true => {}
            // The library does not know it, so it cannot be sent.
            false => unknown.push(field.as_str()),
        }
    }
    assert!(passed.is_empty(), "{passed:?}");
    assert!(unknown.len() < 12, "the list is of the interface: {unknown:?}");
}

#[test]
fn no_field_of_the_container_passes_that_is_not_on_the_list() {
    let bench = Bench::new();
    let text = || Some("x".to_owned());
    let own = || bench.body();
    for (body, field) in [
        (ContainerCreateBody { env: Some(vec!["LD_PRELOAD=/x".to_owned()]), ..own() }, "Env"),
        (ContainerCreateBody { user: text(), ..own() }, "User"),
        (ContainerCreateBody { image: text(), ..own() }, "Image"),
        (ContainerCreateBody { cmd: Some(vec!["sh".to_owned()]), ..own() }, "Cmd"),
        (ContainerCreateBody { entrypoint: Some(vec!["sh".to_owned()]), ..own() }, "Entrypoint"),
        (ContainerCreateBody { working_dir: text(), ..own() }, "WorkingDir"),
        (ContainerCreateBody { hostname: text(), ..own() }, "Hostname"),
        (ContainerCreateBody { tty: Some(true), ..own() }, "Tty"),
        (ContainerCreateBody { volumes: Some(vec!["/".to_owned()]), ..own() }, "Volumes"),
        (ContainerCreateBody { exposed_ports: Some(vec!["1/tcp".to_owned()]), ..own() }, "ExposedPorts"),
        (ContainerCreateBody { healthcheck: None, labels: Some(HashMap::new()), ..own() }, "Labels"),
    ] {
        assert_eq!(bench.check(&body).map_err(|forbidden| forbidden.field), Err(field.to_owned()));
    }
}

#[test]
fn no_typed_right_passes_either() {
    let bench = Bench::new();
    let change = |change: &dyn Fn(&mut HostConfig)| {
        let mut body = bench.body();
        change(body.host_config.as_mut().unwrap());
        bench.check(&body)
    };
    change(&|_| {}).unwrap();
    change(&|host| host.privileged = Some(true)).unwrap_err();
    change(&|host| host.devices = Some(vec![DeviceMapping::default()])).unwrap_err();
    change(&|host| host.device_requests = Some(vec![DeviceRequest::default()])).unwrap_err();
    change(&|host| host.cgroupns_mode = Some(HostConfigCgroupnsModeEnum::HOST)).unwrap_err();
    change(&|host| host.cap_add.as_mut().unwrap().push("NET_RAW".to_owned())).unwrap_err();
    change(&|host| host.cap_drop = None).unwrap_err();
    change(&|host| host.security_opt = None).unwrap_err();
    change(&|host| host.pids_limit = None).unwrap_err();
    change(&|host| host.network_mode = Some("container:x".to_owned())).unwrap_err();
}

#[test]
fn no_mount_reaches_outside_of_what_is_the_attempts() {
    let bench = Bench::new();
    let data = bench.data.path();
    fs::create_dir(data.join("links")).unwrap();
    std::os::unix::fs::symlink("/etc", data.join("links/out")).unwrap();
    let with = |source: &Path, target: &str| {
        let mut launch = bench.launch.clone();
        launch.mounts.push(File { source: source.to_owned(), target: target.into() });
        let bench = Bench { data: tempfile::tempdir().unwrap(), launch };
        let mounts = bench.body().host_config.unwrap().mounts.unwrap();
        mounts.last().unwrap().clone()
    };
    let check = |mount: Mount| {
        let mut body = bench.body();
        body.host_config.as_mut().unwrap().mounts.as_mut().unwrap().push(mount);
        bench.check(&body)
    };
    let own = bench.launch.control.parent().unwrap().file_name().unwrap();
    let secret = bench.secret(own);
    check(with(&secret, "/run/secret")).unwrap();
    check(with(&bench.secret(OsStr::new("another")), "/run/secret")).unwrap_err();
    check(with(&bench.supervisor(), "/run/secret")).unwrap_err();
    let taken = ["/.ocelot/control/x", "/.ocelot", "/workspace/x", "/proc/1", "/sys/x", "/dev/x"];
    for target in ["relative", "/", "/a/../proc/1"].into_iter().chain(taken) {
        check(with(&secret, target)).unwrap_err();
    }
    for source in ["/etc/passwd", "/var/run/docker.sock", "/nowhere"] {
        check(with(Path::new(source), "/x")).unwrap_err();
    }
    check(with(&data.join("links/out"), "/x")).unwrap_err();
    check(with(&data.join("links/../../"), "/x")).unwrap_err();
    check(Mount { read_only: Some(false), ..with(&secret, "/x") }).unwrap_err();
    check(Mount { typ: Some(MountType::VOLUME), ..with(&secret, "/x") }).unwrap_err();
    check(Mount { bind_options: None, ..with(&secret, "/x") }).unwrap_err();
    // A workspace that a task replaced by a link is refused with the next look.
    fs::remove_dir(&bench.launch.workspace).unwrap();
    std::os::unix::fs::symlink("/etc", &bench.launch.workspace).unwrap();
    bench.check(&bench.body()).unwrap_err();
}

#[test]
fn only_a_network_of_an_executor_that_is_gone_is_left() {
    use super::body::{LABEL_CONTROL, LABEL_EXECUTOR, LABEL_HOME};
    let is_left = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        network::is_left(&labels, "own", |path| path.starts_with("/there"))
    };
    assert!(is_left(&[(LABEL_EXECUTOR, "other"), (LABEL_HOME, "/gone")]));
    assert!(is_left(&[(LABEL_EXECUTOR, "other"), (LABEL_CONTROL, "/gone/control")]));
    assert!(!is_left(&[(LABEL_EXECUTOR, "other"), (LABEL_HOME, "/there")]));
    assert!(!is_left(&[(LABEL_EXECUTOR, "own"), (LABEL_HOME, "/gone")]), "its own start looks after that");
    assert!(!is_left(&[(LABEL_EXECUTOR, "other")]), "nobody knows where it lives");
    assert!(!is_left(&[(LABEL_HOME, "/gone")]));
}

fn beside(bench: &Bench) -> ServiceLaunch {
    let control = bench.data.path().join("services/0");
    fs::create_dir_all(&control).unwrap();
    ServiceLaunch {
        task: bench.launch.control.clone(),
        service: ocelot_core::plan::Service {
            name: "postgres".to_owned(),
            image: "postgres:16".to_owned(),
            env: [("POSTGRES_PASSWORD".to_owned(), "never-in-here".to_owned())].into(),
            command: vec!["postgres".to_owned()],
            secrets: vec![],
            pull_secret: None,
            resources: Resources { memory_bytes: Some(1 << 30), ..Resources::default() },
            ready: ocelot_core::plan::Ready::Started,
        },
        control,
        mounts: vec![],
        login: None,
        deadline: bench.launch.deadline,
    }
}

fn of_service(bench: &Bench, launch: &ServiceLaunch) -> ContainerCreateBody {
    let ground = Ground {
        executor: "executor",
        supervisor: &bench.supervisor(),
        image: "sha256:2222",
        network: NETWORK,
        defaults: &Resources::default(),
        limits_disk: false,
    };
    container(&Asked::service(launch), &ground)
}

#[test]
fn a_service_differs_from_its_task_by_its_name_its_limits_and_the_workspace_alone() {
    let bench = Bench::new();
    let launch = beside(&bench);
    let shown = |body: &ContainerCreateBody| serde_json::to_value(body).unwrap();
    let (task, service) = (shown(&bench.body()), shown(&of_service(&bench, &launch)));
    assert!(!service.to_string().contains("never-in-here"), "its variables are in its order alone");
    let mut differs = Vec::new();
    compare("", &task, &service, &mut differs);
    insta::assert_debug_snapshot!(differs, @r#"
    [
        "/HostConfig/Memory",
        "/HostConfig/MemorySwap",
        "/HostConfig/Mounts",
        "/HostConfig/NanoCpus",
        "/HostConfig/StorageOpt",
        "/Labels/ocelot.service",
        "/NetworkingConfig",
        "/WorkingDir",
    ]
    "#);
    let network = &service["NetworkingConfig"]["EndpointsConfig"][NETWORK];
    assert_eq!(*network, serde_json::json!({"Aliases": ["postgres"]}));
    assert_eq!(service["Labels"]["ocelot.control"], task["Labels"]["ocelot.control"]);
}

/// Collects the fields in which two bodies differ.
fn compare(path: &str, one: &serde_json::Value, other: &serde_json::Value, differs: &mut Vec<String>) {
    let (Some(fields), Some(others)) = (one.as_object(), other.as_object()) else {
        if one != other {
            differs.push(path.to_owned());
        }
        return;
    };
    let names: std::collections::BTreeSet<_> = fields.keys().chain(others.keys()).collect();
    for name in names {
        let null = serde_json::Value::Null;
        let (one, other) = (fields.get(name).unwrap_or(&null), others.get(name).unwrap_or(&null));
        compare(&format!("{path}/{name}"), one, other, differs);
    }
}

#[test]
fn a_service_gets_no_right_that_a_task_has_not() {
    let bench = Bench::new();
    let launch = beside(&bench);
    let check = |change: &dyn Fn(&mut ContainerCreateBody)| {
        let mut body = of_service(&bench, &launch);
        change(&mut body);
        let (supervisor, memory) = (bench.supervisor(), bench.memory());
        let allowance = Allowance {
            data: bench.data.path(),
            memory: &memory,
            supervisor: &supervisor,
            asked: Asked::service(&launch),
            network: NETWORK,
        };
        check(&body, &allowance)
    };
    check(&|_| {}).unwrap();
    check(&|body| body.env = Some(vec!["A=b".to_owned()])).unwrap_err();
    check(&|body| body.host_config.as_mut().unwrap().privileged = Some(true)).unwrap_err();
    check(&|body| body.host_config.as_mut().unwrap().cap_add = Some(vec!["SYS_NICE".to_owned()]))
        .unwrap_err();
    check(&|body| body.labels.as_mut().unwrap().clear()).unwrap_err();
    check(&|body| drop(body.labels.as_mut().unwrap().remove("ocelot.service"))).unwrap_err();
    let endpoint = |change: fn(&mut bollard::models::EndpointSettings)| {
        move |body: &mut ContainerCreateBody| {
            let endpoints = body.networking_config.as_mut().unwrap().endpoints_config.as_mut().unwrap();
            endpoints.values_mut().for_each(change);
        }
    };
    check(&endpoint(|settings| settings.aliases.as_mut().unwrap().push("other".to_owned()))).unwrap_err();
    check(&endpoint(|settings| settings.links = Some(vec!["x".to_owned()]))).unwrap_err();
    check(&endpoint(|settings| settings.ip_address = Some("1.2.3.4".to_owned()))).unwrap_err();
    check(&|body| {
        let endpoints = body.networking_config.as_mut().unwrap().endpoints_config.as_mut().unwrap();
        endpoints.insert("bridge".to_owned(), bollard::models::EndpointSettings::default());
    })
    .unwrap_err();
    // The task's own container has no name beside it, and no second network.
    let mut task = bench.body();
    task.networking_config = of_service(&bench, &launch).networking_config;
    bench.check(&task).unwrap_err();
    // The workspace is the task's alone.
    check(&|body| {
        let mounts = bench.body().host_config.unwrap().mounts.unwrap();
        body.host_config.as_mut().unwrap().mounts.as_mut().unwrap().push(mounts[2].clone());
    })
    .unwrap_err();
}

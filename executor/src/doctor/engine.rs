//! The runtimes: an engine is tried with a container, as the executor itself does at its start.

use std::fs;
use std::path::{Path, PathBuf};

use ocelot_core::plan::Resources;
use ocelot_proto::kit::doctor::{Finding, Report};
use ocelot_proto::kit::telemetry::chain;

use crate::app::{RuntimeChoice, Settings};
use crate::runtime::docker::{self, Docker, Examined};
use crate::runtime::process::Process;
use crate::runtime::{self, Runtime};

const CHECK: &str = "engine";
const PROCESS: &str = "process";
const INSTALL: &str = "apt-get install docker.io";
const INSTALL_PODMAN: &str = "apt-get install podman; systemctl enable --now podman.socket";

pub(super) async fn look(report: &mut Report, settings: &Settings) {
    let socket = &settings.engine;
    let there = socket.exists();
    let (wants_engine, allows_process) = match settings.runtime {
        RuntimeChoice::Docker => (true, settings.allow_process),
        RuntimeChoice::Process => (false, true),
        RuntimeChoice::Auto => (there, settings.allow_process),
    };
    if !wants_engine && !allows_process {
        let says = format!("{} is not there, and tasks may not run without a container", socket.display());
        let allow = "ocelot-executor start --allow-process  # tasks can do all that this user can";
        report.add(missing(&says, socket.to_string_lossy().contains("podman")).or(allow));
        return;
    }
    let scratch = match Scratch::make(&settings.data) {
        Ok(scratch) => scratch,
        // Without a folder nothing can be tried; why there is none is said of the data.
        Err(_) => return,
    };
    if wants_engine {
        report.add(Box::pin(engine(&scratch.0, socket)).await);
    }
    if allows_process {
        report.add(process(&scratch.0).await);
    }
}

/// Tries the engine at a socket with a container, in a folder that exists.
pub async fn engine(scratch: &Path, socket: &Path) -> Finding {
    let supervisor = match runtime::install(scratch) {
        Ok(supervisor) => supervisor,
        Err(error) => return Finding::fail(CHECK, chain(&error).to_string(), "df -h"),
    };
    let settings = docker::Settings {
        engine: Some(format!("unix://{}", socket.display())),
        // Two that look at once are in the way of neither.
        executor: format!("doctor-{}", std::process::id()),
        data: scratch.to_owned(),
        memory: scratch.to_owned(),
        supervisor,
        defaults: Resources::default(),
    };
    let checked = match Docker::connect(settings) {
        Ok(docker) => docker.examine().await,
        Err(error) => Err(error),
    };
    match checked {
        Ok(examined) => well(&examined),
        Err(error) => sick(&chain(&error).to_string(), socket),
    }
}

/// Says what was seen of an engine that runs containers.
fn well(examined: &Examined) -> Finding {
    let Examined { engine, limits, shares_network } = examined;
    let networks = if *shares_network { "" } else { ", each task in a network of its own" };
    if *limits {
        return Finding::ok(CHECK, format!("{engine} runs containers{networks}"));
    }
    let says =
        format!("{engine} runs containers{networks}, and limits neither memory nor processes of tasks");
    // Without root, a machine with the first version of control groups gives nobody a group to limit.
    Finding::warn(CHECK, says, "stat -fc %T /sys/fs/cgroup  # cgroup2fs would let it, or an engine of root's")
}

/// Says what mends an engine, by what it said and where it was looked for.
fn sick(why: &str, socket: &Path) -> Finding {
    let lower = why.to_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    let is_podman = socket.to_string_lossy().contains("podman");
    let mend = if says(&["setting rlimit"]) {
        "capsh --print | grep cap_sys_resource  # the engine may not raise limits of files: start it with that right"
    } else if says(&["permission denied"]) && is_podman {
        "systemctl --user enable --now podman.socket  # then: --engine $XDG_RUNTIME_DIR/podman/podman.sock"
    } else if says(&["permission denied"]) {
        "usermod -aG docker USER  # the user of the executor; its group counts from the next login on"
    } else if says(&["no such file", "not found", "not there"]) {
        return missing(why, is_podman);
    } else if says(&["too old"]) && is_podman {
        "apt-get install --only-upgrade podman"
    } else if says(&["too old"]) {
        "apt-get install --only-upgrade docker.io"
    } else if is_podman {
        "systemctl restart podman.socket podman; journalctl -u podman --since -10m"
    } else {
        "systemctl restart docker; journalctl -u docker --since -10m"
    };
    Finding::fail(CHECK, why, mend)
}

/// Says how an engine comes to where none is.
fn missing(why: &str, is_podman: bool) -> Finding {
    if is_podman {
        return Finding::fail(CHECK, why, INSTALL_PODMAN);
    }
    Finding::fail(CHECK, why, INSTALL)
        .or(format!("{INSTALL_PODMAN}  # then: --engine /run/podman/podman.sock"))
}

async fn process(scratch: &Path) -> Finding {
    let mend = "df -h; mount | grep noexec";
    let supervisor = match runtime::install(scratch) {
        Ok(supervisor) => supervisor,
        Err(error) => return Finding::fail(PROCESS, chain(&error).to_string(), mend),
    };
    match Process::new(scratch, supervisor, Resources::default()).check().await {
        Ok(support) if support.whole_kill => {
            Finding::ok(PROCESS, "tasks may run without a container, and end with all that they started")
        }
        Ok(_) => Finding::warn(
            PROCESS,
            "a task that runs without a container can leave processes behind: no control group is ours",
            "systemctl edit ocelot-executor  # [Service] Delegate=yes",
        ),
        Err(error) => Finding::fail(PROCESS, chain(&error).to_string(), mend),
    }
}

/// A folder to try things in, on the executor's own disk; it goes with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn make(data: &Path) -> std::io::Result<Self> {
        let path = data.canonicalize()?.join(format!("doctor-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is small, and says whose it was.
        fs::remove_dir_all(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_says_tells_what_mends_it() {
        let docker = Path::new("/var/run/docker.sock");
        let podman = Path::new("/run/podman/podman.sock");
        let mend = |why: &str, socket: &Path| sick(why, socket).mend.concat();
        assert!(mend("Permission denied (os error 13)", docker).starts_with("usermod"));
        assert!(mend("Permission denied (os error 13)", podman).starts_with("systemctl --user"));
        assert!(mend("client error: No such file or directory", docker).starts_with(INSTALL));
        assert_eq!(mend("client error: No such file or directory", podman), INSTALL_PODMAN);
        assert!(mend("the engine is too old: it is Docker 18.9", docker).ends_with("docker.io"));
        assert!(mend("the engine is too old: it is Podman 3.0", podman).ends_with("podman"));
        assert!(mend("it hangs", docker).starts_with("systemctl restart docker"));
        assert!(mend("it hangs", podman).starts_with("systemctl restart podman"));
        let rights =
            "error setting rlimits for ready process: error setting rlimit type 7: operation not permitted";
        assert!(mend(rights, podman).starts_with("capsh"));
    }

    #[test]
    fn an_engine_that_works_is_called_by_its_name_with_what_it_does_not_do() {
        let examined =
            |limits, shares_network| Examined { engine: "Podman 4.3.1".to_owned(), limits, shares_network };
        let mut report = Report::default();
        report.add(well(&Examined { engine: "Docker 28.2.2".to_owned(), ..examined(true, true) }));
        report.add(well(&examined(true, false)));
        report.add(well(&examined(false, false)));
        insta::assert_snapshot!(report, @"
        ok    engine  Docker 28.2.2 runs containers
        ok    engine  Podman 4.3.1 runs containers, each task in a network of its own
        warn  engine  Podman 4.3.1 runs containers, each task in a network of its own, and limits neither memory nor processes of tasks
                      $ stat -fc %T /sys/fs/cgroup  # cgroup2fs would let it, or an engine of root's
        1 warning
        ");
    }
}
